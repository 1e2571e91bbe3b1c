"""The command line as a user meets it: bare commands, exit codes, results on stdout, talk on stderr."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agecls.data.synthetic import draw_faces
from agecls.learn.run import Run

COMMANDS = ("split", "audit", "train", "evaluate", "hierarchy", "search-bins", "predict", "models", "cache")
Call = Callable[..., Any]


def utkface_like(folder: Path, count: int = 120) -> Path:
    """Drawn faces under UTKFace names."""
    draw_faces(folder, count, seed=5, size=48)
    genders, ethnicities = ("male", "female"), ("white", "black", "asian", "indian", "others")
    rows = [line.split(",") for line in (folder / "labels.csv").read_text().splitlines()[1:]]
    for number, (path, age, gender, ethnicity) in enumerate(rows):
        name = f"{age}_{genders.index(gender)}_{ethnicities.index(ethnicity)}_{20170101000000000 + number}.jpg.chip.jpg"
        (folder / path).rename(folder / name)
    (folder / "labels.csv").unlink()
    (folder / "faces").rmdir()
    return folder


def test_help_is_quick_because_it_imports_little() -> None:
    code = "import sys; sys.argv = ['agecls', '--help']\nfrom agecls.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "print('HEAVY', sorted({'torch', 'pandas', 'numpy', 'cv2', 'matplotlib', 'pydantic'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "HEAVY []" in answer
    assert all(command in answer for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, agecls: Call) -> None:
    code, out, _ = agecls(command, "--help")
    assert code == 0
    assert f"Example: agecls {command}" in " ".join(out.split())


def test_version(agecls: Call) -> None:
    assert agecls("--version").out.startswith("agecls 0.")


def test_bare_commands_work_in_a_working_folder(
    agecls: Call, workplace: Path, monkeypatch: pytest.MonkeyPatch, tiny: tuple[str, ...]
) -> None:
    monkeypatch.setenv("AGECLS_ROOT", str(utkface_like(workplace / "faces")))
    frozen = agecls("split")
    assert frozen.code == 0, frozen.err
    assert (workplace / "splits" / "utkface" / "manifest.json").is_file()
    for said in ("--source not given: using utkface", "using AGECLS_ROOT=", "--out not given: using splits/utkface"):
        assert said in frozen.err
    settings = [word for setting in (*tiny, "train.epochs=1") for word in ("--set", setting)]
    trained = agecls("train", "--task", "age", "--bins", "7", *settings)
    assert trained.code == 0, trained.err
    assert (workplace / "runs" / "age-7-1" / "model.safetensors").is_file()
    assert "--split not given: using splits/utkface" in trained.err
    assert "agecnn-cpu" in trained.err
    assert "runs/age-7-1: valid macro-F1" in trained.out
    assert agecls("train", "--task", "age", "--bins", "7", *settings).out.startswith("runs/age-7-2")
    scored = agecls("evaluate", "runs/age-7-1", "--part", "test", "--json", "score.json", "--report", "report")
    assert scored.code == 0, scored.err
    assert "opened the test part of utkface 1 time" in scored.err
    assert json.loads((workplace / "score.json").read_text())["off_by_one_accuracy"] <= 1
    for name in ("report.html", "confusion.png", "confusion.csv", "predictions.csv"):
        assert (workplace / "report" / name).stat().st_size
    again = agecls("split")
    assert again.code == 2
    assert "never written over" in again.err


def test_missing_folder_gets_one_sentence_saying_what_to_put_where(agecls: Call, workplace: Path) -> None:
    code, out, err = agecls("split")
    assert code == 2
    assert out == ""
    assert "data" in err
    assert "jpg" in err
    assert "AGECLS_ROOT" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("split", "--source", "utkfase"), "did you mean utkface?"),
        (("split", "--fractions", "0.5,0.5"), "three numbers above 0"),
        (("split", "--bins", "0-5,4-116"), "4-116"),
        (("split", "--source", "utkface", "--source", "fairface", "--root", "x"), "2 sources, 1 roots"),
        (("train", "--split", "nowhere"), "there is no split at nowhere"),
        (("train", "--set", "epoch=3"), "did you mean epochs?"),
        (("train", "--config", "agecn"), "did you mean agecnn?"),
        (("train", "--task", "mood"), "mood"),
        (("evaluate", "nowhere", "--part", "test"), "there is no run at nowhere"),
        (("evaluate", "nowhere"), "either --part or --source"),
        (("evaluate", "nowhere", "--part", "train"), "train"),
        (("predict", "nowhere", "x.jpg"), "neither a run nor an image"),
        (("split", "--source", "csv", "--column", "age"), "NAME=VALUE"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_to_do(
    arguments: tuple[str, ...], expected: str, agecls: Call, workplace: Path
) -> None:
    code, out, err = agecls(*arguments)
    assert code == 2
    assert expected in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert out == ""


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "agecls", "train", "--split", "nowhere", "--config", "agecnn-cpu", "--debug"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode != 0
    assert "Traceback" in answer.stderr


def test_predict_goes_on_past_a_bad_image(agecls: Call, drawn_run: Run, drawn_faces: Path, workplace: Path) -> None:
    (workplace / "bad.jpg").write_bytes(b"")
    good = drawn_faces / "faces" / "00000.jpg"
    files = ("--csv", "p.csv", "--json", "p.json", "--plot", "p.png")
    code, out, err = agecls("predict", drawn_run.folder, good, "bad.jpg", good, *files)
    assert code == 1
    assert "empty file" in out
    assert "1 of 3 images could not be predicted" in err
    rows = json.loads((workplace / "p.json").read_text())
    assert [("error" in row) for row in rows] == [False, True, False]
    assert (workplace / "p.csv").is_file()
    assert (workplace / "p.png").is_file()


def test_predict_with_nothing_wrong_exits_with_0(agecls: Call, drawn_run: Run, drawn_faces: Path) -> None:
    code, out, err = agecls("predict", drawn_run.folder, drawn_faces / "faces")
    assert code == 0
    assert "and 310 more" in out
    assert err == ""


def test_hostile_file_name_reaches_no_terminal(
    agecls: Call, drawn_run: Run, drawn_faces: Path, workplace: Path
) -> None:
    hostile = workplace / "\x1b[31mred[bold]\n.jpg"
    hostile.write_bytes((drawn_faces / "faces" / "00000.jpg").read_bytes())
    code, out, _ = agecls("predict", drawn_run.folder, hostile.name)  # a long path would be folded
    assert code == 0
    assert "\x1b" not in out
    assert "\\x1b[31mred[bold]\\n.jpg" in "".join(out.replace("│", " ").split())


def test_leak_is_refused_with_3(agecls: Call, drawn_run: Run, drawn_faces: Path) -> None:
    code, out, err = agecls("evaluate", drawn_run.folder, "--source", "synthetic", "--root", drawn_faces)
    assert code == 3
    assert out == ""
    assert "216 of 360 images to be scored" in err


def test_synthetic_source_draws_into_an_empty_root(agecls: Call, workplace: Path) -> None:
    command = ("split", "--source", "synthetic", "--root", "faces", "--count", "60", "--out", "splits/drawn")
    code, out, err = agecls(*command)
    assert code == 0, err
    assert "drawing 60 faces" in err
    assert "quarantined: 0" in out
    assert len(list((workplace / "faces" / "faces").iterdir())) == 60


def test_settings_are_listed_with_their_meaning(agecls: Call) -> None:
    code, out, _ = agecls("train", "--config", "agecnn", "--task", "gender", "--settings")
    assert code == 0
    assert "network.features" in out
    assert "32" in out
    assert "optimizer.betas" in out


def test_cache_lists_and_clears(agecls: Call, drawn_run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_CACHE", str(workplace / "cache"))
    assert "0 entries" in agecls("cache").out
    agecls("evaluate", drawn_run.folder, "--part", "valid")
    assert "360 images as 32px-1" in agecls("cache", "--json", "cache.json").out
    assert len(json.loads((workplace / "cache.json").read_text())["entries"]) == 2
    assert "freed" in agecls("cache", "--clear").out
    assert "0 entries" in agecls("cache").out


def test_reader_that_goes_away_is_no_error(drawn_run: Run, drawn_faces: Path) -> None:
    command = f"{sys.executable} -m agecls predict {drawn_run.folder} {drawn_faces / 'faces'} | head -1"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Traceback" not in answer.stderr
    assert "error" not in answer.stderr.lower()


def test_unwritable_result_is_an_error_with_2(agecls: Call, drawn_run: Run, drawn_faces: Path, workplace: Path) -> None:
    (workplace / "file").write_text("")
    code, _, err = agecls("predict", drawn_run.folder, drawn_faces / "faces" / "00000.jpg", "--json", "file/p.json")
    assert code == 2
    assert "cannot write" in err


def test_files_are_written_although_the_reader_goes_away(drawn_run: Run, workplace: Path) -> None:
    command = f"{sys.executable} -m agecls evaluate {drawn_run.folder} --part valid --json score.json --report report"
    subprocess.run(["bash", "-c", f"{command} | head -1"], capture_output=True, text=True, check=True)
    assert json.loads((workplace / "score.json").read_text())["part"] == "valid"
    assert (workplace / "report" / "report.html").is_file()
