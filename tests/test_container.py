"""The container's recipe, read as Docker reads it: what it copies is there, what must stay outside does, and its steps
are those that scripts/setup runs on every clean environment."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest
from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser
from packaging.requirements import Requirement

TOP = Path(__file__).parents[1]
TEXT = (TOP / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (TOP / ".dockerignore").read_text(encoding="utf-8").splitlines()
INSTALL = re.compile(r'scripts/install \S+python"? (\w+)')


class Step(NamedTuple):
    """One instruction of the Dockerfile."""

    name: str
    value: str


def steps() -> list[Step]:
    parsed = DockerfileParser(fileobj=BytesIO(TEXT.encode())).structure
    return [Step(each["instruction"], each["value"]) for each in parsed if each["instruction"] != "COMMENT"]


def values(name: str) -> list[str]:
    return [step.value for step in steps() if step.name == name]


def context(top: Path) -> set[str]:
    """The files that ``docker build`` sends, as Docker's own client chooses them."""
    patterns = [line.strip() for line in IGNORED if line.strip() and not line.startswith("#")]
    return {name for name in exclude_paths(str(top), patterns) if (top / name).is_file()}


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what ``docker build`` sends of this checkout, and nothing else."""
    folder = tmp_path_factory.mktemp("context")
    for name in context(TOP):
        if name not in ("Dockerfile", ".dockerignore"):  # sent always, copied never
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, folder / name)
    return folder


def run(*command: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=cwd, env=environment, timeout=60, check=False
    )


def test_every_base_is_pinned_by_tag_and_digest() -> None:
    bases = values("FROM")
    assert len(bases) == 2
    for base in bases:
        assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}( AS \w+)?", base), base
        assert ":latest" not in base


def test_the_interpreter_is_the_one_that_the_pins_and_the_types_are_for() -> None:
    pinned = re.search(r"python:(3\.\d+)\.", values("FROM")[0])
    assert pinned
    assert f'python_version == "{pinned[1]}"' in (TOP / "constraints.txt").read_text(encoding="utf-8")
    settings = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["mypy"]["python_version"] == pinned[1]


def test_everything_copied_from_the_checkout_is_there(sent: Path) -> None:
    copied = [value.split() for value in values("COPY") if not value.startswith("--from=")]
    sources = [source for words in copied for source in words[:-1]]
    assert sources
    assert not [source for source in sources if not (sent / source).exists()]


def test_nothing_but_code_and_settings_enters(tmp_path: Path) -> None:
    kept = ("agecls/cli.py", "configs/agecnn.yaml", "scripts/onstart", "splits/utkface/train.csv", "pyproject.toml")
    outside = (
        "data/face.jpg", "runs/age/last.ckpt", "runs/age/run.json", "sweeps/one/run.json", "quickstart/faces/1.jpg",
        "faces/UTKFace/1.jpg", "model.safetensors", "faces.zip", ".git/config", ".git/objects/aa/bb",
        ".venv/bin/python", ".env", "secrets.txt", "tests/test_cli.py", "docs/report.png", "dist/agecls.whl",
        ".mypy_cache/x.json",
        "agecls/__pycache__/cli.cpython-311.pyc", "agecls/learn/weights.safetensors", "agecls/learn/weights.pt",
        "splits/utkface/faces/1.jpg", "splits/utkface/embedded.npz", "configs/.env", "agecls/data/.cache/images.npy",
        "scripts/faces.tar", "splits/faces.tar.gz",
    )  # fmt: skip
    for name in (*kept, *outside):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    assert context(tmp_path) == set(kept)


def test_every_file_that_git_keeps_of_the_package_enters(sent: Path) -> None:
    listed = run("git", "ls-files", "agecls", "configs", "splits", "scripts", cwd=TOP)
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    assert listed.stdout
    missing = [name for name in listed.stdout.splitlines() if (TOP / name).exists() and not (sent / name).exists()]
    assert not missing


def test_what_enters_is_enough_to_build_and_to_run(sent: Path, tmp_path: Path) -> None:
    settings = tomllib.loads((sent / "pyproject.toml").read_text(encoding="utf-8"))
    built_from = [settings["project"]["readme"], *settings["project"]["license-files"]]
    built_from += settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert not [name for name in built_from if not (sent / name).exists()]
    tried = (
        "import agecls; from agecls.config_files import load_config; from agecls.data.split import Split\n"
        "load_config('agecnn', 'age', ()); print(agecls.__file__, len(Split.load(SPLIT).parts['train']))"
    ).replace("SPLIT", f"__import__('pathlib').Path({str(sent / 'splits' / 'utkface')!r})")
    done = run(sys.executable, "-P", "-c", tried, cwd=tmp_path, PYTHONPATH=str(sent))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(sent / "agecls" / "__init__.py"), "11378"]


def test_the_steps_that_install_are_those_of_every_clean_environment() -> None:
    setup = (TOP / "scripts" / "setup").read_text(encoding="utf-8")
    taken = [step for value in values("RUN") for step in INSTALL.findall(value)]
    assert taken == ["torch", "dependencies", "code"]
    assert INSTALL.findall(setup) == taken
    assert "scripts/setup" in (TOP / "scripts" / "test").read_text(encoding="utf-8")
    assert "scripts/test" in (TOP / ".ci" / "run").read_text(encoding="utf-8")
    # No other step of either brings in a package of Python.
    for text in (*values("RUN"), setup):
        assert not re.search(r"pip3? +(install|download)|(conda|uv|poetry) ", text)


def test_code_comes_after_what_it_depends_on() -> None:
    order = [step.value for step in steps() if step.name in ("COPY", "RUN")]
    whole = order.index(". .")
    for step in ("torch", "dependencies"):
        at = next(place for place, value in enumerate(order) if f" {step}" in value and "scripts/install" in value)
        assert at < whole
    assert "scripts/install .venv/bin/python code" in order[whole + 1]
    # A change of code alters neither of the files that come before.
    before = [value for value in order[:whole] if not value.startswith(("--from", "apt-get", "python", "ldconfig"))]
    copied = [value for value in before if re.fullmatch(r"\S+ \S+", value)]
    assert copied == ["constraints.txt ./", "scripts/install scripts/", "pyproject.toml ./"]


def test_it_runs_as_a_user_without_rights_and_keeps_its_state_on_volumes() -> None:
    last = {step.name: step.value for step in steps()}
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    variables = dict(pair.split("=", 1) for value in values("ENV") for pair in value.split())
    volumes = re.findall(r'"([^"]+)"', last["VOLUME"])
    for name in ("AGECLS_ROOT", "AGECLS_CACHE", "AGECLS_WORK"):
        assert variables[name] in volumes
    assert last["WORKDIR"] == variables["AGECLS_WORK"]
    assert not [value for value in TEXT.splitlines() if "B2_APPLICATION" in value]


def test_it_starts_with_the_script_for_rented_boxes() -> None:
    last = {step.name: step.value for step in steps()}
    assert last["ENTRYPOINT"] == '["tini", "--"]'
    assert last["CMD"] == '["/opt/agecls/scripts/onstart"]'
    assert os.access(TOP / "scripts" / "onstart", os.X_OK)
    assert last["HEALTHCHECK"] == "NONE"


def test_the_linters_find_nothing_and_can_find_something(tmp_path: Path) -> None:
    tools = Path(sys.executable).parent
    assert run(tools / "hadolint", "Dockerfile", cwd=TOP).returncode == 0
    (tmp_path / "Dockerfile").write_text(TEXT.replace("USER 1001:1001", "USER root\nRUN cd /tmp"), encoding="utf-8")
    worse = run(tools / "hadolint", "Dockerfile", cwd=tmp_path)
    assert worse.returncode != 0
    assert "DL3002" in worse.stdout
    assert "DL3003" in worse.stdout
    assert run(tools / "shellcheck", "scripts/onstart", "scripts/install", cwd=TOP).returncode == 0


def test_install_lists_what_the_extras_bring_and_this_environment_has_it() -> None:
    listed = run("scripts/install", sys.executable, "list", "dev", cwd=TOP).stdout.split("\n")[:-1]
    assert [line for line in listed if line.startswith("torch")]
    assert [line for line in listed if line.startswith("py7zr")]  # of archives, which dev names
    assert not [line for line in listed if line.startswith("agecls")]
    assert len(listed) == len(set(listed))
    for line in listed:
        wanted = Requirement(line)
        assert version(wanted.name) in wanted.specifier, line
    plain = run("scripts/install", sys.executable, "list", cwd=TOP).stdout
    assert "py7zr" not in plain


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name the interpreter"),
        (("no-such-python", "torch"), "no-such-python is no Python of 3.11"),
        ((sys.executable,), "there is no step ''"),
        ((sys.executable, "everything"), "there is no step 'everything'"),
        ((sys.executable, "list", "gold"), "no extra gold"),
    ],
)
def test_install_refuses_what_it_cannot_use(words: tuple[str, ...], said: str) -> None:
    done = run("scripts/install", *words, cwd=TOP)
    assert done.returncode != 0
    assert said in done.stderr
    assert not done.stdout
