"""The parts of a frozen split as a training sees them: whole batches are drawn, augmented and handed over at once."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from agecls.bins import Bins
from agecls.config import Config
from agecls.data.cache import decode_faces
from agecls.data.faces import Faces
from agecls.data.looks import look_at
from agecls.data.spectrum import Hashes, Thumbnails
from agecls.data.split import Part, Split
from agecls.errors import ConfigError, DataError
from agecls.labels import TrainTask
from agecls.learn.batches import Draw, EpochBatches, InOrder, PartData
from agecls.learn.only import keep_only
from agecls.learn.subset import choose_subset
from agecls.learn.targets import find_targets
from agecls.learn.transforms import build_augmentation
from agecls.learn.workers import find_workers


def name_groups(groups: Set[str]) -> str:
    """A short name of a set of groups for a run's record: their number and a hash of their names; "" for none."""
    if not groups:
        return ""
    digest = hashlib.sha256(json.dumps(sorted(groups)).encode()).hexdigest()
    return f"{len(groups)} groups {digest[:16]}"


class FaceData(pl.LightningDataModule):
    """Loaders of a frozen split for the tasks of one training.

    Args:
        split: the frozen split.
        roots: folder of each source.
        task: what is trained.
        bins: age bins.
        config: settings.
        only: labels that every image must have, such as ``{"gender": "male"}``; None takes all.
        held_out: groups of train that are left out of it.

    Attributes:
        targets: of the network.
        faces: faces of each part that are labelled for any of them.
        unlabelled: images of each part that have no label at all, and are left out.
        lacking: images of each part and target that only count for the other targets.
        looks: thumbnails of all images of the split.
        decoded: pixels of all images of the split.
        workers: processes that prepare batches.
        first_epoch: where training begins; above 0 when it is resumed.

    Raises:
        DataError: train or valid has no labelled image.
    """

    def __init__(
        self,
        split: Split,
        roots: Mapping[str, Path],
        task: TrainTask,
        bins: Bins,
        config: Config,
        only: Mapping[str, str] | None = None,
        held_out: Set[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.config = config
        self.targets = find_targets(task, bins, config.targets)
        everything = split.everything
        self.looks = look_at(everything, roots)
        decoded = decode_faces(everything, roots, config.network.image_size, config.network.channels)
        self.faces: dict[Part, Faces] = {}
        self.unlabelled: dict[Part, int] = {}
        self.lacking: dict[Part, dict[str, int]] = {}
        self.data: dict[Part, PartData] = {}
        for part, whole in split.parts.items():
            needed = part != "test"  # which trains nothing: an expert of a small group may have no image there
            faces = keep_only(whole, only or {}, f"{part} of {split.name}", needed=needed)
            if part == "train" and held_out:
                faces = faces.select(~faces.table["group"].isin(held_out).to_numpy())
            targets = np.stack([target.labels(faces) for target in self.targets], axis=1)
            for target, column in zip(self.targets, targets.T, strict=True):
                if needed and not (column >= 0).any():
                    raise DataError(
                        f"no image of {part} has a label for {target.name}", remedy="choose other bins or another split"
                    )
            labelled = np.asarray((targets >= 0).any(axis=1))
            faces, targets = faces.select(labelled), targets[labelled]
            if part == "train":
                chosen = choose_subset(config.train, self._kinds(faces), faces.table["gender"].tolist())
                if chosen is not None:
                    faces, targets = faces.select(np.isin(np.arange(len(targets)), chosen)), targets[chosen]
            self.faces[part] = faces
            self.unlabelled[part] = int((~labelled).sum())
            self.lacking[part] = {
                target.name: int((column < 0).sum())
                for target, column in zip(self.targets, targets.T, strict=True)
                if (column < 0).any()
            }
            rows = decoded.rows(faces.table["sha256"].tolist())
            self.data[part] = PartData(decoded, rows, targets[:, 0] if len(self.targets) == 1 else targets)
        self.decoded = decoded
        self.workers = find_workers(config)
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

    def class_counts(self) -> list[npt.NDArray[np.int64]]:
        """Training images of each class of each target, shape (K,) each."""
        faces = self.faces["train"]
        return [
            np.bincount(truth[truth >= 0], minlength=len(target.classes))
            for target, truth in ((target, target.truth(faces)) for target in self.targets)
        ]

    def _kinds(self, faces: Faces) -> npt.NDArray[np.int64]:
        """Class of each image by the target that is sampled by, shape (N,)."""
        wanted = self.config.targets.sample_by
        names = [target.task for target in self.targets]
        wanted = ("age" if "age" in names else names[0]) if wanted == "auto" else wanted
        if wanted not in names:
            raise ConfigError(f"targets.sample_by={wanted} is not among the tasks", got=", ".join(names))
        return self.targets[names.index(wanted)].truth(faces)

    def batches(self, epoch: int | None = None) -> EpochBatches:
        """The sampler of training for this process.

        Args:
            epoch: its first epoch; None for that where training begins.

        Raises:
            DataError: there are not images enough for one step.
        """
        kinds, settings = self._kinds(self.faces["train"]), self.config.train
        weights: npt.NDArray[np.float64] | None = None
        if settings.sampler == "weighted":
            known = kinds >= 0
            drawn = 1.0 / (np.bincount(kinds[known]) ** settings.sampler_power)[kinds]
            # An image without a class here is drawn as often as an image is on average.
            weights = np.where(known, drawn, drawn[known].mean() if known.any() else 1.0)
        rank, world = self._place()
        first = self.first_epoch if epoch is None else epoch
        batches = EpochBatches(
            weights, len(kinds), settings.batch, settings.seed, first, rank, world, settings.accumulate
        )
        if not len(batches):
            raise DataError(
                f"train has {len(kinds)} images, not enough for one step",
                got=f"batches of {settings.batch}, train.accumulate {settings.accumulate}, {world} processes",
                remedy="lower train.batch_size or train.accumulate, or use fewer processes",
            )
        return batches

    def _place(self) -> tuple[int, int]:
        """Number of this process, and of all."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def once_more(self, epoch: int) -> Iterator[Tensor]:
        """The images of an epoch as it was trained on, in uint8 batches (B, C, S, S): this process's share."""
        data = self._augmented()
        for draw in self.batches(epoch):
            yield data[draw][0]

    def _augmented(self) -> PartData:
        data = self.data["train"]
        augmentation = build_augmentation(self.config.augment, self.config.network.image_size)
        return PartData(data.decoded, data.rows, data.targets, augmentation)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Weighted or shuffled training batches."""
        return self._loader(self._augmented(), self.batches())

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The valid part in order; of several processes each has its share, and no image stands in two."""
        return self._loader(self.data["valid"], InOrder(len(self.data["valid"]), *self._place()))

    def ordered(self, part: Part) -> DataLoader[tuple[Tensor, Tensor]]:
        """A part in the order of its table, unchanged."""
        return self._loader(self.data[part], InOrder(len(self.data[part])))

    def _loader(self, data: PartData, sampler: Sampler[Draw]) -> DataLoader[tuple[Tensor, Tensor]]:
        return DataLoader(
            data,
            batch_size=None,
            sampler=sampler,
            num_workers=self.workers.processes,
            persistent_workers=self.workers.processes > 0,
            pin_memory=torch.cuda.is_available(),
        )
