"""Batches of decoded images: which samples each has, drawn so that it can be drawn again, and what they become."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from agecls.config.loop import EVAL_BATCH
from agecls.data.cache import DecodedImages
from agecls.learn.transforms import Augmentation, augment, to_batch


class Draw(NamedTuple):
    """One batch to be prepared: which samples, and the seed of their augmentation."""

    seed: int
    samples: npt.NDArray[np.int64]


class EpochBatches(Sampler[Draw]):
    """The batches of one epoch, drawn anew from (seed, epoch): any process can draw any epoch again.

    Args:
        weights: chance of each sample, shape (N,), or None to take each once in random order.
        count: number of samples N.
        batch_size: samples a batch.
        seed: with the epoch, decides everything.
        epoch: number of the first epoch; each iteration draws the next one. Lightning's own ``set_epoch`` comes too
            late for the first epoch of a resumed training, whose iterator is made before.
        rank: which of ``world`` processes this is; each takes every ``world``-th batch of the same epoch.
        world: number of processes.
        accumulate: batches of each process that make one step; an epoch has whole steps only.
    """

    def __init__(
        self,
        weights: npt.NDArray[np.float64] | None,
        count: int,
        batch_size: int,
        seed: int,
        epoch: int = 0,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.weights = None if weights is None else weights / weights.sum()
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch, self.rank, self.world, self.accumulate = epoch, rank, world, accumulate

    def __len__(self) -> int:
        # The last, smaller batch is left out: a batch norm on one or two images would be noise.
        together = self.world * self.accumulate
        return max(1, self.count // self.batch_size) // together * self.accumulate

    def __iter__(self) -> Iterator[Draw]:
        chance = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        if self.weights is None:
            samples = chance.permutation(self.count)
        else:
            samples = chance.choice(self.count, size=self.count, p=self.weights)
        seeds = chance.integers(2**32, size=len(self) * self.world)
        for step in range(len(self)):
            number = step * self.world + self.rank
            chosen = samples[number * self.batch_size : (number + 1) * self.batch_size]
            yield Draw(int(seeds[number]), chosen.astype(np.int64))


class InOrder(Sampler[Draw]):
    """All samples once, in order, in large batches.

    Args:
        count: number of samples N.
        rank: which of ``world`` processes this is; each takes every ``world``-th sample.
        world: number of processes.
    """

    def __init__(self, count: int, rank: int = 0, world: int = 1) -> None:
        self.samples = np.arange(rank, count, world)

    def __len__(self) -> int:
        return -(-len(self.samples) // EVAL_BATCH)

    def __iter__(self) -> Iterator[Draw]:
        for start in range(0, len(self.samples), EVAL_BATCH):
            yield Draw(0, self.samples[start : start + EVAL_BATCH])


class PartData(Dataset[tuple[Tensor, Tensor]]):
    """Samples of one part that have a label for the task.

    Args:
        decoded: pixels.
        rows: row of each sample in ``decoded``, shape (N,).
        targets: label of each sample, shape (N,), or of each task, shape (N, T), -1 where one is not known.
        augmentation: random changes, or None to leave the images as they are.
    """

    def __init__(
        self,
        decoded: DecodedImages,
        rows: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        augmentation: Augmentation | None = None,
    ) -> None:
        self.decoded, self.rows, self.targets, self.augmentation = decoded, rows, targets, augmentation

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """A batch: images as uint8 (B, C, S, S) and targets as int64 (B,) or (B, T)."""
        images = self.decoded.images[self.rows[draw.samples]]
        images = augment(images, self.augmentation, draw.seed)
        return to_batch(images), torch.from_numpy(self.targets[draw.samples])
