"""Evaluating: the contract's numbers, the ledger, and the refusal to score what was fitted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from agecls.bins import Bins
from agecls.data.freeze import freeze_split
from agecls.data.sources import SourceName
from agecls.data.split import Split
from agecls.data.synthetic import draw_faces
from agecls.errors import DataError, LeakageError, RunError, SplitError
from agecls.evaluate import evaluate_part, evaluate_source, roots_of, split_of
from agecls.learn.run import Run

CONTRACT = {
    "schema", "task", "classes", "n", "accuracy", "macro_f1", "macro_f1_ci95", "per_class", "confusion",
    "majority_macro_f1", "split", "part", "leaked",
}  # fmt: skip


@pytest.fixture
def run(drawn_run: Run, tmp_path: Path) -> Run:
    """A copy of the trained run that a test may write into."""
    shutil.copytree(drawn_run.folder, tmp_path / "run")
    return Run.load(tmp_path / "run")


def test_numbers_of_the_contract(run: Run, drawn_split: Split, drawn_faces: Path) -> None:
    evaluation = evaluate_part(run, "test", drawn_split, drawn_split.roots([drawn_faces]))
    measured, report = evaluation.measured, evaluation.report
    assert measured.keys() >= CONTRACT
    assert measured["part"] == "test"
    assert measured["split"] == drawn_split.name
    assert measured["leaked"] is False
    assert measured["n"] == len(drawn_split.parts["test"])
    low, high = measured["macro_f1_ci95"]
    assert low <= measured["macro_f1"] <= high
    assert measured["macro_f1"] == pytest.approx(f1_score(report.truth, report.predicted, average="macro"))
    assert np.sum(measured["confusion"]) == measured["n"]
    json.dumps(measured, allow_nan=False)


def test_each_opening_of_test_is_counted_and_valid_is_not(run: Run, drawn_split: Split, drawn_faces: Path) -> None:
    roots = drawn_split.roots([drawn_faces])
    evaluate_part(run, "valid", drawn_split, roots)
    assert not (run.folder / "ledger.json").exists()
    for times in ("1 time,", "2 times,", "3 times,"):
        notes = evaluate_part(run, "test", drawn_split, roots).notes
        assert any(times in note for note in notes), notes
    assert len(json.loads((run.folder / "ledger.json").read_text())["openings"]) == 3


def test_damaged_ledger_is_said_and_not_reset(run: Run, drawn_split: Split, drawn_faces: Path) -> None:
    (run.folder / "ledger.json").write_text("{")
    notes = evaluate_part(run, "test", drawn_split, drawn_split.roots([drawn_faces])).notes
    assert any("could not be noted" in note for note in notes)
    assert (run.folder / "ledger.json").read_text() == "{"


def freeze(faces: Path, out: Path, seed: int) -> Split:
    source: list[tuple[SourceName, Path]] = [("synthetic", faces)]
    return freeze_split(source, out, fractions=(0.6, 0.2, 0.2), seed=seed, bins=Bins.parse("4")).split


def test_another_split_where_the_own_one_was_is_refused(run: Run, drawn_faces: Path, tmp_path: Path) -> None:
    freeze(drawn_faces, tmp_path / "other", seed=1)
    record = json.loads((run.folder / "run.json").read_text())
    record["split"]["folder"] = str(tmp_path / "other")
    (run.folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(SplitError, match="another split"):
        split_of(Run.load(run.folder), None)


def test_given_split_of_other_images_is_scored_and_said(run: Run, tmp_path: Path) -> None:
    draw_faces(tmp_path / "new", 90, seed=97, size=64)
    other = split_of(run, freeze(tmp_path / "new", tmp_path / "other", seed=0).folder)
    evaluation = evaluate_part(run, "test", other, other.roots([tmp_path / "new"]))
    assert evaluation.measured["n"] == len(other.parts["test"])
    assert evaluation.measured["leaked"] is False
    assert any("trained on another split" in note for note in evaluation.notes)


def test_selection_on_scored_images_is_said(run: Run, drawn_split: Split, drawn_faces: Path) -> None:
    roots = drawn_split.roots([drawn_faces])
    count = len(drawn_split.parts["valid"])
    told = f"{count} images to be scored helped to select run gender (early stopping)"
    assert any(told in note for note in evaluate_part(run, "valid", drawn_split, roots).notes)
    assert not any("select" in note for note in evaluate_part(run, "test", drawn_split, roots).notes)


def test_folder_the_run_was_fitted_on_is_refused_by_content(run: Run, drawn_faces: Path, tmp_path: Path) -> None:
    copy = tmp_path / "renamed"
    shutil.copytree(drawn_faces, copy)
    (copy / "faces").rename(copy / "portraits")
    table = (copy / "labels.csv").read_text().replace("faces/", "portraits/")
    (copy / "labels.csv").write_text(table)
    with pytest.raises(LeakageError, match="fitted on") as refusal:
        evaluate_source(run, "synthetic", copy)
    assert refusal.value.exit_code == 3
    assert "216 of 360" in refusal.value.what


def test_unseen_folder_is_scored(run: Run, tmp_path: Path) -> None:
    draw_faces(tmp_path / "new", 60, seed=99, size=64)
    evaluation = evaluate_source(run, "synthetic", tmp_path / "new")
    assert evaluation.measured["n"] == 60
    assert evaluation.measured["macro_f1"] > evaluation.measured["majority_macro_f1"]


def test_bad_files_of_a_folder_are_said(run: Run, tmp_path: Path) -> None:
    draw_faces(tmp_path / "new", 20, seed=98, size=64)
    first = sorted((tmp_path / "new" / "faces").iterdir())[0]
    first.write_bytes(first.read_bytes()[:100])
    evaluation = evaluate_source(run, "synthetic", tmp_path / "new")
    assert evaluation.measured["n"] == 19
    assert any("unreadable or truncated" in note for note in evaluation.notes)


def test_split_is_found_where_it_was_and_where_it_is_said(
    run: Run, drawn_split: Split, drawn_faces: Path, tmp_path: Path
) -> None:
    assert split_of(run, None).fingerprint == drawn_split.fingerprint
    moved = tmp_path / "moved"
    shutil.copytree(drawn_split.folder, moved)
    assert split_of(run, moved).folder == moved
    assert roots_of(run, drawn_split, [], lambda: []) == {"synthetic": drawn_faces}


def test_changed_image_is_not_scored(drawn_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_CACHE", str(tmp_path / "cache"))
    split = split_of(drawn_run, None)
    roots = roots_of(drawn_run, split, [], lambda: [])
    copy = tmp_path / "faces"
    shutil.copytree(roots["synthetic"], copy)
    victim = copy / split.parts["test"].table["path"].iloc[0]
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(DataError, match="1 of 360") as refusal:
        evaluate_part(drawn_run, "valid", split, split.roots([copy]))
    assert victim.name in refusal.value.got


@pytest.mark.parametrize("damage", ["truncate", "remove", "other"])
def test_damaged_weights_are_refused(damage: str, run: Run, drawn_split: Split, drawn_faces: Path) -> None:
    weights = run.folder / "model.safetensors"
    match damage:
        case "truncate":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "remove":
            weights.unlink()
        case "other":
            record = json.loads((run.folder / "run.json").read_text())
            record["config"]["network"]["features"] = 4
            (run.folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError):
        evaluate_part(Run.load(run.folder), "valid", drawn_split, drawn_split.roots([drawn_faces]))


def test_missing_lineage_is_refused(run: Run, drawn_split: Split, drawn_faces: Path) -> None:
    (run.folder / "lineage.npz").unlink()
    with pytest.raises(RunError, match="lineage"):
        evaluate_part(run, "valid", drawn_split, drawn_split.roots([drawn_faces]))


@pytest.mark.parametrize(
    "edit",
    [
        {"schema": 99}, {"task": "mood"}, {"classes": ["a", "b"]}, {"bins": {"names": ["0-5", "4-116"], "gaps": False}},
        {"config": {"network": {"layers": 99}}}, {"preprocessing": {"sise": 3}}, {"split": None}, {"bins": 3},
    ],
)  # fmt: skip
def test_damaged_record_is_refused(edit: dict[str, object], run: Run) -> None:
    record = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**record, **edit}))
    with pytest.raises(RunError):
        Run.load(run.folder)
