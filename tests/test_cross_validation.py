"""Cross-validation: each image judged once by a run that never saw it; resuming; guards."""

import dataclasses
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from agecls.audit import audit
from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.cross_validate import CrossValidation, cross_validate, plan_folds, plan_splits
from agecls.cross_validate.cv_file import FILE
from agecls.data.split import Split
from agecls.errors import LeakageError, RunError, UsageError
from agecls.evaluate import evaluate_part
from agecls.labels import TrainTask
from agecls.learn.lineage import Lineage
from agecls.learn.run import Run
from agecls.train import TrainRequest

Call = Callable[..., Any]


def quiet(line: str) -> None:
    pass


def ask(
    split: Split, faces: Path, out: Path | None, settings: tuple[str, ...], task: TrainTask = "gender"
) -> TrainRequest:
    config = load_config("agecnn-cpu", task, (*settings, "train.epochs=1"))
    return TrainRequest(task, Bins.parse("4"), "4", split, split.roots([faces]), config, out)


@pytest.fixture(scope="session")
def done(
    drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> CrossValidation:
    """Three folds of the drawn split; treat it as read-only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGECLS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        out = tmp_path_factory.mktemp("runs") / "cv"
        return cross_validate(ask(drawn_split, drawn_faces, out, tiny), plan_folds(drawn_split, 3), quiet)


def hashes_of(split: Split, *parts: str) -> list[str]:
    return sorted(digest for part, faces in split.parts.items() if part in parts for digest in faces.table["sha256"])


def test_each_image_is_judged_once_by_a_run_that_never_saw_it(done: CrossValidation, drawn_split: Split) -> None:
    report = done.reports["gender"]
    asked = sorted(path for part in ("train", "valid") for path in drawn_split.parts[part].table["path"])
    assert sorted(report.paths) == asked
    assert [run.name for run in done.runs] == ["fold-1", "fold-2", "fold-3"]
    blank = np.zeros((len(drawn_split.everything), 64, 64), np.uint8)
    everything = hashes_of(drawn_split, "train", "valid")
    tests = hashes_of(drawn_split, "test")
    for run in done.runs:
        split = Split.load(Path(run.split.folder))
        lineage = Lineage.load(run.folder)
        held, fitted = hashes_of(split, "valid"), hashes_of(split, "train")
        assert sorted(held + fitted) == everything
        assert lineage.meet(fitted, blank[: len(fitted)]).exact.all()
        assert not lineage.meet(held, blank[: len(held)]).exact.any()
        assert lineage.meet(held, blank[: len(held)]).selected.all()
        assert hashes_of(split, "test") == tests
        met = lineage.meet(tests, blank[: len(tests)])
        assert not (met.exact | met.selected).any()
        assert not (run.folder / "ledger.json").exists(), "test was opened"


def test_mean_deviation_and_the_report_of_all(done: CrossValidation) -> None:
    told = json.loads((done.folder / FILE).read_text())
    assert told == json.loads(json.dumps(done.told))
    assert (told["status"], told["folds"], told["leaked"], told["leaked_count"]) == ("finished", 3, False, 0)
    scores = told["tasks"]["gender"]
    for name in ("macro_f1", "accuracy", "balanced_accuracy"):
        each = [fold[name] for fold in scores["folds"]]
        mean = sum(each) / 3
        assert scores["mean"][name] == pytest.approx(mean)
        assert scores["std"][name] == pytest.approx((sum((one - mean) ** 2 for one in each) / 2) ** 0.5), "ddof 1"
        assert scores["std"][name] == pytest.approx(statistics.stdev(each))
    assert [fold["macro_f1"] for fold in scores["folds"]] == pytest.approx(
        [run.metrics["valid_macro_f1"] for run in done.runs], abs=1e-5
    )
    report = done.reports["gender"]
    pooled = scores["pooled"]
    assert pooled["macro_f1"] == pytest.approx(f1_score(report.truth, report.predicted, average="macro"))
    assert pooled["n"] == sum(fold["n"] for fold in scores["folds"])
    assert pooled["part"] == "train and valid, out of fold"
    assert json.loads((done.folder / "report" / "report.json").read_text()) == pooled
    page = (done.folder / "report" / "report.html").read_text()
    notes = " ".join(told["notes"])
    assert "Bengio and Grandvalet 2004" in notes
    assert "no confidence interval" in page
    assert "also chose the best epoch" in page


def test_a_fold_has_a_split_of_its_own_that_stands_an_audit(done: CrossValidation, drawn_split: Split) -> None:
    fingerprints = {run.split.fingerprint for run in done.runs}
    assert len(fingerprints | {drawn_split.fingerprint}) == 4
    first = Path(done.runs[0].split.folder)
    assert first == (done.folder / "splits" / "drawn-fold-1-of-3").absolute()
    derived = Split.load(first).manifest["derived"]
    assert derived == {
        "split": "drawn", "fingerprint": drawn_split.fingerprint, "fold": 1, "folds": 3, "seed": 0,
    }  # fmt: skip
    found = audit(first, runs=[done.runs[0].folder])
    assert [check.name for check in found.checks if not check.ok] == []
    assert "a fold of another one" in next(each.why for each in found.not_checked if each.name == "placement")


def test_a_fold_run_is_refused_on_the_valid_of_the_whole_split(
    done: CrossValidation, drawn_split: Split, drawn_faces: Path
) -> None:
    roots = drawn_split.roots([drawn_faces])
    with pytest.raises(LeakageError, match="was fitted on"):
        evaluate_part(done.runs[0], "valid", drawn_split, roots)
    other = Split.load(Path(done.runs[1].split.folder))
    with pytest.raises(LeakageError, match="was fitted on"):
        evaluate_part(done.runs[0], "valid", other, roots)


def test_a_start_that_has_seen_the_folds_is_refused_and_leaves_nothing(
    drawn_run: Run, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    request = dataclasses.replace(ask(drawn_split, drawn_faces, tmp_path / "cv", tiny), init_from=drawn_run.folder)
    with pytest.raises(LeakageError):
        cross_validate(request, plan_folds(drawn_split, 2), quiet)
    assert not (tmp_path / "cv").exists()


def test_forced_past_the_guard_all_of_it_is_marked(
    drawn_run: Run, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    request = dataclasses.replace(
        ask(drawn_split, drawn_faces, tmp_path / "cv", tiny), init_from=drawn_run.folder, allow_leakage=True
    )
    done = cross_validate(request, plan_folds(drawn_split, 2), quiet)
    assert done.told["leaked"] is True
    assert done.told["leaked_count"] > 0
    assert done.told["tasks"]["gender"]["pooled"]["leaked"] is True


def test_stopped_in_the_second_fold_it_goes_on_there(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...], done: CrossValidation
) -> None:
    request = ask(drawn_split, drawn_faces, tmp_path / "cv", tiny)
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        if line.startswith("epoch") and any(each.startswith("fold 2:") for each in lines):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cross_validate(request, plan_folds(drawn_split, 3), stop)
    assert lines[-1] == f"interrupted; go on with the same command and --resume --out {tmp_path / 'cv'}"
    assert json.loads((tmp_path / "cv" / FILE).read_text())["status"] == "training"
    with pytest.raises(RunError, match="exists already"):
        cross_validate(request, plan_folds(drawn_split, 3), quiet)
    weights = tmp_path / "cv" / "fold-1" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    again = dataclasses.replace(request, resume=True)
    with pytest.raises(RunError, match="other folds"):
        cross_validate(again, plan_folds(drawn_split, 4), quiet)
    resumed = cross_validate(again, plan_folds(drawn_split, 3), quiet)
    assert weights.stat().st_mtime_ns == before, "a finished fold was trained again"
    assert resumed.told["tasks"] == {
        "gender": {**done.told["tasks"]["gender"], "pooled": resumed.told["tasks"]["gender"]["pooled"]}
    }
    assert resumed.told["tasks"]["gender"]["pooled"]["confusion"] == done.told["tasks"]["gender"]["pooled"]["confusion"]
    other = dataclasses.replace(again, config=load_config("agecnn-cpu", "gender", (*tiny, "optimizer.lr=0.5")))
    with pytest.raises(RunError, match=r"optimizer\.lr"):
        cross_validate(other, plan_folds(drawn_split, 3), quiet)


def test_resuming_nothing_or_several_machines_is_refused(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(drawn_split, drawn_faces, tmp_path / "none", tiny)
    with pytest.raises(UsageError, match="no cross-validation to resume"):
        cross_validate(dataclasses.replace(request, resume=True), plan_folds(drawn_split, 3), quiet)
    with pytest.raises(UsageError, match="--resume needs"):
        cross_validate(dataclasses.replace(request, out=None, resume=True), plan_folds(drawn_split, 3), quiet)
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.setenv(name, "0")
    several = ask(drawn_split, drawn_faces, tmp_path / "none", (*tiny, "train.nodes=2", "train.precision=fp32"))
    with pytest.raises(UsageError, match="on one machine"):
        cross_validate(several, plan_folds(drawn_split, 3), quiet)
    assert not (tmp_path / "none").exists()


def test_several_tasks_have_scores_each(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    done = cross_validate(
        ask(drawn_split, drawn_faces, tmp_path / "cv", tiny, "multitask"), plan_folds(drawn_split, 2), quiet
    )
    assert list(done.told["tasks"]) == list(done.reports)
    assert set(done.reports) >= {"age", "gender", "ethnicity"}
    age = done.told["tasks"]["age"]
    assert 0 <= age["mean"]["off_by_one_accuracy"] <= 1
    assert (done.folder / "report" / "ethnicity" / "report.html").is_file()


def test_the_command(
    agecls: Call, drawn_split: Split, drawn_faces: Path, workplace: Path, tiny: tuple[str, ...]
) -> None:
    sets = [part for each in (*tiny, "train.epochs=1") for part in ("--set", each)]
    given = ("train", "--task", "age", "--bins", "4", "--split", drawn_split.folder, "--root", drawn_faces, *sets)
    code, out, err = agecls(*given, "--folds", 2, "--json", "cv.json")
    assert code == 0, err
    assert "within one bin" in out
    assert "majority" in out
    for row in ("mean", "SD", "together"):
        assert any(line.startswith(row) for line in out.splitlines()), row
    assert "Bengio and Grandvalet" in err
    assert Path("runs/age-4-cv-1/report/report.html").is_file()
    assert json.loads(Path("cv.json").read_text()) == json.loads(Path("runs/age-4-cv-1/cv.json").read_text())
    scored = agecls("evaluate", "runs/age-4-cv-1/fold-1", "--part", "valid")
    assert scored.code == 0, scored.err
    assert "drawn-fold-1-of-2" in scored.out
    for wrong in (1, 10_000):
        code, _, err = agecls(*given, "--folds", wrong)
        assert code == 2
        assert "--folds takes 2 or more" in err
    assert "--find-lr and --folds" in agecls(*given, "--folds", 2, "--find-lr").err
    assert [path.name for path in Path("runs").iterdir()] == ["age-4-cv-1"]


def test_splits_whose_tests_overlap_are_no_folds(done: CrossValidation, drawn_split: Split) -> None:
    first, second = (Split.load(Path(run.split.folder)) for run in done.runs[:2])
    with pytest.raises(UsageError, match=f"{len(drawn_split.parts['test'])} images are test of several splits"):
        plan_splits([first, second])
    with pytest.raises(UsageError, match="two or more splits"):
        plan_splits([first])


def test_bins_searched_with_a_run_that_has_seen_the_folds_are_refused(
    agecls: Call, drawn_split: Split, drawn_faces: Path, workplace: Path, tiny: tuple[str, ...]
) -> None:
    sets = [part for each in (*tiny, "train.epochs=1") for part in ("--set", each)]
    given = ("train", "--task", "age", "--split", drawn_split.folder, "--root", drawn_faces, *sets)
    assert agecls(*given, "--bins", "7", "--out", "runs/fine").code == 0
    assert agecls("search-bins", "--run", "runs/fine", "--bins", "3", "--out", "bins.json").code == 0
    code, _, err = agecls(*given, "--bins", "bins.json", "--folds", 2)
    assert code == 3, err
    assert "an ancestor of bins, was fitted on" in err
    assert [path.name for path in Path("runs").iterdir()] == ["fine"]
