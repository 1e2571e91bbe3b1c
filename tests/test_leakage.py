"""Leaks between runs: refused by name and number, and never washed off where they are allowed."""

import csv
import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.freeze import freeze_split
from agecls.data.sources import SourceName
from agecls.data.split import Split, fingerprint
from agecls.data.synthetic import draw_faces
from agecls.errors import LeakageError, RunError
from agecls.evaluate import evaluate_part
from agecls.labels import Task
from agecls.learn.lineage import Lineage
from agecls.learn.run import Run
from agecls.train import TrainRequest, train

Call = Callable[..., Any]


def quiet(line: str) -> None:
    pass


def freeze(faces: Path, out: Path, seed: int) -> Split:
    source: list[tuple[SourceName, Path]] = [("synthetic", faces)]
    return freeze_split(source, out, fractions=(0.6, 0.2, 0.2), seed=seed, bins=Bins.parse("4")).split


def ask(split: Split, faces: Path, out: Path, settings: tuple[str, ...], task: Task = "age") -> TrainRequest:
    config = load_config("agecnn-cpu", task, [*settings, "train.epochs=1"])
    return TrainRequest(task, Bins.parse("4"), "4", split, split.roots([faces]), config, out)


def common(first: Split, part: str, second: Split, *parts: str) -> int:
    """Images of a part that stand in some parts of another split."""
    hashes = {each for name in parts for each in second.parts[name].table["sha256"]}  # type: ignore[index]
    return int(first.parts[part].table["sha256"].isin(hashes).sum())  # type: ignore[index]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("leakage")


@pytest.fixture(scope="module")
def other_split(drawn_faces: Path, folder: Path) -> Split:
    """The images of ``drawn_split``, split again with another seed."""
    return freeze(drawn_faces, folder / "other", seed=1)


@pytest.fixture(scope="module")
def third_split(drawn_faces: Path, folder: Path) -> Split:
    """And once more."""
    return freeze(drawn_faces, folder / "third", seed=2)


@pytest.fixture(scope="module")
def leaked_run(drawn_run: Run, other_split: Split, drawn_faces: Path, folder: Path, tiny: tuple[str, ...]) -> Run:
    """A child of ``drawn_run`` on the other split, past the guard."""
    request = ask(other_split, drawn_faces, folder / "leaked", (*tiny, "train.picture_every=1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGECLS_CACHE", str(folder / "cache"))
        return train(dataclasses.replace(request, init_from=drawn_run.folder, allow_leakage=True), quiet)


def test_warm_start_over_two_splits_is_refused(
    agecls: Call, drawn_run: Run, drawn_split: Split, other_split: Split, drawn_faces: Path, tmp_path: Path,
    tiny: tuple[str, ...],
) -> None:  # fmt: skip
    settings = [word for setting in tiny for word in ("--set", setting)]
    outcome = agecls(
        "train", "--task", "age", "--bins", "4", "--split", other_split.folder, "--root", drawn_faces,
        "--config", "agecnn-cpu", *settings, "--init-from", drawn_run.folder, "--out", tmp_path / "run",
    )  # fmt: skip
    assert outcome.code == 3
    judged = common(other_split, "valid", drawn_split, "train") + common(other_split, "test", drawn_split, "train")
    assert judged > 50
    assert f"{judged} of 144 images to be scored are images that run gender was fitted on" in outcome.err
    assert outcome.err.split("found:")[1].split("do:")[0].count(".jpg") == 3
    assert "--allow-leakage" in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "run").exists()


def test_scoring_on_another_split_is_refused(
    agecls: Call, drawn_run: Run, drawn_split: Split, other_split: Split, drawn_faces: Path, tmp_path: Path
) -> None:
    scored = ("--part", "test", "--split", other_split.folder, "--root", drawn_faces, "--json", tmp_path / "a.json")
    outcome = agecls("evaluate", drawn_run.folder, *scored)
    assert outcome.code == 3
    count = common(other_split, "test", drawn_split, "train")
    assert f"{count} of 72 images to be scored are images that run gender was fitted on" in outcome.err
    assert not (tmp_path / "a.json").exists()
    assert (
        not (drawn_run.folder / "ledger.json").exists()
        or other_split.fingerprint not in (drawn_run.folder / "ledger.json").read_text()
    ), "a refused opening is none"


