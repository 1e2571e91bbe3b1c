"""Temperature, prediction sets, several passes and ensembles, as evaluate and predict offer them."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.data.synthetic import draw_faces
from agecls.errors import DataError, LeakageError, RunError, UsageError
from agecls.evaluate import evaluate_part, evaluate_source
from agecls.labels import TrainTask
from agecls.learn.run import Run
from agecls.predict import predict_images
from agecls.report.calibration import apply_temperature, fit_temperature
from agecls.report.conformal import Conformal
from agecls.train import TrainRequest, train
from agecls.uncertainty import Asking


def fit(split: Split, faces: Path, out: Path, settings: tuple[str, ...], task: TrainTask = "gender") -> Run:
    config = load_config("agecnn-cpu", task, settings)
    return train(TrainRequest(task, Bins.parse("4"), "4", split, split.roots([faces]), config, out), lambda line: None)


@pytest.fixture(scope="module")
def second_run(
    drawn_split: Split, drawn_faces: Path, tmp_path_factory: pytest.TempPathFactory, tiny: tuple[str, ...]
) -> Run:
    """Another gender classifier, from another seed, of another size of image, with uncertain weights and no dropout."""
    settings = (*tiny, "train.seed=1", "network.image_size=48", "network.bayesian=full", "network.dropout=0")
    return fit(drawn_split, drawn_faces, tmp_path_factory.mktemp("second") / "gender", settings)


@pytest.fixture
def run(drawn_run: Run, tmp_path: Path) -> Run:
    """A copy of the trained run that a test may write into."""
    shutil.copytree(drawn_run.folder, tmp_path / "run")
    return Run.load(tmp_path / "run")


@pytest.fixture
def score(drawn_split: Split, drawn_faces: Path) -> Callable[..., Any]:
    """Score a run on a part of the drawn split."""
    roots = drawn_split.roots([drawn_faces])

    def call(run: Run, part: Any = "test", *, allow_leakage: bool = False, **asked: Any) -> Any:
        return evaluate_part(run, part, drawn_split, roots, asking=Asking(**asked), allow_leakage=allow_leakage)

    return call


def test_calibration_is_always_said(run: Run, score: Callable[..., Any]) -> None:
    told = score(run).measured["calibration"]
    assert told.keys() >= {"ece", "ece_ci95", "nll", "brier", "aurc", "temperature"}
    assert told["temperature"] is None
    assert "conformal" not in score(run).measured


def test_temperature_comes_from_valid_and_is_applied_to_test(run: Run, score: Callable[..., Any]) -> None:
    valid, plain, found = score(run, "valid").report, score(run), score(run, calibrate=True)
    temperature = fit_temperature(valid.probabilities, valid.truth)
    told = found.measured["calibration"]
    assert told["temperature"] == pytest.approx(temperature) != 1
    np.testing.assert_allclose(
        found.report.probabilities, apply_temperature(plain.report.probabilities, temperature), atol=1e-9
    )
    assert told["before"]["nll"] == pytest.approx(plain.measured["calibration"]["nll"])
    assert told["nll"] != told["before"]["nll"]
    assert told["fitted_on"]["n"] == len(valid)
    assert told["fitted_on"]["nll"] <= told["fitted_on"]["nll_before"]
    assert found.measured["leaked"] is False
    assert found.measured["macro_f1"] == plain.measured["macro_f1"]
    assert any("not kept in the run" in note for note in found.notes)
    assert not any("helped to select" in note for note in found.notes)  # that is of valid, not of what is scored
    assert score(run).measured["calibration"]["temperature"] is None
    json.dumps(found.measured, allow_nan=False)


@pytest.mark.parametrize("asked", [{"calibrate": True}, {"conformal": Conformal(0.9)}])
def test_valid_cannot_judge_what_is_fitted_on_it(asked: Any, run: Run, score: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="valid cannot judge"):
        score(run, "valid", **asked)


def test_sets_cover_overall_and_by_group(run: Run, score: Callable[..., Any]) -> None:
    small, large, own = (
        score(run, conformal=asked).measured["conformal"]
        for asked in (Conformal(0.6, "lac"), Conformal(0.95, "lac"), Conformal(0.9, "aps", "ethnicity"))
    )
    assert small["mean_size"] <= large["mean_size"]
    assert small["covered"] <= large["covered"]
    assert large["covered"] > 0.85
    assert set(own["by_group"]["ethnicity"]) == set(own["group_thresholds"])
    assert set(own["per_class"]) == {"male", "female"}


def test_valid_that_a_run_was_fitted_on_is_refused(drawn_faces: Path, drawn_split: Split, run: Run) -> None:
    # Of another split of the same faces, test may be new to the run while valid is not.
    parts = drawn_split.parts
    mixed = dataclasses.replace(drawn_split, parts={**parts, "train": parts["valid"], "valid": parts["train"]})
    roots = drawn_split.roots([drawn_faces])
    evaluate_part(run, "test", mixed, roots)
    with pytest.raises(LeakageError):
        evaluate_part(run, "test", mixed, roots, asking=Asking(calibrate=True))
    found = evaluate_part(run, "test", mixed, roots, asking=Asking(calibrate=True), allow_leakage=True)
    assert found.measured["leaked"] is True
    assert found.measured["leaked_count"] == len(parts["train"])
    assert found.report.origin.leaked


def test_folder_is_scored_by_what_valid_of_the_runs_split_gives(
    run: Run, drawn_split: Split, drawn_faces: Path, tmp_path: Path
) -> None:
    draw_faces(tmp_path / "new", 60, seed=77, size=64)
    asking = Asking(calibrate=True, conformal=Conformal(0.8))
    held_out = (drawn_split, drawn_split.roots([drawn_faces]))
    found = evaluate_source(run, "synthetic", tmp_path / "new", asking=asking, held_out=held_out).measured
    assert found["n"] == 60
    assert found["calibration"]["fitted_on"]["n"] == len(drawn_split.parts["valid"])
    assert found["conformal"]["n"] == 60
    with pytest.raises(UsageError, match="fitted on valid"):
        evaluate_source(run, "synthetic", tmp_path / "new", asking=asking)


def test_scored_images_are_not_fitted_on(run: Run, drawn_split: Split, drawn_faces: Path, tmp_path: Path) -> None:
    valid = drawn_split.parts["valid"].table["path"].tolist()
    header, *lines = (drawn_faces / "labels.csv").read_text().splitlines()
    for name, kept in (("some", valid[:30]), ("all", valid)):
        (tmp_path / name / "faces").mkdir(parents=True)
        for path in kept:
            shutil.copy(drawn_faces / path, tmp_path / name / path)
        rows = [line for line in lines if any(path in line for path in kept)]
        (tmp_path / name / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    held_out = (drawn_split, drawn_split.roots([drawn_faces]))
    asking = Asking(calibrate=True)
    found = evaluate_source(run, "synthetic", tmp_path / "some", asking=asking, held_out=held_out).measured
    assert found["n"] == 30
    assert found["calibration"]["fitted_on"]["n"] == len(valid) - 30
    with pytest.raises(DataError, match="every image of valid"):
        evaluate_source(run, "synthetic", tmp_path / "all", asking=asking, held_out=held_out)


def test_passes_change_the_answer_and_repeat_themselves(run: Run, second_run: Run, score: Callable[..., Any]) -> None:
    for each in (run, second_run):
        plain, one, again = score(each, "valid"), score(each, "valid", passes=4), score(each, "valid", passes=4)
        assert one.measured["mc_dropout"] == 4
        assert not np.allclose(one.report.probabilities, plain.report.probabilities, atol=1e-6)
        np.testing.assert_array_equal(one.report.probabilities, again.report.probabilities)


def test_ensemble_answers_by_the_mean_of_its_runs(run: Run, second_run: Run, score: Callable[..., Any]) -> None:
    alone = [score(each, "valid").report.probabilities for each in (run, second_run)]
    found = score(run, "valid", others=(second_run,))
    np.testing.assert_allclose(found.report.probabilities, np.mean(alone, axis=0), atol=1e-9)
    assert found.measured["run"] == "run + gender"
    assert found.measured["ensemble"] == [str(run.folder), str(second_run.folder)]


def test_each_run_of_an_ensemble_notes_that_it_opened_test(
    run: Run, second_run: Run, score: Callable[..., Any], tmp_path: Path
) -> None:
    shutil.copytree(second_run.folder, tmp_path / "other")
    other = Run.load(tmp_path / "other")
    notes = score(run, others=(other,), calibrate=True, conformal=Conformal(0.9), passes=2).notes
    assert sum("has opened the test part" in note for note in notes) == 2
    assert (other.folder / "ledger.json").exists()


def test_ensemble_refuses_what_does_not_answer_alike(
    run: Run, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...], score: Callable[..., Any]
) -> None:
    age = fit(drawn_split, drawn_faces, tmp_path / "age", (*tiny, "train.epochs=1"), "age")
    with pytest.raises(RunError, match="has another task"):
        score(run, "valid", others=(age,))
    with pytest.raises(UsageError, match="one run twice"):
        score(run, "valid", others=(Run.load(run.folder),))


def test_ensemble_of_another_split_is_refused_or_marked(run: Run, second_run: Run, score: Callable[..., Any]) -> None:
    # Of another split by its record alone, so that no image tells.
    other = dataclasses.replace(second_run, split=dataclasses.replace(second_run.split, fingerprint="0" * 64))
    with pytest.raises(LeakageError, match="another split"):
        score(run, others=(other,))
    assert score(run, others=(other,), allow_leakage=True).measured["leaked"] is True


def test_certain_answers_are_not_calibrated(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...], score: Callable[..., Any]
) -> None:
    years = fit(drawn_split, drawn_faces, tmp_path / "years", (*tiny, "train.epochs=1"), "age-regression")
    found = score(years, calibrate=True, conformal=Conformal(0.9))
    assert found.measured["calibration"] is None
    assert "conformal" not in found.measured
    assert any("give no probabilities" in note for note in found.notes)


def test_each_task_has_its_own_temperature_and_sets(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...], score: Callable[..., Any]
) -> None:
    settings = (*tiny, "train.epochs=1", "targets.age=coral", "network.bayesian=half")
    several = fit(drawn_split, drawn_faces, tmp_path / "several", settings, "multitask")
    found = score(several, calibrate=True, conformal=Conformal(0.8), passes=3).measured
    assert set(found["tasks"]) == {"age", "gender", "ethnicity"}
    assert len({told["calibration"]["temperature"] for told in found["tasks"].values()}) == 3
    assert all(told["conformal"]["n"] == told["n"] for told in found["tasks"].values())
    assert all(told["mc_dropout"] == 3 for told in found["tasks"].values())


def test_command_says_and_writes_all_of_it(
    agecls: Callable[..., Any], run: Run, second_run: Run, tmp_path: Path
) -> None:
    told = agecls(
        "evaluate", run.folder, "--part", "test", "--calibrate", "--conformal", "0.9", "--conformal-by", "ethnicity",
        "--conformal-score", "lac", "--mc-dropout", "3", "--ensemble", second_run.folder,
        "--json", tmp_path / "out.json", "--report", tmp_path / "report",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert "calibration error" in told.out
    assert "at temperature" in told.out
    assert "sets of 90.0 %" in told.out
    assert "not kept in the run" in told.err
    measured = json.loads((tmp_path / "out.json").read_text())
    assert measured["mc_dropout"] == 3
    assert measured["conformal"]["by"] == "ethnicity"
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Prediction sets" in page
    assert "fitted on the validation part" in page


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--part", "test", "--conformal-by", "gender"), "--conformal"),
        (("--part", "test", "--conformal", "90"), "between 0 and 1"),
        (("--part", "valid", "--calibrate"), "--part test"),
        (("--part", "test", "--mc-dropout", "-1"), "--mc-dropout"),
    ],
)
def test_wrong_usage_is_refused(options: tuple[str, ...], named: str, agecls: Callable[..., Any], run: Run) -> None:
    told = agecls("evaluate", run.folder, *options)
    assert told.code == 2
    assert named in told.err


def test_predictions_of_an_ensemble_and_of_passes(
    agecls: Callable[..., Any], run: Run, second_run: Run, drawn_faces: Path, tmp_path: Path
) -> None:
    images = sorted(each for each in drawn_faces.rglob("*") if each.suffix in (".jpg", ".png"))[:3]
    assert len(images) == 3

    def chances(runs: list[Run], **asked: Any) -> np.ndarray:
        answers = [each.tasks["gender"] for each in predict_images(runs, images, **asked)]
        return np.array([list(answer["probabilities"].values()) for answer in answers])

    one, other = chances([run]), chances([second_run])
    np.testing.assert_allclose(chances([run, second_run], ensemble=True), (one + other) / 2, atol=1e-9)
    assert not np.allclose(chances([run], passes=3), one, atol=1e-6)
    told = agecls(
        "predict", run.folder, second_run.folder, images[0], "--ensemble", "--mc-dropout", "2",
        "--json", tmp_path / "out.json",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert list(json.loads((tmp_path / "out.json").read_text())[0]["tasks"]) == ["gender"]
