"""Batches of decoded images: whole batches are drawn, augmented and handed over at once."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from agecls.bins import Bins
from agecls.config import Config
from agecls.data.cache import DecodedImages, decode_faces
from agecls.data.faces import Faces
from agecls.data.looks import look_at
from agecls.data.spectrum import Hashes, Thumbnails
from agecls.data.split import Part, Split
from agecls.errors import DataError
from agecls.labels import Task
from agecls.learn.inference import EVAL_BATCH
from agecls.learn.only import keep_only
from agecls.learn.transforms import Augmentation, augment, build_augmentation, to_batch


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
    ) -> None:
        self.weights = None if weights is None else weights / weights.sum()
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch, self.rank, self.world = epoch, rank, world

    def __len__(self) -> int:
        # The last, smaller batch is left out: a batch norm on one or two images would be noise.
        return max(1, self.count // self.batch_size) // self.world

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


class PartData(Dataset[tuple[Tensor, Tensor]]):
    """Samples of one part that have a label for the task.

    Args:
        decoded: pixels.
        rows: row of each sample in ``decoded``, shape (N,).
        targets: class of each sample, shape (N,).
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
        """A batch: images as uint8 (B, C, S, S) and targets as int64 (B,)."""
        images = self.decoded.images[self.rows[draw.samples]]
        images = augment(images, self.augmentation, draw.seed)
        return to_batch(images), torch.from_numpy(self.targets[draw.samples])


def choose_workers(setting: int | str) -> int:
    """Number of loader processes: none on two cores or fewer, where they would only fight the network for them."""
    if isinstance(setting, int):
        return setting
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if cores <= 2 else min(8, cores - 2)


def name_groups(groups: Set[str]) -> str:
    """A short name of a set of groups for a run's record: their number and a hash of their names; "" for none."""
    if not groups:
        return ""
    digest = hashlib.sha256(json.dumps(sorted(groups)).encode()).hexdigest()
    return f"{len(groups)} groups {digest[:16]}"


class FaceData(pl.LightningDataModule):
    """Loaders of a frozen split for one task.

    Args:
        split: the frozen split.
        roots: folder of each source.
        task: what is learnt.
        bins: age bins.
        config: settings.
        only: labels that every image must have, such as ``{"gender": "male"}``; None takes all.
        held_out: groups of train that are left out of it.

    Attributes:
        faces: labelled faces of each part.
        looks: thumbnails of all images of the split.
        first_epoch: where training begins; above 0 when it is resumed.

    Raises:
        DataError: train or valid has no labelled image.
    """

    def __init__(
        self,
        split: Split,
        roots: Mapping[str, Path],
        task: Task,
        bins: Bins,
        config: Config,
        only: Mapping[str, str] | None = None,
        held_out: Set[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.config = config
        everything = split.everything
        self.looks = look_at(everything, roots)
        decoded = decode_faces(everything, roots, config.network.image_size, config.network.channels)
        self.faces: dict[Part, Faces] = {}
        self.unlabelled: dict[Part, int] = {}
        self.data: dict[Part, PartData] = {}
        for part, whole in split.parts.items():
            needed = part != "test"  # which trains nothing: an expert of a small group may have no image there
            faces = keep_only(whole, only or {}, f"{part} of {split.name}", needed=needed)
            if part == "train" and held_out:
                faces = faces.select(~faces.table["group"].isin(held_out).to_numpy())
            targets = faces.targets(task, bins)
            labelled = targets >= 0
            if needed and not labelled.any():
                raise DataError(
                    f"no image of {part} has a label for {task}", remedy="choose other bins or another split"
                )
            self.faces[part] = faces.select(labelled)
            self.unlabelled[part] = int((~labelled).sum())
            rows = decoded.rows(self.faces[part].table["sha256"].tolist())
            self.data[part] = PartData(decoded, rows, targets[labelled])
        self.workers = choose_workers(config.train.workers)
        self.first_epoch = 0

    def seen(self, part: Part) -> tuple[list[str], Hashes]:
        """Content hash and perceptual hash of each labelled image of a part."""
        hashes = self.faces[part].table["sha256"].tolist()
        return hashes, self.looks.perceptual(hashes)

    def shown(self, *parts: Part) -> tuple[list[str], list[str], Thumbnails]:
        """Path, content hash and thumbnail of each labelled image of some parts."""
        table = Faces.concat([self.faces[part] for part in parts]).table
        hashes = table["sha256"].tolist()
        return table["path"].tolist(), hashes, self.looks.thumbnails[self.looks.rows(hashes)]

    def class_counts(self, classes: int) -> npt.NDArray[np.int64]:
        """Training images of each class, shape (K,)."""
        return np.bincount(self.data["train"].targets, minlength=classes)

    def batches(self) -> EpochBatches:
        """The sampler of training for this process."""
        targets = self.data["train"].targets
        weights = None
        if self.config.train.sampler == "weighted":
            weights = 1.0 / np.bincount(targets)[targets]
        settings, trainer = self.config.train, self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return EpochBatches(weights, len(targets), settings.batch_size, settings.seed, self.first_epoch, rank, world)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Weighted or shuffled training batches."""
        data = self.data["train"]
        augmentation = build_augmentation(self.config.augment, self.config.network.image_size)
        return self._loader(PartData(data.decoded, data.rows, data.targets, augmentation), self.batches())

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The valid part in order."""
        return self.ordered("valid")

    def ordered(self, part: Part) -> DataLoader[tuple[Tensor, Tensor]]:
        """A part in the order of its table, unchanged."""
        return self._loader(self.data[part], InOrder(len(self.data[part])))

    def _loader(self, data: PartData, sampler: Sampler[Draw]) -> DataLoader[tuple[Tensor, Tensor]]:
        return DataLoader(
            data,
            batch_size=None,
            sampler=sampler,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class InOrder(Sampler[Draw]):
    """All samples once, in order, in large batches."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return -(-self.count // EVAL_BATCH)

    def __iter__(self) -> Iterator[Draw]:
        for start in range(0, self.count, EVAL_BATCH):
            yield Draw(0, np.arange(start, min(start + EVAL_BATCH, self.count)))