def test_warm_start_on_the_same_split_is_clean_and_says_what_it_took(
    drawn_run: Run, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    lines: list[str] = []
    request = ask(drawn_split, drawn_faces, tmp_path / "child", (*tiny, "optimizer.lr=1e-12"))
    child = train(dataclasses.replace(request, init_from=drawn_run.folder), lines.append)
    record = json.loads((child.folder / "run.json").read_text())
    assert record["leaked"] is False
    assert record["parents"] == [
        {"name": "gender", "folder": str(drawn_run.folder.resolve()), "split": drawn_split.fingerprint}
    ]
    assert [ancestor.name for ancestor in Lineage.load(child.folder).ancestors] == ["child", "gender"]
    old, new = drawn_run.tensors(), child.tensors()
    np.testing.assert_allclose(old["head.hidden.0.weight"].numpy(), new["head.hidden.0.weight"].numpy(), atol=1e-6)
    assert old["head.output.weight"].shape != new["head.output.weight"].shape
    (said,) = [line for line in lines if line.startswith("start ")]
    assert "fresh: head.output.weight, head.output.bias (the classes differ)" in said
    valid = len(drawn_split.parts["valid"])
    assert any(f"{valid} images to be scored helped to select run gender" in line for line in lines)
    notes = evaluate_part(child, "valid", drawn_split, drawn_split.roots([drawn_faces])).notes
    assert any(f"{valid} images to be scored helped to select run gender" in note for note in notes)
    measured = evaluate_part(child, "test", drawn_split, drawn_split.roots([drawn_faces])).measured
    assert measured["leaked"] is False


def test_what_a_grandparent_was_fitted_on_counts(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    draw_faces(tmp_path / "new", 120, seed=55, size=64)
    between = freeze(tmp_path / "new", tmp_path / "between", seed=0)
    first = train(ask(drawn_split, drawn_faces, tmp_path / "first", tiny), quiet)
    request = dataclasses.replace(ask(between, tmp_path / "new", tmp_path / "second", tiny), init_from=first.folder)
    second = train(request, quiet)
    shutil.rmtree(first.folder)
    assert not second.leaked
    again = freeze(drawn_faces, tmp_path / "again", seed=3)
    with pytest.raises(LeakageError, match="run first, an ancestor of second, was fitted on") as refusal:
        evaluate_part(second, "test", again, again.roots([drawn_faces]))
    assert f"{common(again, 'test', drawn_split, 'train')} of 72" in refusal.value.what
    third = dataclasses.replace(ask(again, drawn_faces, tmp_path / "third", tiny), init_from=second.folder)
    with pytest.raises(LeakageError, match="run first, an ancestor of second"):
        train(third, quiet)


def test_training_on_what_an_ancestor_was_selected_on_is_said(
    drawn_split: Split, other_split: Split, leaked_run: Run, drawn_run: Run, drawn_faces: Path, tmp_path: Path,
    tiny: tuple[str, ...],
) -> None:  # fmt: skip
    lines: list[str] = []
    request = ask(other_split, drawn_faces, tmp_path / "child", tiny)
    train(dataclasses.replace(request, init_from=drawn_run.folder, allow_leakage=True), lines.append)
    count = common(other_split, "train", drawn_split, "valid")
    assert any(f"{count} images to be trained on helped to select run gender" in line for line in lines)


@pytest.mark.parametrize("change", ["mirrored", "encoded anew", "cropped"])
def test_near_twins_under_new_names_are_refused(
    change: str, agecls: Call, drawn_run: Run, drawn_split: Split, drawn_faces: Path, tmp_path: Path
) -> None:
    draw_faces(tmp_path / "new", 12, seed=77, size=64)
    targets = sorted((tmp_path / "new" / "faces").iterdir())
    for target, path in zip(targets[:5], drawn_split.parts["train"].table["path"], strict=False):
        image = Image.open(drawn_faces / path).convert("RGB")
        match change:
            case "mirrored":
                image = ImageOps.mirror(image)
            case "cropped":
                image = image.crop((1, 1, 63, 63)).resize((64, 64), Image.Resampling.BICUBIC)
        image.save(target, quality=60)
    scored = ("--source", "synthetic", "--root", tmp_path / "new")
    outcome = agecls("evaluate", drawn_run.folder, *scored)
    assert outcome.code == 3
    assert "5 of 12 images to be scored are images that run gender was fitted on (5 as near twins" in outcome.err
    assert f"{targets[0].name} (near twin)" in outcome.err
    allowed = agecls("evaluate", drawn_run.folder, *scored, "--allow-leakage", "--json", tmp_path / "out.json")
    assert allowed.code == 0, allowed.err
    measured = json.loads((tmp_path / "out.json").read_text())
    assert (measured["leaked"], measured["leaked_count"]) == (True, 5)


def test_allowed_leak_marks_the_run_its_children_and_every_picture(
    agecls: Call, leaked_run: Run, drawn_split: Split, other_split: Split, drawn_faces: Path, tmp_path: Path,
    tiny: tuple[str, ...],
) -> None:  # fmt: skip
    judged = common(other_split, "valid", drawn_split, "train") + common(other_split, "test", drawn_split, "train")
    record = json.loads((leaked_run.folder / "run.json").read_text())
    assert (record["leaked"], record["leaked_count"]) == (True, judged)
    settings = [word for setting in (*tiny, "train.epochs=1") for word in ("--set", setting)]
    trained = agecls(
        "train", "--task", "age", "--bins", "4", "--split", other_split.folder, "--root", drawn_faces, "--config",
        "agecnn-cpu", *settings, "--init-from", leaked_run.folder, "--out", tmp_path / "grandchild",
        "--json", tmp_path / "train.json", "--allow-leakage",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert trained.out.startswith(f"LEAKED ({judged} images): ")
    told = json.loads((tmp_path / "train.json").read_text())
    assert (told["leaked"], told["leaked_count"]) == (True, judged)
    grandchild = Run.load(tmp_path / "grandchild")
    assert (grandchild.leaked, grandchild.leaked_count) == (True, judged)

    scored = ("--part", "test", "--root", drawn_faces, "--allow-leakage")
    outcome = agecls("evaluate", grandchild.folder, *scored, "--json", tmp_path / "s.json", "--report", tmp_path / "r")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("LEAKED (")
    measured = json.loads((tmp_path / "s.json").read_text())
    assert measured["leaked"] is True
    assert measured["leaked_count"] == common(other_split, "test", drawn_split, "train")
    assert '<div class="leaked"' in (tmp_path / "r" / "report.html").read_text()
    assert red(Image.open(tmp_path / "r" / "confusion.png"))
    assert (tmp_path / "r" / "predictions.csv").read_text().splitlines()[1].endswith(",true")

    image = drawn_faces / other_split.parts["test"].table["path"].iloc[0]
    written = ("--csv", tmp_path / "p.csv", "--json", tmp_path / "p.json", "--plot", tmp_path / "p.png")
    predicted = agecls("predict", leaked_run.folder, image, *written)
    assert "LEAKED" in predicted.out
    assert next(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))["leaked"] == "true"
    assert json.loads((tmp_path / "p.json").read_text())[0]["leaked"] is True
    assert red(Image.open(tmp_path / "p.png"))


def red(image: Image.Image) -> bool:
    """Whether the mark's red covers one pixel in a hundred."""
    pixels = np.asarray(image.convert("RGB")).astype(np.int64)
    return bool((np.abs(pixels - (179, 38, 30)).max(axis=2) < 12).mean() > 0.01)


def test_picture_of_a_leaked_training_is_marked(leaked_run: Run, tmp_path: Path) -> None:
    events = EventAccumulator(str(leaked_run.folder / "tensorboard"))
    events.Reload()
    assert red(Image.open(io.BytesIO(events.Images("valid_confusion")[0].encoded_image_string)))


def test_clean_predictions_have_no_column_and_no_key_for_it(
    drawn_run: Run, drawn_faces: Path, agecls: Call, tmp_path: Path
) -> None:
    image = sorted((drawn_faces / "faces").iterdir())[0]
    agecls("predict", drawn_run.folder, image, "--csv", tmp_path / "p.csv", "--json", tmp_path / "p.json")
    assert "leaked" not in (tmp_path / "p.csv").read_text()
    assert "leaked" not in (tmp_path / "p.json").read_text()


def test_scores_of_a_leaked_run_on_clean_images_carry_its_own_count(leaked_run: Run, tmp_path: Path) -> None:
    draw_faces(tmp_path / "new", 90, seed=54, size=64)
    clean = freeze(tmp_path / "new", tmp_path / "clean", seed=0)
    evaluation = evaluate_part(leaked_run, "test", clean, clean.roots([tmp_path / "new"]))
    assert evaluation.measured["leaked"] is True
    assert evaluation.measured["leaked_count"] == leaked_run.leaked_count
    assert any("none of the scored images leaked, but the run" in note for note in evaluation.notes)


def test_clean_warm_start_from_a_leaked_run_stays_leaked(
    leaked_run: Run, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    draw_faces(tmp_path / "new", 120, seed=54, size=64)
    clean = freeze(tmp_path / "new", tmp_path / "clean", seed=0)
    request = ask(clean, tmp_path / "new", tmp_path / "child", tiny)
    child = train(dataclasses.replace(request, init_from=leaked_run.folder), quiet)
    assert (child.leaked, child.leaked_count) == (True, leaked_run.leaked_count)


def test_resuming_washes_nothing_off(
    leaked_run: Run, other_split: Split, drawn_run: Run, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    folder = tmp_path / "resumed"
    shutil.copytree(leaked_run.folder, folder)
    (folder / "run.json").write_text((folder / "run.json").read_text().replace('"finished"', '"interrupted"'))
    request = dataclasses.replace(ask(other_split, drawn_faces, folder, (*tiny, "train.picture_every=1")), resume=True)
    (folder / "lineage.npz").rename(tmp_path / "lineage.npz")
    with pytest.raises(RunError, match="no readable lineage"):
        train(request, quiet)
    (tmp_path / "lineage.npz").rename(folder / "lineage.npz")
    (folder / "last.ckpt").unlink()
    with pytest.raises(RunError, match="otherwise than --init-from says"):
        train(dataclasses.replace(request, init_from=leaked_run.folder), quiet)
    lines: list[str] = []
    resumed = train(dataclasses.replace(request, init_from=drawn_run.folder), lines.append)
    assert any(line.startswith("start ") for line in lines), (
        "without a checkpoint the parent's weights are needed again"
    )
    assert (resumed.leaked, resumed.leaked_count) == (True, leaked_run.leaked_count)
    assert Run.load(folder).parents == leaked_run.parents
    assert [each.name for each in Lineage.load(folder).ancestors] == ["leaked", "gender"]
    with pytest.raises(LeakageError, match="an ancestor of leaked"):
        evaluate_part(resumed, "test", other_split, other_split.roots([drawn_faces]))


@pytest.fixture
def leaky_split(drawn_split: Split, tmp_path: Path) -> Split:
    """A split with one group in train and test, as adopted with its leaks; no content stands in two parts."""
    folder = tmp_path / "leaky"
    shutil.copytree(drawn_split.folder, folder)
    train_group = drawn_split.parts["train"].table["group"].iloc[0]
    lines = (folder / "test.csv").read_text().splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + f",{train_group}"
    (folder / "test.csv").write_text("\n".join(lines) + "\n")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"]["test.csv"] = hashlib.sha256((folder / "test.csv").read_bytes()).hexdigest()
    manifest["fingerprint"] = fingerprint(manifest["sha256"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Split.load(folder, allow_leakage=True)


def test_run_of_a_leaked_split_is_leaked(
    agecls: Call, leaky_split: Split, drawn_run: Run, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = [word for setting in (*tiny, "train.epochs=1") for word in ("--set", setting)]
    command = (
        "train", "--task", "age", "--bins", "4", "--split", leaky_split.folder, "--root", drawn_faces, "--config",
        "agecnn-cpu", *settings, "--out", tmp_path / "run",
    )  # fmt: skip
    assert agecls(*command).code == 3
    assert not (tmp_path / "run").exists()
    outcome = agecls(*command, "--allow-leakage")
    assert outcome.code == 0, outcome.err
    assert "LEAKED" in outcome.err
    run = Run.load(tmp_path / "run")
    assert leaky_split.leaks > 0
    assert (run.leaked, run.leaked_count) == (True, leaky_split.leaks)
    scored = ("evaluate", run.folder, "--part", "test", "--root", drawn_faces, "--json", tmp_path / "score.json")
    assert agecls(*scored).code == 3
    assert agecls(*scored, "--allow-leakage").code == 0
    measured = json.loads((tmp_path / "score.json").read_text())
    assert (measured["leaked"], measured["leaked_count"]) == (True, leaky_split.leaks)


def test_scores_on_a_leaked_split_are_marked_even_of_a_clean_run(
    drawn_run: Run, leaky_split: Split, drawn_faces: Path, tmp_path: Path
) -> None:
    shutil.copytree(drawn_run.folder, tmp_path / "run")
    clean = Run.load(tmp_path / "run")
    measured = evaluate_part(clean, "test", leaky_split, leaky_split.roots([drawn_faces])).measured
    assert (measured["leaked"], measured["leaked_count"]) == (True, leaky_split.leaks)


def test_command_line_takes_only_and_refuses_other_words(agecls: Call, drawn_split: Split, workplace: Path) -> None:
    outcome = agecls("train", "--split", drawn_split.folder, "--only", "gender=man")
    assert outcome.code == 2
    assert "gender=male|female" in outcome.err
