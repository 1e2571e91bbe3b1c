"""Settings: the shipped files, what stands above what, and every mistake answered with the nearest right name."""

from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError

from agecls.config import (
    OPTIMIZER_SETTINGS,
    Config,
    OptimizerName,
    describe_settings,
    parse_config,
    setting_names,
)
from agecls.config_files import config_folder, find_config, load_config
from agecls.errors import ConfigError, UsageError
from agecls.labels import Task

SHIPPED = sorted(path.stem for path in config_folder().glob("*.yaml"))
TASKS: tuple[Task, ...] = get_args(Task)


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_validates_for_every_task(name: str, task: Task) -> None:
    config = load_config(name, task)
    assert parse_config(config.model_dump(mode="json")) == config


def test_the_two_machines_have_a_configuration_each() -> None:
    assert {"agecnn", "agecnn-cpu"} <= set(SHIPPED)


@pytest.mark.parametrize(("task", "features", "hidden"), [("age", 64, 132), ("gender", 32, 64), ("ethnicity", 64, 64)])
def test_agecnn_is_the_network_of_the_study(task: Task, features: int, hidden: int) -> None:
    config = load_config("agecnn", task)
    network, optimizer, train = config.network, config.optimizer, config.train
    assert (network.image_size, network.channels, network.layers, network.dropout) == (224, 1, 4, 0.6)
    assert (network.features, network.hidden) == (features, hidden)
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay) == ("nadam", 1e-4, 0.1)
    assert config.loss.label_smoothing == 0.001
    assert (train.batch_size, train.epochs) == (64, 100)


def test_set_stands_above_the_task_which_stands_above_the_file_and_its_base(tmp_path: Path) -> None:
    write(tmp_path, "network: {features: 1, hidden: 1, layers: 1, dropout: 0.1}", "base.yaml")
    mine = write(
        tmp_path,
        "base: base.yaml\nnetwork: {features: 2, hidden: 2, layers: 2}\n"
        "tasks: {gender: {network: {features: 3, hidden: 3}}}",
    )
    network = load_config(mine, "gender", ["network.features=4"]).network
    assert (network.features, network.hidden, network.layers, network.dropout) == (4, 3, 2, 0.1)
    network = load_config(mine, "age", ["network.features=4"]).network
    assert (network.features, network.hidden, network.layers, network.dropout) == (4, 2, 2, 0.1)


def test_the_last_of_several_sets_counts() -> None:
    assert load_config("agecnn", "age", ["train.epochs=3", "epochs=5"]).train.epochs == 5


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, ""), "age") == Config()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("lr=1e-3", ("optimizer", "lr", 1e-3)),
        (" optimizer.lr = 0.5", ("optimizer", "lr", 0.5)),
        ("flip=true", ("augment", "flip", True)),
        ("betas=[0.5, 0.6]", ("optimizer", "betas", (0.5, 0.6))),
        ("workers=auto", ("train", "workers", "auto")),
        ("workers=3", ("train", "workers", 3)),
    ],
)
def test_values_are_read_as_yaml(override: str, expected: tuple[str, str, object]) -> None:
    section, key, value = expected
    assert getattr(getattr(load_config("agecnn", "age", [override]), section), key) == value


@pytest.mark.parametrize(
    ("override", "what", "help_"),
    [
        ("optimizer.lrr=1", "there is no setting 'optimizer.lrr'", "did you mean optimizer.lr?"),
        ("dropuot=0.1", "there is no setting 'dropuot'", "did you mean dropout?"),
        ("optimizer=5", "there is no setting 'optimizer'", "optimizer."),
        ("zzzzzzzz=5", "there is no setting 'zzzzzzzz'", "network.features"),
        ("name=sgd", "setting 'name' stands in several sections", "optimizer.name"),
        ("optimizer.name=adamm", "setting optimizer.name has an unknown value", "did you mean adam?"),
        ("channels=2", "setting network.channels has an unknown value", "one of 1, 3"),
        ("lr", "--set takes key=value", "optimizer.lr=0.001"),
        ("lr=[1", "--set has a value that cannot be read", "quote it"),
        ("epochs=2020-13-45", "--set has a value that cannot be read", "quote it"),
        ("epochs=", "setting train.epochs has a wrong value", "integer"),
        ("epochs=0", "setting train.epochs has a wrong value", "greater than or equal to 1"),
        ("dropout=1", "setting network.dropout has a wrong value", "less than 1"),
        ("lr=0", "setting optimizer.lr has a wrong value", "greater than 0"),
        ("lr=.nan", "setting optimizer.lr has a wrong value", "finite"),
        ("weight_decay=.inf", "setting optimizer.weight_decay has a wrong value", "finite"),
        ("betas=[0.9, 1.5]", "setting optimizer.betas.1 has a wrong value", "less than 1"),
        ("workers=many", "setting train.workers has a wrong value", "integer"),
    ],
)
def test_a_wrong_set_is_refused_with_what_would_be_right(override: str, what: str, help_: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config("agecnn", "age", [override])
    assert refused.value.what == what
    assert help_ in refused.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("netwrok: {features: 3}", "there is no setting 'netwrok'.*did you mean network[?]"),
        ("network: {featurs: 3}", "there is no setting 'network.featurs'.*did you mean features[?]"),
        ("network: 5", "setting network has a wrong value.*found: 5"),
        ("1: {}", "setting 1 has a wrong value.*Keys should be strings"),
        ("- network", "is no table of settings.*found: list"),
        ("just text", "is no table of settings.*found: str"),
        ("network: [", "cannot read .*mine.yaml"),
        ("network: {features: 2020-13-45}", "cannot read .*mine.yaml.*month must be in"),
        ("[" * 5000, "cannot read .*mine.yaml.*recursion"),
        ("tasks: {agee: {}}", "gives values for an unknown task.*found: agee.*did you mean age[?]"),
        ("tasks: {1: {}, gendr: {}}", "gives values for an unknown task.*found: 1"),
        ("tasks: 5", "tasks in .*mine.yaml is no table of settings"),
        ("tasks: {age: [1]}", "tasks.age in .*mine.yaml is no table of settings"),
        ("tasks: {age: {network: {featurs: 1}}}", "there is no setting 'network.featurs'"),
        ("optimizer: {name: sgd, betas: [0.9, 0.99]}", "sgd takes no betas; it belongs to adam, adamw, nadam, adamax"),
        ("network: {image_size: 16, layers: 5}", "image_size 16 does not survive 5 poolings by 2"),
    ],
)
def test_a_wrong_file_is_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=f"(?is){message}"):
        load_config(path, "age")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"network: \xff")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(str(tmp_path / "mine.yaml"), "age")


