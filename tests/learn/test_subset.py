"""Subsets of the training images, and tempered weights of their draws."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agecls.bins import Bins
from agecls.config import TrainConfig
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import DataError
from agecls.learn.batches import EpochBatches, InOrder
from agecls.learn.datamodule import FaceData
from agecls.learn.lineage import Lineage
from agecls.learn.subset import choose_subset
from agecls.train import TrainRequest, train

TARGETS = np.repeat([0, 1, 2], [70, 20, 10])
GENDERS = (["male", "female", "female", ""] * 25)[:100]


@given(st.integers(2, 120), st.integers(0, 9))
@settings(max_examples=40)
def test_a_larger_subset_adds_to_a_smaller_one(limit: int, seed: int) -> None:
    smaller, larger = (
        choose_subset(TrainConfig(max_samples=each, seed=seed), TARGETS, GENDERS) for each in (limit, limit + 7)
    )
    if limit >= 100:
        assert smaller is None
        return
    assert smaller is not None
    assert len(smaller) == limit
    assert larger is None or set(smaller) <= set(larger)


def test_another_seed_draws_another_subset() -> None:
    one, other = (choose_subset(TrainConfig(max_samples=30, seed=seed), TARGETS, GENDERS) for seed in (0, 1))
    assert one is not None
    assert other is not None
    assert one.tolist() != other.tolist()


@pytest.mark.parametrize(("limit", "each"), [(None, 10), (1000, 10), (17, 5)])
def test_balanced_classes(limit: int | None, each: int) -> None:
    rows = choose_subset(TrainConfig(balance="class", max_samples=limit), TARGETS, GENDERS)
    assert rows is not None
    assert np.bincount(TARGETS[rows]).tolist() == [each] * 3
    assert len(set(rows.tolist())) == len(rows)


def test_balanced_genders_leave_out_who_has_none() -> None:
    rows = choose_subset(TrainConfig(balance="gender"), TARGETS, GENDERS)
    assert rows is not None
    drawn = [GENDERS[row] for row in rows]
    assert {gender: drawn.count(gender) for gender in set(drawn)} == {"male": 25, "female": 25}


@pytest.mark.parametrize("settings_", [TrainConfig(balance="gender"), TrainConfig(balance="class", max_samples=2)])
def test_what_cannot_be_balanced_is_refused(settings_: TrainConfig) -> None:
    with pytest.raises(DataError, match=r"train\.balance=") as refusal:
        choose_subset(settings_, TARGETS, ["male"] * 100)
    assert "train.balance=none" in refusal.value.remedy


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_sampler_power_tempers_the_weights(power: float, drawn_split: Split, drawn_faces: Path) -> None:
    config = load_config("agecnn-cpu", "age", ["network.image_size=32", f"train.sampler_power={power}"])
    data = FaceData(drawn_split, drawn_split.roots([drawn_faces]), "age", Bins.parse("4"), config)
    weights, targets = data.batches().weights, data.data["train"].targets
    assert weights is not None
    counts = np.bincount(targets)
    shares = np.bincount(targets, weights=weights)
    np.testing.assert_allclose(shares, counts ** (1 - power) / (counts ** (1 - power)).sum())


def test_run_is_trained_on_its_subset_alone_and_its_lineage_says_so(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    config = load_config("agecnn-cpu", "gender", [*tiny, "max_samples=60", "balance=gender", "train.epochs=1"])
    roots = drawn_split.roots([drawn_faces])
    lines: list[str] = []
    run = train(
        TrainRequest("gender", Bins.parse("4"), "4", drawn_split, roots, config, tmp_path / "run"), lines.append
    )
    assert "train      male: 30, female: 30" in lines
    hashes = drawn_split.parts["train"].table["sha256"].tolist()
    met = Lineage.load(run.folder).meet(hashes, np.zeros((len(hashes), 64, 64), np.uint8))
    assert int(met.exact.sum()) == 60
    assert run.config.train.max_samples == 60


def test_too_few_images_for_one_step_are_refused_with_the_settings_named(
    drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...]
) -> None:
    config = load_config("agecnn-cpu", "gender", [*tiny, "train.max_samples=60", "train.accumulate=2"])
    data = FaceData(drawn_split, drawn_split.roots([drawn_faces]), "gender", Bins.parse("4"), config)
    with pytest.raises(DataError, match=r"train\.accumulate 2"):
        data.batches()


@given(st.integers(1, 4), st.integers(1, 4), st.integers(40, 300))
@settings(max_examples=40)
def test_accumulated_batches_of_all_processes_are_those_of_one_large_batch(
    world: int, accumulate: int, count: int
) -> None:
    weights, together = np.linspace(1, 2, count), world * accumulate
    large = [draw.samples.tolist() for draw in EpochBatches(weights, count, 2 * together, 5)]
    shares = [
        [draw.samples.tolist() for draw in EpochBatches(weights, count, 2, 5, 0, rank, world, accumulate)]
        for rank in range(world)
    ]
    steps = len(shares[0]) // accumulate
    assert {len(share) for share in shares} == {steps * accumulate}
    assert steps == len(large)
    for step in range(steps):
        seen = [s for micro in range(accumulate) for share in shares for s in share[step * accumulate + micro]]
        assert seen == large[step]


@given(st.integers(1, 1500), st.integers(1, 5))
@settings(max_examples=30)
def test_processes_validate_each_image_once(count: int, world: int) -> None:
    seen = [sample for rank in range(world) for draw in InOrder(count, rank, world) for sample in draw.samples]
    assert sorted(seen) == list(range(count))


def test_settings_name_subset_in_refusal_of_an_empty_class(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    config = load_config("agecnn-cpu", "age", [*tiny, "train.max_samples=2"])
    roots = drawn_split.roots([drawn_faces])
    request = TrainRequest("age", Bins.parse("7"), "7", drawn_split, roots, config, tmp_path / "run")
    with pytest.raises(DataError, match="no training image") as refusal:
        train(dataclasses.replace(request), lambda line: None)
    assert "train.max_samples=2" in refusal.value.remedy
