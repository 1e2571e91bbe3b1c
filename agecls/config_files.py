"""Where settings come from: YAML, then the task's own values, then ``--set``.

A YAML file may name another as its ``base`` and give only what differs; under ``tasks`` it may give values for one
task, and under ``hierarchy`` how a hierarchy is made. A file with such a table and without a base stands on the
configuration made for the machine.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from agecls.config import TAKEN, Config, nearest, parse_config, setting_names
from agecls.errors import ConfigError, UsageError
from agecls.hierarchy_config import HierarchyConfig, parse_hierarchy
from agecls.labels import TrainTask

Role = Literal["flat", "router", "expert"]
"""What a member of a hierarchy is there for."""


def config_folder() -> Path:
    """Where the shipped configurations lie: inside an installed package, beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def find_config(name: str, beside: Path | None = None) -> Path:
    """Return the file of a configuration: a path, or the name of a shipped one.

    Args:
        name: the path or the name.
        beside: folder of the file that names ``name`` as its base, so that a base does not depend on where a command is
            run; None for the working folder.

    Raises:
        UsageError: there is no such file; the nearest shipped name is said.
    """
    shipped = config_folder()
    for candidate in (
        *([beside / name, beside / f"{name}.yaml"] if beside else [Path(name)]),
        shipped / f"{name}.yaml",
    ):
        if candidate.is_file():
            return candidate
    names = sorted(path.stem for path in shipped.glob("*.yaml"))
    near = difflib.get_close_matches(Path(name).stem, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"there is no configuration {name}", remedy=f"{hint}shipped ones: {', '.join(names)}")


def load_hierarchy(name: str) -> HierarchyConfig:
    """Read how a hierarchy is made; the defaults where the file has no ``hierarchy`` table.

    Args:
        name: path of a YAML file, or the name of a shipped one such as ``hierarchy-gender``.

    Raises:
        ConfigError: an unknown key or an impossible value.
        UsageError: no such file.
    """
    return parse_hierarchy(_table(_read_tree(find_config(name), ()).get("hierarchy"), f"hierarchy in {name}"), name)


def load_config(
    name: str, task: TrainTask, overrides: Sequence[str] = (), *, role: Role | None = None, machine: str | None = None
) -> Config:
    """Read a configuration for one task.

    Args:
        name: path of a YAML file, or the name of a shipped one such as ``agecnn-cpu``.
        task: whose values under ``tasks`` apply.
        overrides: ``section.key=value`` (or ``key=value`` where one section alone has the key), applied last.
        role: of a member of a hierarchy, whose values under ``hierarchy.members`` apply.
        machine: what a file about hierarchies that names no base stands on; None for the defaults of the settings.

    Raises:
        ConfigError: an unknown key or an impossible value; names the nearest right one.
        UsageError: no such file.
    """
    tree = _read_tree(find_config(name), (), machine)
    hierarchy = parse_hierarchy(_table(tree.pop("hierarchy", None), f"hierarchy in {name}"), name)
    by_task = _table(tree.pop("tasks", None), f"tasks in {name}")
    unknown = sorted(map(str, set(by_task) - set(get_args(TrainTask))))
    if unknown:
        raise ConfigError(
            f"{name} gives values for an unknown task", got=unknown[0], remedy=nearest(unknown[0], get_args(TrainTask))
        )
    tree = _lay(tree, _table(by_task.get(task), f"tasks.{task} in {name}"))
    tree = _lay(tree, getattr(hierarchy.members, role)) if role else tree
    given: dict[str, Any] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ConfigError("--set takes key=value", got=override, remedy="such as --set optimizer.lr=0.001")
        section, leaf = _find_key(key.strip())
        given = _merge(given, {section: {leaf: _parse_value(value, override)}})
    return parse_config(_lay(tree, given))


def with_weights(config: Config, file: Path | None) -> Config:
    """Settings that start from a file of tensors, as ``--weights`` says; unchanged for None.

    Raises:
        ConfigError: they start from published weights as well.
    """
    return config if file is None else parse_config(_merge(config.model_dump(), {"transfer": {"weights": str(file)}}))


def _read_tree(path: Path, seen: tuple[Path, ...], machine: str | None = None) -> dict[str, Any]:
    if path.resolve() in seen:
        raise ConfigError(f"{path} is its own base", got=" -> ".join(each.name for each in (*seen, path)))
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # an impossible date is a ValueError
        raise ConfigError(f"cannot read {path}", got=" ".join(str(error).split())) from None
    tree = _table(tree, str(path))
    base = tree.pop("base", machine if "hierarchy" in tree else None)
    return (
        tree if base is None else _lay(_read_tree(find_config(str(base), path.parent), (*seen, path.resolve())), tree)
    )


def _table(content: Any, where: str) -> dict[str, Any]:
    if content is not None and not isinstance(content, dict):
        raise ConfigError(
            f"{where} is no table of settings", got=type(content).__name__, remedy="write section: {key: value}"
        )
    return content or {}


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _lay(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge, and leave out below what the network, optimiser, schedule, loss or average named above does not take."""
    return _merge(_without_strangers(under, over), over)


def _without_strangers(tree: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    tree = dict(tree)
    for name in ("network", *TAKEN):
        below, above = tree.get(name), over.get(name)
        if not isinstance(below, dict) or not isinstance(above, dict) or "name" not in above:
            continue
        if name != "network":
            choices = TAKEN[name]
            left_out = set().union(*choices.values()) - choices.get(str(above["name"]), below.keys())
        elif above["name"] != below.get("name", "agecnn"):
            # Of another network, only the input is kept: layers, widths and dropout were chosen for the one below.
            left_out = below.keys() - {"image_size", "channels"}
        else:
            continue
        tree[name] = {key: value for key, value in below.items() if key not in left_out}
    return tree


def _parse_value(text: str, override: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        raise ConfigError(
            "--set has a value that cannot be read", got=override, remedy="quote it as YAML does"
        ) from None


def _find_key(key: str) -> tuple[str, str]:
    names = setting_names()
    fitting = [name for name in names if key in (name, name.partition(".")[2])]
    if len(fitting) == 1:
        section, _, leaf = fitting[0].partition(".")
        return section, leaf
    if fitting:
        raise ConfigError(f"setting {key!r} stands in several sections", remedy=f"write {' or '.join(fitting)}")
    raise ConfigError(
        f"there is no setting {key!r}", remedy=nearest(key, [*names, *(name.partition(".")[2] for name in names)])
    )