@pytest.mark.parametrize("base", ["../shared/base.yaml", "../shared/base", "{folder}/shared/base.yaml"])
def test_a_base_is_found_beside_the_file_that_names_it(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "train: {epochs: 7}", "shared/base.yaml")
    mine = write(tmp_path, f"base: {base.format(folder=tmp_path)}", "deep/mine.yaml")
    assert load_config(mine, "age").train.epochs == 7
    monkeypatch.chdir(tmp_path / "deep")
    assert load_config("mine.yaml", "age").train.epochs == 7


def test_a_base_does_not_depend_on_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "train: {epochs: 7}", "here/base.yaml")
    write(tmp_path, "train: {epochs: 9}", "there/base.yaml")
    mine = write(tmp_path, "base: base.yaml", "here/mine.yaml")
    monkeypatch.chdir(tmp_path / "there")
    assert load_config(mine, "age").train.epochs == 7


def test_a_base_may_be_a_shipped_one(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "base: agecnn\ntrain: {epochs: 7}"), "gender")
    assert (config.train.epochs, config.network.features) == (7, 32)


@pytest.mark.parametrize("names", [["a.yaml"], ["a.yaml", "b.yaml"], ["a.yaml", "b.yaml", "c.yaml"]])
def test_bases_that_go_in_a_circle_are_refused(names: list[str], tmp_path: Path) -> None:
    for name, base in zip(names, [*names[1:], names[0]], strict=True):
        write(tmp_path, f"base: {base}", name)
    with pytest.raises(ConfigError, match="is its own base") as refused:
        load_config(str(tmp_path / "a.yaml"), "age")
    assert refused.value.got == " -> ".join([*names, "a.yaml"])


def test_a_missing_file_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no configuration agecn\n.*did you mean agecnn\?"):
        find_config("agecn")
    with pytest.raises(UsageError, match=r"there is no configuration nowhere\.yaml"):
        load_config(write(tmp_path, "base: nowhere.yaml"), "age")


def test_an_optimiser_named_by_set_drops_what_it_does_not_take_from_the_file() -> None:
    assert load_config("agecnn", "age").optimizer.betas == (0.9, 0.999)
    optimizer = load_config("agecnn", "age", ["optimizer.name=sgd", "momentum=0.9"]).optimizer
    assert optimizer.settings() == {"momentum": 0.9}
    assert optimizer.weight_decay == 0.1
    assert load_config("agecnn", "age", ["optimizer.name=adamw"]).optimizer.betas == (0.9, 0.999)


def test_an_optimiser_named_by_set_does_not_excuse_a_wrong_set() -> None:
    with pytest.raises(ConfigError, match="sgd takes no betas"):
        load_config("agecnn", "age", ["optimizer.name=sgd", "betas=[0.9, 0.99]"])


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_each_optimiser_takes_its_own_settings_and_no_others(name: str) -> None:
    values = {"betas": [0.8, 0.9], "amsgrad": True, "nesterov": True, "centered": True, "decoupled_weight_decay": True}
    every = sorted(frozenset().union(*OPTIMIZER_SETTINGS.values()))
    for setting in every:
        tree = {"optimizer": {"name": name, setting: values.get(setting, 0.5)}}
        if setting in OPTIMIZER_SETTINGS[name]:
            assert list(parse_config(tree).optimizer.settings()) == [setting]
        else:
            with pytest.raises(ConfigError, match=f"{name} takes no {setting}"):
                parse_config(tree)


def test_every_setting_is_described() -> None:
    described = describe_settings()
    assert [name for name, _, _ in described] == setting_names()
    assert len(described) > 30
    assert [name for name, _, text in described if len(text) < 10] == []
    assert ("train.batch_size", "64") in [(name, value) for name, value, _ in described]


def test_shipped_files_hold_no_unknown_section() -> None:
    for name in SHIPPED:
        tree = yaml.safe_load((config_folder() / f"{name}.yaml").read_text(encoding="utf-8"))
        assert set(tree) <= {"base", "tasks", "hierarchy", *Config.model_fields}
        assert set(tree.get("tasks", {})) <= set(TASKS)


def test_a_configuration_never_changes() -> None:
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.network.features = 3  # type: ignore[misc]
