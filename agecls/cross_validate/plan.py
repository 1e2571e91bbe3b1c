"""Which splits a cross-validation trains on, and which part of each judges the run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from agecls.data.folds import Folds, draw_folds
from agecls.data.split import Split
from agecls.errors import UsageError
from agecls.report.folds import OVERLAP

SELECTED: Final = (
    "each fold also chose the best epoch of its run, as valid does for any run, so its scores are somewhat too good"
)


@dataclass(frozen=True)
class Plan:
    """A split for each fold.

    Attributes:
        split: what they are of, in words.
        told: what else tells this plan from others, as JSON: number of folds, fingerprint.
        part: the part of each split that judges its run.
        where: that part in words.
        splits: gives the splits, which lie in the folder of the whole where they are made for it.
        images: that are judged.
        notes: sentences that belong beside the scores.
    """

    split: str
    told: dict[str, Any]
    part: Literal["valid", "test"]
    where: str
    splits: Callable[[Path], list[Split]]
    images: int
    notes: tuple[str, ...]


def plan_folds(split: Split, count: int) -> Plan:
    """Cut train and valid of a split into folds, each of which is valid once; test is not opened.

    Raises:
        UsageError: fewer than two folds, or more than there are groups.
    """
    folds = draw_folds(split, count)
    notes = [OVERLAP, SELECTED, f"the {len(split.parts['test'])} images of test were not used"]
    if folds.kept_to_train:
        notes.append(
            f"{folds.kept_to_train} images of photographs whose labels disagree are trained on in every fold and "
            f"judged in none, as the split keeps them to train"
        )
    return Plan(
        split=split.name,
        told={"fingerprint": split.fingerprint, "folds": count, "seed": folds.seed},
        part="valid",
        where="train and valid, out of fold",
        splits=lambda folder: [_freeze(folds, number, folder) for number in range(count)],
        images=len(folds.faces) - folds.kept_to_train,
        notes=tuple(notes),
    )


def plan_splits(splits: Sequence[Split]) -> Plan:
    """Take splits as they are, such as Adience's five; test of each judges the run that it was not fitted on.

    Raises:
        UsageError: fewer than two splits, of other sources, or with an image that is test of two.
    """
    if len(splits) < 2 or len({split.sources for split in splits}) > 1:
        raise UsageError(
            "--folds takes two or more splits of the same sources",
            got="; ".join(f"{split.folder} of {', '.join(split.sources)}" for split in splits),
        )
    tables = [split.parts["test"].table.assign(split=number) for number, split in enumerate(splits)]
    tests = pd.concat(tables, ignore_index=True)
    twice = tests[tests.groupby("sha256")["split"].transform("nunique") > 1]
    if len(twice):
        first = twice[twice["sha256"] == twice["sha256"].iloc[0]]
        raise UsageError(
            f"{twice['sha256'].nunique()} images are test of several splits, so the folds are none",
            got=", ".join(f"{row.path} of {splits[row.split].folder}" for row in first.itertuples()),
            remedy="name splits whose test parts have no image in common",
        )
    return Plan(
        split=", ".join(split.name for split in splits),
        told={"fingerprint": [split.fingerprint for split in splits], "folds": len(splits)},
        part="test",
        where="test of each",
        splits=lambda folder: list(splits),
        images=len(tests),
        notes=(OVERLAP,),
    )


def _freeze(folds: Folds, number: int, folder: Path) -> Split:
    """The split of a fold: written, or read where it is there."""
    out = folder / "splits" / folds.name(number)
    if (out / "manifest.json").is_file():
        return Split.load(out, allow_leakage=folds.split.leakage_allowed)
    return folds.freeze(number, out)
