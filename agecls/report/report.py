"""Report: predictions beside their labels, checked once when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
import numpy.typing as npt

from agecls.errors import DataError, UsageError
from agecls.labels import Task

SUM_TOLERANCE: Final = 1e-4
"""How far a row of probabilities may be from 1: a softmax over 31 classes in float16 stays within it."""


@dataclass(frozen=True)
class Origin:
    """Where the predictions of a report come from.

    Attributes:
        run: name of the run that predicted.
        split: name of the split, or of the source where no split was used.
        part: scored part of the split, such as ``test``.
        leaked: whether a scored image leaked, or the run, one of its ancestors or the split did before.
        leaked_count: how many of the scored images leaked; where none did, how many leaked before; 0 where it is not
            known or ``leaked`` is False.

    Raises:
        DataError: images are counted as leaked while ``leaked`` is False.
    """

    run: str
    split: str
    part: str
    leaked: bool
    leaked_count: int = 0

    def __post_init__(self) -> None:
        if self.leaked_count and not self.leaked:
            raise DataError(
                "a report that counts leaked images must be marked as leaked",
                got=f"leaked_count {self.leaked_count} with leaked False",
                remedy="set leaked=True",
            )


@dataclass(frozen=True, eq=False)
class Report:
    """Predictions of one task for N labelled images.

    Attributes:
        task: ``age``, ``gender`` or ``ethnicity``.
        classes: names of the K classes in the order of the head, K >= 2; bin names such as ``15-30`` for age.
        paths: image paths as the split or the folder names them, N of them.
        truth: labelled class of each image, shape (N,), integers in 0..K-1.
        probabilities: shape (N, K), float64, rows sum to 1.
        years: exact age in years, shape (N,), float64, NaN where only a range is known.
        groups: group of each image by kind, such as ``{"gender": ("male", ...)}``, N names each, "" where unknown.
        origin: where the predictions come from.
        predicted_years: age in years of each image, shape (N,), float64, where the run knows years; else None.

    The arrays are copied and made read-only.

    Raises:
        UsageError: the task is unknown.
        DataError: lengths differ, there is no image, a label is outside 0..K-1, an age is negative or infinite,
            or a row of probabilities is not a distribution.
    """

    task: Task
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    truth: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    years: npt.NDArray[np.float64]
    groups: Mapping[str, tuple[str, ...]]
    origin: Origin
    predicted_years: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise UsageError("a report has one task", got=str(self.task), remedy=f"use {', '.join(get_args(Task))}")
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise DataError("a report needs at least two classes with different names", got=", ".join(self.classes))
        if not self.paths:
            raise DataError("there is no labelled image to score", remedy="choose a part or a source that has labels")
        if not np.issubdtype(np.asarray(self.truth).dtype, np.integer):
            raise DataError("labels must be whole numbers", got=f"an array of {np.asarray(self.truth).dtype}")
        self._freeze("truth", np.array(self.truth, dtype=np.int64), (len(self),))
        self._freeze("probabilities", np.array(self.probabilities, dtype=np.float64), (len(self), len(self.classes)))
        self._freeze("years", np.array(self.years, dtype=np.float64), (len(self),))
        if self.predicted_years is not None:
            self._freeze("predicted_years", np.array(self.predicted_years, dtype=np.float64), (len(self),))
            if not np.isfinite(self.predicted_years).all():
                raise DataError("the predicted ages of a report must be numbers")
        for kind, names in self.groups.items():
            if len(names) != len(self):
                raise DataError(f"the groups by {kind} do not fit {len(self)} images", got=f"{len(names)} names")
        self._check_values()

    def _freeze(self, name: str, values: npt.NDArray[np.generic], shape: tuple[int, ...]) -> None:
        if values.shape != shape:
            raise DataError(f"the {name} of a report must have the shape {shape}", got=f"shape {values.shape}")
        values.setflags(write=False)
        object.__setattr__(self, name, values)

    def _check_values(self) -> None:
        last = len(self.classes) - 1
        unlabelled = (self.truth < 0) | (self.truth > last)
        if unlabelled.any():
            row = int(unlabelled.argmax())
            remedy = "score only images that have a label for the task"
            raise DataError(f"{self.paths[row]} has no label in 0..{last}", got=str(self.truth[row]), remedy=remedy)
        impossible = np.isinf(self.years) | (self.years < 0)
        if impossible.any():
            row = int(impossible.argmax())
            raise DataError(f"{self.paths[row]} has an impossible age", got=f"{self.years[row]} years")
        sums = self.probabilities.sum(axis=1)
        # A comparison with NaN is False, so each condition states what is right and is then inverted.
        proper = (self.probabilities >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE)
        if not proper.all():
            row = int(proper.argmin())
            raise DataError(
                f"the probabilities of {self.paths[row]} are no distribution",
                got=f"{np.array2string(self.probabilities[row], precision=4, threshold=12)}, sum {sums[row]:.6g}",
                remedy="give a softmax over the classes: not negative, finite, sum 1",
            )

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Most probable class of each image, shape (N,), int64 in 0..K-1; the first of equals."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)
