"""Batches: every draw can be made again, processes share an epoch, weights even out the classes."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.cache import DecodedImages
from agecls.data.split import Split
from agecls.learn.batches import EpochBatches, InOrder, PartData
from agecls.learn.datamodule import FaceData
from agecls.learn.workers import find_workers


def drawn(batches: EpochBatches) -> list[list[int]]:
    return [draw.samples.tolist() for draw in batches]


@given(count=st.integers(1, 300), batch=st.integers(2, 64), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 50))
@settings(max_examples=60)
def test_epoch_can_be_drawn_again(count: int, batch: int, seed: int, epoch: int) -> None:
    first, second = (EpochBatches(None, count, batch, seed, epoch) for _ in range(2))
    assert [(draw.seed, draw.samples.tolist()) for draw in first] == [(d.seed, d.samples.tolist()) for d in second]
    assert len(drawn(EpochBatches(None, count, batch, seed, epoch))) == len(first)


@given(count=st.integers(2, 300), batch=st.integers(2, 64), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_uniform_epoch_takes_each_sample_at_most_once(count: int, batch: int, seed: int) -> None:
    samples = [sample for one in drawn(EpochBatches(None, count, batch, seed)) for sample in one]
    assert len(samples) == len(set(samples)) == max(count // batch * batch, min(count, batch))


def test_next_iteration_is_the_next_epoch_and_a_resumed_one_meets_it() -> None:
    batches = EpochBatches(None, 100, 10, 3)
    first, second = drawn(batches), drawn(batches)
    assert first != second
    assert drawn(EpochBatches(None, 100, 10, 3, epoch=1)) == second


@given(world=st.integers(1, 5), count=st.integers(50, 400))
@settings(max_examples=40)
def test_processes_share_one_epoch_without_overlap(world: int, count: int) -> None:
    weights = np.linspace(1, 2, count)
    alone = drawn(EpochBatches(weights, count, 8, 1))
    shares = [drawn(EpochBatches(weights, count, 8, 1, rank=rank, world=world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    together = [share[step] for step in range(len(shares[0])) for share in shares]
    assert together == alone[: len(together)]


def test_weights_even_out_the_classes() -> None:
    targets = np.repeat([0, 1, 2], [900, 90, 10])
    weights = 1.0 / np.bincount(targets)[targets]
    samples = np.concatenate(
        [draw.samples for epoch in range(20) for draw in EpochBatches(weights, 1000, 50, 0, epoch)]
    )
    shares = np.bincount(targets[samples]) / len(samples)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)


@given(count=st.integers(1, 2000))
def test_in_order_covers_everything_once(count: int) -> None:
    sampler = InOrder(count)
    draws = list(sampler)
    assert len(draws) == len(sampler)
    assert np.concatenate([draw.samples for draw in draws]).tolist() == list(range(count))


def test_batches_are_uint8_in_the_order_of_the_draw() -> None:
    images = np.arange(5 * 16 * 16, dtype=np.uint8).reshape(5, 16, 16)
    decoded = DecodedImages(images, np.array(["a", "b", "c", "d", "e"]))
    data = PartData(decoded, np.array([4, 2, 0]), np.array([1, 0, 1]))
    batch, targets = data[next(iter(InOrder(3)))]
    assert batch.dtype == torch.uint8
    assert batch.shape == (3, 1, 16, 16)
    np.testing.assert_array_equal(batch[:, 0].numpy(), images[[4, 2, 0]])
    assert targets.tolist() == [1, 0, 1]


def test_valid_is_never_augmented(drawn_split: Split, drawn_faces: object) -> None:
    config = load_config("agecnn-cpu", "gender", ["network.image_size=32", "augment.probability=1.0"])
    data = FaceData(drawn_split, drawn_split.roots([drawn_faces]), "gender", Bins.parse("4"), config)  # type: ignore[list-item]
    (first, _), (second, _) = (next(iter(data.val_dataloader())) for _ in range(2))
    assert torch.equal(first, second)
    part = data.data["valid"]
    np.testing.assert_array_equal(first[:, 0].numpy(), part.decoded.images[part.rows])
    changed, _ = next(iter(data.train_dataloader()))
    assert changed.shape[1:] == first.shape[1:]
    assert not any((changed[0] == image).all() for image in torch.from_numpy(part.decoded.images.copy()).unsqueeze(1))


def test_workers_as_set_and_of_the_machine_are_bounded() -> None:
    given = load_config("agecnn-cpu", "age", ["train.workers=3"])
    assert str(find_workers(given)) == "3 (as set)"
    assert 0 <= find_workers(load_config("agecnn-cpu", "age")).processes <= 8
