"""Folds of a split for cross-validation: train and valid cut anew into whole groups, test left as it is.

Which fold an image falls to depends on the split, the number of folds and the seed alone, not on the task or the age
bins of a training, so that runs of any settings are compared on the same folds.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agecls.bins import Bins
from agecls.data.duplicates import Ints
from agecls.data.faces import Faces
from agecls.data.publish import (
    count_parts,
    describe_labels,
    describe_strata,
    refuse_existing,
    software,
    write_csv,
    write_folder,
    write_seals,
)
from agecls.data.split import Part, Split, fingerprint, leaking_rows
from agecls.data.stratify import assign_parts, name_strata
from agecls.errors import UsageError

ALWAYS_TRAIN = -1
"""Instead of a fold's number: an image that no fold is judged on."""


@dataclass(frozen=True, eq=False)
class Folds:
    """The images of train and valid, dealt out to folds.

    Attributes:
        split: whose they are.
        faces: every image of train and valid once, sorted by path and source, N rows.
        numbers: fold of each, 0..K-1, shape (N,); ``ALWAYS_TRAIN`` for photographs whose labels disagree, where the
            split keeps such to train.
        count: number of folds K.
        seed: of the draw.
    """

    split: Split
    faces: Faces
    numbers: Ints
    count: int
    seed: int

    @property
    def kept_to_train(self) -> int:
        """Images that no fold is judged on."""
        return int((self.numbers == ALWAYS_TRAIN).sum())

    def parts(self, fold: int) -> dict[Part, Faces]:
        """Train without one fold, that fold as valid, and the split's own test."""
        held = self.numbers == fold
        return {"train": self.faces.select(~held), "valid": self.faces.select(held), "test": self.split.parts["test"]}

    def name(self, fold: int) -> str:
        """Name of a fold's split, counted from 1, such as ``utkface-fold-1-of-5``."""
        return f"{self.split.name}-fold-{fold + 1}-of-{self.count}"

    def freeze(self, fold: int, out: Path) -> Split:
        """Write a fold as a split of its own, with a fingerprint of its own.

        Args:
            fold: its number, 0..K-1.
            out: folder of the new split.

        Raises:
            SplitError: ``out`` exists already.
        """
        refuse_existing(out)
        split, parts = self.split, self.parts(fold)
        leaks = leaking_rows(parts) if split.leakage_allowed else pd.DataFrame()
        told = {"fold": fold + 1, "folds": self.count, "seed": self.seed}

        def write(work: Path) -> None:
            for part, faces in parts.items():
                faces.to_csv(work / f"{part}.csv")
            for name in ("quarantine.csv", "conflicts.csv", "links.csv"):
                if (split.folder / name).is_file():
                    shutil.copyfile(split.folder / name, work / name)
            if len(leaks):
                write_csv(leaks, work / "leaks.csv")
            write_seals(work, parts)

        def manifest(digests: dict[str, str]) -> dict[str, Any]:
            bins = bins_of(split)
            own = {
                "fingerprint": fingerprint(digests),
                "seed": None,
                "fractions": None,
                "sources": _sources(split, parts),
                "counts": {**split.manifest["counts"], **count_parts(parts)},
                "labels": describe_labels(parts, bins),
                "leaks": len(leaks),
                "derived": {"split": split.name, "fingerprint": split.fingerprint, **told},
                "strata": _strata(parts, bins),
                "sha256": digests,
                "software": software(),
            }
            return {**split.manifest, **own}

        write_folder(out, write, manifest)
        return Split.load(out, allow_leakage=split.leakage_allowed)


def draw_folds(split: Split, count: int, seed: int = 0) -> Folds:
    """Deal the images of train and valid out to folds of whole groups, with like shares of every label.

    Args:
        split: whose images; test is not touched.
        count: number of folds, at least 2.
        seed: another one draws other folds.

    Raises:
        UsageError: fewer than two folds, or more than there are groups.
    """
    table = pd.concat([split.parts["train"].table, split.parts["valid"].table], ignore_index=True)
    table = table.drop_duplicates(["source", "path"]).sort_values(["path", "source"], kind="stable", ignore_index=True)
    free = ~table["group"].isin(_disputed(split)).to_numpy()
    chosen = table[free].reset_index(drop=True)
    groups = chosen["group"].nunique()
    if not 2 <= count <= groups:
        raise UsageError(
            "--folds takes 2 or more, and no more than train and valid have groups",
            got=f"{count} folds, {groups} groups",
            remedy="use 5",
        )
    shares = [1 / count] * count
    ages = ((chosen["age_low"] + chosen["age_high"]) / 2).to_numpy(np.float64)
    numbers = np.full(len(table), ALWAYS_TRAIN, dtype=np.int64)
    strata = name_strata(chosen, bins_of(split), min(shares))
    numbers[free] = assign_parts(chosen["group"].tolist(), strata, ages, shares, seed)
    return Folds(split, Faces(table), numbers, count, seed)


def bins_of(split: Split) -> Bins:
    """Age bins by which a split was stratified."""
    told = split.manifest["bins"]
    return Bins.from_names(told["names"], gaps=told["gaps"] is True)


def _disputed(split: Split) -> list[str]:
    """Groups of photographs whose labels disagree, where the split keeps them to train."""
    path = split.folder / "conflicts.csv"
    if split.manifest.get("on_conflict") != "train" or not path.is_file():
        return []
    return pd.read_csv(path, dtype=str, keep_default_na=False)["group"].tolist()


def _sources(split: Split, parts: dict[Part, Faces]) -> list[dict[str, Any]]:
    """Images of each source; fewer than the whole split tells where that names one in two parts."""
    held = pd.concat([faces.table["source"] for faces in parts.values()])
    return [{"name": name, "images": int((held == name).sum())} for name in split.sources]


def _strata(parts: dict[Part, Faces], bins: Bins) -> dict[str, list[int]]:
    table = pd.concat([faces.table.assign(part=part) for part, faces in parts.items()], ignore_index=True)
    strata = name_strata(table, bins, min(map(len, parts.values())) / len(table))
    return describe_strata([f"{stratum}/{part}" for stratum, part in zip(strata, table["part"], strict=True)])
