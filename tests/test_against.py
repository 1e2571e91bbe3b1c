"""Several runs on one chart: years beside bins, on the same images and in the same classes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.labels import TrainTask
from agecls.learn.run import Run
from agecls.train import TrainRequest, train

BINS = "0-20,21-40,41-116"
Call = Callable[..., Any]


def fit(split: Split, faces: Path, out: Path, settings: tuple[str, ...], task: TrainTask, bins: str) -> Run:
    config = load_config("agecnn-cpu", task, [*settings, "train.epochs=1"])
    roots = split.roots([faces])
    return train(TrainRequest(task, Bins.parse(bins), "own", split, roots, config, out), lambda line: None)


@pytest.fixture(scope="module")
def runs(
    drawn_split: Split, drawn_faces: Path, tmp_path_factory: pytest.TempPathFactory, tiny: tuple[str, ...]
) -> dict[str, Path]:
    """A classifier of three bins, a regression of others, a network of all tasks, one whose bins do not fit."""
    top = tmp_path_factory.mktemp("against")
    asked: dict[str, tuple[TrainTask, str, tuple[str, ...]]] = {
        "bins": ("age", BINS, ()),
        "years": ("age-regression", "4", ()),
        "all": ("multitask", "4", ("targets.age=distribution",)),
        "askew": ("age", "0-30,31-116", ()),
    }
    for name, (task, bins, settings) in asked.items():
        fit(drawn_split, drawn_faces, top / name, (*tiny, *settings), task, bins)
    return {name: top / name for name in asked}


def test_regression_and_classifier_stand_on_one_chart(runs: dict[str, Path], agecls: Call, tmp_path: Path) -> None:
    done = agecls(
        "evaluate", runs["bins"], "--part", "valid", "--against", runs["years"], "--against", runs["all"],
        "--json", tmp_path / "score.json", "--report", tmp_path / "report",
    )  # fmt: skip
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "score.json").read_text())
    assert [row["run"] for row in told["against"]] == ["bins", "years", "all"]
    assert told["classes"] == ["0-20", "21-40", "41-116"]
    own, *others = told["against"]
    assert own["macro_f1"] == told["macro_f1"]
    assert "gain" not in own
    for row, name in zip(others, ("years", "all"), strict=True):
        alone = agecls("evaluate", runs[name], "--part", "valid", "--bins", BINS, "--json", tmp_path / "alone.json")
        assert alone.code == 0, alone.err
        found = json.loads((tmp_path / "alone.json").read_text())
        found = found["tasks"]["age"] if "tasks" in found else found
        assert row["macro_f1"] == found["macro_f1"]
        assert row["mae_years"] == found["mae_years"]
        assert row["gain"] == pytest.approx(row["macro_f1"] - own["macro_f1"], abs=1e-12)
        low, high = row["gain_ci95"]
        assert low <= row["gain"] <= high
        assert row["f1"] == {each: scores["f1"] for each, scores in found["per_class"].items()}
    assert "MAE: in years" in done.out
    line = [line for line in done.out.splitlines() if line.startswith("years ")][-1]
    assert f"{others[0]['mae_years']:.2f}" in line
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Beside other runs" in page
    assert page.count('<th scope="row">years</th>') == 1


def test_scores_are_those_of_the_predictions(runs: dict[str, Path], agecls: Call, tmp_path: Path) -> None:
    """What the table says of another run can be computed again from its own table of predictions."""
    agecls("evaluate", runs["years"], "--part", "valid", "--bins", BINS, "--report", tmp_path / "one")
    rows = [line.split(",") for line in (tmp_path / "one" / "predictions.csv").read_text().splitlines()[1:]]
    truth, predicted = np.array([row[1:3] for row in rows]).T
    agecls("evaluate", runs["bins"], "--part", "valid", "--against", runs["years"], "--json", tmp_path / "a.json")
    row = json.loads((tmp_path / "a.json").read_text())["against"][1]
    names = ["0-20", "21-40", "41-116"]
    assert row["macro_f1"] == pytest.approx(f1_score(truth, predicted, labels=names, average="macro", zero_division=0))


def test_only_shared_tasks_of_several_are_compared(runs: dict[str, Path], agecls: Call, tmp_path: Path) -> None:
    asked = ("--part", "valid", "--bins", BINS, "--json", tmp_path / "s.json")
    done = agecls("evaluate", runs["all"], *asked, "--against", runs["bins"])
    assert done.code == 0, done.err
    tasks = json.loads((tmp_path / "s.json").read_text())["tasks"]
    assert [row["run"] for row in tasks["age"]["against"]] == ["all", "bins"]
    assert "against" not in tasks["gender"]


def test_openings_of_test_are_counted_for_every_run(runs: dict[str, Path], agecls: Call, tmp_path: Path) -> None:
    one, other = (Path(shutil.copytree(runs[name], tmp_path / name)) for name in ("bins", "years"))
    done = agecls("evaluate", one, "--part", "test", "--against", other)
    assert done.code == 0, done.err
    assert "years: this run has opened the test part of drawn 1 time" in done.err
    assert (one / "ledger.json").is_file()
    assert (other / "ledger.json").is_file()


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ("bins", "compared with itself"),
        ("askew", "0-30"),
        ("gender", "answers nothing that"),
        ("nowhere", "there is no run at"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    against: str, said: str, runs: dict[str, Path], drawn_run: Run, agecls: Call, tmp_path: Path
) -> None:
    known = {**runs, "gender": drawn_run.folder, "nowhere": tmp_path / "nowhere"}
    done = agecls("evaluate", runs["bins"], "--part", "valid", "--against", known[against])
    assert done.code == 2
    assert said in done.err


def test_comparing_and_calibrating_are_two_things(runs: dict[str, Path], agecls: Call) -> None:
    done = agecls("evaluate", runs["bins"], "--part", "test", "--calibrate", "--against", runs["years"])
    assert done.code == 2
    assert "--against" in done.err
