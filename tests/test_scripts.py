"""The house scripts: they parse, refuse what they cannot use, and name no place of the machine they were written on."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agecls.data.split import Split
from agecls.data.synthetic import draw_faces
from agecls.learn.run import Run

TOP = Path(__file__).parents[1]
STUDIES = tuple(
    f"scripts/{name}"
    for name in ("bench", "bench-twins", "identity-study", "leak-demo", "learning-curve", "trials", "twin-study")
)
SHELL_SCRIPTS = (
    *(f"scripts/{name}" for name in ("setup", "install", "check", "test", "quickstart", "onstart")),
    ".ci/run",
)


def run(*command: str, cwd: Path = TOP, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **variables}, timeout=120, check=False
    )


def copy_of_scripts(to: Path) -> Path:
    """A checkout with nothing in it but what setup and check read."""
    shutil.copytree(TOP / "scripts", to / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(TOP / name, to)
    return to


@pytest.mark.parametrize("script", SHELL_SCRIPTS)
def test_shell_scripts_parse_and_stop_at_the_first_fault(script: str) -> None:
    assert os.access(TOP / script, os.X_OK)
    assert run("bash", "-n", script).returncode == 0
    assert "set -euo pipefail" in (TOP / script).read_text(encoding="utf-8")


@pytest.mark.parametrize("script", [*SHELL_SCRIPTS, *STUDIES])
def test_scripts_name_no_place_of_one_machine(script: str) -> None:
    text = (TOP / script).read_text(encoding="utf-8")
    places = re.findall(r"(?<![\w./$}])/(?:home|root|tmp|opt|work|mnt|Users|srv)\b[^\s\"']*", text)
    assert not places


def test_quickstart_helps() -> None:
    done = run("scripts/quickstart", "--help")
    assert done.returncode == 0
    assert not done.stderr
    for flag in ("--source", "--root", "--out", "--count", "--epochs"):
        assert flag in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sauce", "utkface"], "--sauce"),
        (["faces"], "faces"),
        (["--source"], "--source needs a value"),
        (["--source", "utkface"], "needs --root DIR"),
        (["--root", "."], "needs --source NAME"),
        (["--source=utkface", "--root=no/such/folder"], "no/such/folder"),
        (["--count", "0"], "--count"),
        (["--epochs", "many"], "'many'"),
    ],
)
def test_quickstart_refuses_what_it_cannot_use(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = run(str(copy_of_scripts(tmp_path) / "scripts" / "quickstart"), *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert not done.stdout
    assert not (tmp_path / "quickstart").exists()


def test_setup_says_which_interpreter_is_missing(tmp_path: Path) -> None:
    done = run(str(copy_of_scripts(tmp_path) / "scripts" / "setup"), PYTHON="python-that-is-not-there", AGECLS_VENV="e")
    assert done.returncode == 2
    assert "python-that-is-not-there" in done.stderr
    assert "3.11" in done.stderr


def test_setup_refuses_an_old_interpreter(tmp_path: Path) -> None:
    old = tmp_path / "oldpython"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.1"\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    done = run(str(copy_of_scripts(tmp_path / "checkout") / "scripts" / "setup"), PYTHON=str(old), AGECLS_VENV="e")
    assert done.returncode == 2
    assert "no Python of 3.11 or newer (Python 3.9.1)" in done.stderr


def test_setup_leaves_a_folder_of_other_things_alone(tmp_path: Path) -> None:
    top = copy_of_scripts(tmp_path)
    (top / "mine").mkdir()
    (top / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    done = run(str(top / "scripts" / "setup"), PYTHON=sys.executable, AGECLS_VENV="mine")
    assert done.returncode == 2
    assert "mine" in done.stderr
    assert (top / "mine" / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_check_runs_every_tool_and_names_those_that_fail(tmp_path: Path) -> None:
    top = copy_of_scripts(tmp_path)
    tools = top / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name, code in (("ruff", 0), ("mypy", 1), ("lint-imports", 1), ("shellcheck", 0), ("hadolint", 1)):
        (tools / name).write_text(f"#!/bin/sh\necho words of {name}\nexit {code}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    done = run(str(top / "scripts" / "check"), AGECLS_VENV=".venv")
    assert done.returncode == 1
    assert done.stderr == "check: failed: mypy; lint-imports; hadolint\n"
    assert "words of mypy" in done.stdout
    assert "words of ruff" not in done.stdout


def test_bench_helps() -> None:
    done = run(sys.executable, "scripts/bench", "--help")
    assert done.returncode == 0
    for word in ("step", "loop", "pipeline", "split", "memory", "--root", "--json"):
        assert word in done.stdout


def test_bench_compares_the_pipelines(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    command = ("scripts/bench", "pipeline", "--rounds", "1", "--images", "32", "--json", str(file))
    done = run(sys.executable, *command, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    measured = json.loads(file.read_text(encoding="utf-8"))
    assert measured["machine"]["cores"] >= 1
    for name in ("pipeline 64", "pipeline 224"):
        result = measured["results"][name]
        assert result["ratio"]["median"] == pytest.approx(result["ours"] / result["theirs"], rel=0.05)
        assert result["reached"] == (result["ratio"]["median"] >= result["target"])
        assert name in done.stdout


@pytest.mark.parametrize("script", ["bench-twins", "identity-study", "leak-demo", "trials", "twin-study"])
def test_studies_help(script: str) -> None:
    done = run(sys.executable, f"scripts/{script}", "--help")
    assert done.returncode == 0
    assert "--root" in done.stdout


def test_the_leak_demo_is_refused_and_then_marked(tmp_path: Path) -> None:
    file = tmp_path / "leak.json"
    done = run(sys.executable, "scripts/leak-demo", "--epochs", "1", "--count", "400", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "images that run age-on-a was fitted on" in done.stdout
    found = json.loads(file.read_text())
    stages = found["two_splits"]
    assert stages["test_images_fitted_by_the_first_model"] > 0
    low, high = stages["inflation_ci95"]
    assert low <= stages["inflation"] <= high
    assert stages["inflation"] == pytest.approx(stages["leaked_macro_f1"] - stages["clean_macro_f1"])


def test_twins_are_found_among_mixed_thumbnails(tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    draw_faces(faces, 60, seed=2, size=64)
    done = run(sys.executable, "scripts/bench-twins", "2500", "--root", str(faces))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recall"] > 0.99


def test_trials_are_trained_alike_and_tabled(drawn_split: Split, drawn_faces: Path, tmp_path: Path) -> None:
    small = [f"--set={each}" for each in ("network.image_size=32", "train.epochs=1", "train.precision=fp32")]
    command = ("scripts/trials", "01", "12-onecycle", "--root", str(drawn_faces), "--split", str(drawn_split.folder))
    where = ("--out", str(tmp_path / "trials"), "--json", str(tmp_path / "trials.json"))
    done = run(sys.executable, *command, "--bins", "4", *small, *where, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "trials.json").read_text())
    assert [row["trial"] for row in rows] == ["01-base", "12-onecycle"]
    assert rows[0]["gain"] == 0
    assert rows[1]["gain"] == pytest.approx(rows[1]["macro_f1"] - rows[0]["macro_f1"], abs=1e-12)
    for row in rows:
        assert f"| {row['trial']} | {100 * row['macro_f1']:.1f} %" in done.stdout
        assert row["epochs"] == 1
    assert not list(tmp_path.rglob("ledger.json"))  # test was never opened
    before = (tmp_path / "trials" / "01-base" / "model.safetensors").stat().st_mtime_ns
    again = run(sys.executable, *command, "--bins", "4", *small, *where, OMP_NUM_THREADS="1")
    assert again.stdout == done.stdout
    assert (tmp_path / "trials" / "01-base" / "model.safetensors").stat().st_mtime_ns == before


def test_trials_name_those_there_are(drawn_faces: Path) -> None:
    done = run(sys.executable, "scripts/trials", "99-magic", "--root", str(drawn_faces))
    assert done.returncode == 1
    assert "01-base" in done.stderr


def test_learning_curve_is_drawn_and_tabled(drawn_run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    done = run(sys.executable, "scripts/learning-curve", str(drawn_run.folder), "--out", str(picture))
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"| {drawn_run.name} | 12 | macro-F1 |" in done.stdout
    missing = run(sys.executable, "scripts/learning-curve", str(tmp_path / "none"), "--out", str(picture))
    assert missing.returncode == 1
    assert "there is no run at" in missing.stderr
