"""The run of fine bins: how single years merge, which run is taken, and folds that predict what they never saw."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agecls.bin_search.fine_run import FINE, FineRequest, find_fine_run, fine_bins, train_fine_run
from agecls.bin_search.folds import PART, draw_folds, from_folds
from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import BinsError, LeakageError, RunError, UsageError
from agecls.learn.lineage import Lineage
from agecls.learn.run import Run
from agecls.train import TrainRequest, train


def quiet(line: str) -> None:
    pass


@given(st.lists(st.integers(0, 116), min_size=40, max_size=400), st.integers(1, 20))
def test_fine_bins_have_their_images_and_none_could_be_cut_earlier(ages: list[int], least: int) -> None:
    years = np.array(ages, dtype=np.float64)
    try:
        bins = fine_bins(years, least)
    except BinsError:
        counts = np.bincount(ages, minlength=117).cumsum()
        first = int(np.argmax(counts >= least))
        assert counts[-1] - counts[first] < least, "a second bin would have had its images"
        return
    support = np.bincount(bins.index(years), minlength=len(bins))
    assert support.min() >= least
    for low, high in bins.ranges[:-1]:
        assert ((years >= low) & (years < high)).sum() < least


def test_ages_known_as_ranges_do_not_count() -> None:
    years = np.array([1.0] * 20 + [np.nan] * 50 + [30.0] * 20)
    assert fine_bins(years, 20).text == "0-1,2-116"
    with pytest.raises(BinsError, match="do not fill two fine bins of 20 images"):
        fine_bins(years[:60], 20)


@pytest.fixture
def request_(drawn_split: Split, drawn_faces: Path, workplace: Path, tiny: tuple[str, ...]) -> FineRequest:
    config = load_config("agecnn-cpu", "age", (*tiny, "train.epochs=1"))
    bins = Bins.from_names(["0-12", "13-19", "20-35", "36-59", "60-116"])
    return FineRequest(drawn_split, drawn_split.roots([drawn_faces]), config, bins=bins)


def test_a_small_split_has_fine_bins_of_fewer_images(request_: FineRequest, drawn_split: Split) -> None:
    request = dataclasses.replace(request_, bins=None)
    years = drawn_split.parts["train"].years
    assert request.least == 5
    assert len(fine_bins(years, 10)) < FINE <= len(request.wanted)
    assert np.bincount(request.wanted.index(years)).min() >= 5
    assert dataclasses.replace(request, folds=4).least == 8


def test_the_newest_fitting_run_is_found_and_no_other(
    request_: FineRequest, drawn_split: Split, tiny: tuple[str, ...]
) -> None:
    assert find_fine_run(request_) is None
    run = train_fine_run(request_, quiet)
    assert run.folder == Path("runs/age-fine-1")
    assert find_fine_run(request_) == run

    def store(name: str, age: float, **changes: object) -> None:
        folder = Path("runs") / name
        folder.mkdir()
        dataclasses.replace(run, folder=folder, **changes).save()  # type: ignore[arg-type]
        os.utime(folder / "run.json", (age, age))

    now = (run.folder / "run.json").stat().st_mtime
    store("half", now + 1, status="interrupted")
    store("leaked", now + 1, leaked=True)
    store("male", now + 1, only={"gender": "male"})
    store("fold", now + 1, held_out="3 groups abc")
    store("elsewhere", now + 1, split=dataclasses.replace(run.split, fingerprint="0" * 64))
    coarse = Bins.parse("4")
    store("coarse", now + 1, bins=coarse, classes=coarse.names)
    (Path("runs") / "broken").mkdir()
    (Path("runs") / "broken" / "run.json").write_text("{")
    assert find_fine_run(request_) == run
    other = load_config("agecnn-cpu", "age", (*tiny, "train.epochs=3"))
    assert find_fine_run(dataclasses.replace(request_, config=other)) == run
    assert find_fine_run(dataclasses.replace(request_, config=other, exact=True)) is None
    # Without --fine a run counts as fine by its number of bins, or where it is what would be trained.
    assert find_fine_run(dataclasses.replace(request_, bins=None)) is None
    few = drawn_split.parts["train"].select(np.arange(20))
    small = dataclasses.replace(drawn_split, parts={**drawn_split.parts, "train": few})
    own = dataclasses.replace(request_, bins=None, split=small)
    assert len(own.wanted) < FINE
    store("own", now + 1, bins=own.wanted, classes=own.wanted.names)
    found = find_fine_run(own)
    assert found is not None
    assert found.name == "own"
    two = Bins.parse("2y")
    store("two", now + 2, bins=two, classes=two.names)
    found = find_fine_run(dataclasses.replace(request_, bins=None))
    assert found is not None
    assert found.name == "two"
    store("newest", now + 3)
    found = find_fine_run(request_)
    assert found is not None
    assert found.name == "newest"


def test_an_interrupted_run_is_gone_on_with(request_: FineRequest, tiny: tuple[str, ...]) -> None:
    config = load_config("agecnn-cpu", "age", (*tiny, "train.epochs=3"))
    request = dataclasses.replace(request_, config=config)

    class Stop(Exception):
        pass

    def stop_after_one(line: str) -> None:
        if line.startswith("epoch 2/"):
            raise Stop

    with pytest.raises(Stop):
        train_fine_run(request, stop_after_one)
    lines: list[str] = []
    run = train_fine_run(request, lines.append)
    assert "going on with runs/age-fine-1" in lines
    assert (run.folder, run.status, run.metrics["epochs"]) == (Path("runs/age-fine-1"), "finished", 3)


def test_folds_keep_groups_whole_and_are_the_same_every_time(drawn_split: Split) -> None:
    faces = drawn_split.parts["train"]
    targets = faces.targets("age", Bins.parse("7"))
    folds = draw_folds(faces, targets, 3)
    paths = [path for fold in folds for path in fold.table["path"]]
    assert sorted(paths) == sorted(faces.table["path"])
    groups = [set(fold.table["group"]) for fold in folds]
    assert not any(groups[i] & groups[j] for i in range(3) for j in range(i))
    again = draw_folds(faces, targets, 3)
    assert [fold.table["path"].tolist() for fold in again] == [fold.table["path"].tolist() for fold in folds]
    for wrong in (1, 0, -1, 10_000):
        with pytest.raises(UsageError, match="--folds"):
            draw_folds(faces, targets, wrong)


def test_every_image_of_train_is_predicted_once_by_a_model_that_never_saw_it(
    request_: FineRequest, drawn_split: Split
) -> None:
    folded = dataclasses.replace(request_, folds=2)
    lines: list[str] = []
    source = from_folds(folded, lines.append)
    train_part, valid = drawn_split.parts["train"], drawn_split.parts["valid"]
    assert source.matrix.n == len(train_part)
    assert request_.bins is not None
    truth = np.bincount(train_part.targets("age", request_.bins))
    assert source.matrix.counts.sum(axis=1).tolist() == truth.tolist()
    assert source.part == PART
    assert source.seen is not None
    assert sorted(source.seen[0]) == sorted(train_part.table["sha256"])
    runs = [Run.load(folder) for folder in sorted(Path("runs").iterdir())]
    assert [run.name for run in runs] == ["age-fine-fold-1-of-2-1", "age-fine-fold-2-of-2-1"]
    blank = np.zeros((len(train_part), 64, 64), np.uint8)
    fitted = np.stack([Lineage.load(run.folder).meet(train_part.table["sha256"].tolist(), blank).exact for run in runs])
    assert (fitted.sum(axis=0) == 1).all(), "with two folds each image was fitted on by exactly one model"
    for run in runs:
        assert "groups" in json.loads((run.folder / "run.json").read_text())["held_out"]
        assert Lineage.load(run.folder).meet(valid.table["sha256"].tolist(), blank[: len(valid)]).selected.all()
    times = [(run.folder / "model.safetensors").stat().st_mtime_ns for run in runs]
    again = from_folds(folded, lines.append)
    assert (again.matrix.counts == source.matrix.counts).all()
    assert times == [(run.folder / "model.safetensors").stat().st_mtime_ns for run in runs]
    assert "taking runs/age-fine-fold-2-of-2-1, which is such a run" in lines
    assert find_fine_run(request_) is None, "the model of a fold is no run of all training images"


def test_a_fold_whose_model_saw_it_is_refused(request_: FineRequest) -> None:
    folded = dataclasses.replace(request_, folds=2)
    from_folds(folded, quiet)
    first, second = sorted(Path("runs").iterdir())
    (first / "lineage.npz").write_bytes((second / "lineage.npz").read_bytes())
    with pytest.raises(LeakageError, match="was fitted on"):
        from_folds(folded, quiet)


def test_resuming_with_other_images_held_out_is_refused(request_: FineRequest, drawn_split: Split) -> None:
    groups = sorted(drawn_split.parts["train"].table["group"])
    assert request_.bins is not None
    asked = TrainRequest(
        "age", request_.bins, "own", drawn_split, request_.roots, request_.config, Path("run"),
        held_out=frozenset(groups[:9]),
    )  # fmt: skip
    lines: list[str] = []
    run = train(asked, lines.append)
    assert run.held_out.startswith("9 groups ")
    assert Run.load(run.folder).held_out == run.held_out
    assert any(line.startswith("held out   9 groups") for line in lines)
    for other in (frozenset(groups[1:10]), frozenset[str]()):
        with pytest.raises(RunError, match="images held out"):
            train(dataclasses.replace(asked, held_out=other, resume=True), quiet)
