"""The confusion matrix of fine age bins, and how it shrinks when neighbours are merged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agecls.bins import Bins
from agecls.errors import BinsError, DataError
from agecls.labels import AGE_MAX

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FineMatrix:
    """How often each fine bin was answered for each labelled one.

    Attributes:
        bins: the K fine bins, without gaps.
        counts: images, shape (K, K), rows labelled, columns answered; copied and made read-only.

    Raises:
        BinsError: the bins leave ages unlabelled.
        DataError: the counts are not K x K, not whole, negative, or count no image.
    """

    bins: Bins
    counts: Counts

    def __post_init__(self) -> None:
        if any(low != high + 1 for (_, high), (low, _) in zip(self.bins.ranges, self.bins.ranges[1:], strict=False)):
            raise BinsError(
                "fine bins with gaps between them cannot be merged into bins of all ages",
                got=self.bins.text,
                remedy="search in a run of bins without gaps, such as --bins 2y",
            )
        given = np.asarray(self.counts)
        k = len(self.bins)
        if given.shape != (k, k):
            raise DataError(f"the confusion matrix of {k} bins must be {k} x {k}", got=f"shape {given.shape}")
        if not np.issubdtype(given.dtype, np.integer) or (given < 0).any():
            raise DataError("a confusion matrix holds whole numbers of images, none below 0", got=f"{given.dtype}")
        if not given.sum():
            raise DataError("the confusion matrix counts no image", remedy="give one of labelled and answered images")
        counts = given.astype(np.int64)
        counts.setflags(write=False)
        object.__setattr__(self, "counts", counts)

    @classmethod
    def of_answers(cls, bins: Bins, truth: npt.NDArray[np.int64], answered: npt.NDArray[np.int64]) -> "FineMatrix":
        """Count labelled and answered fine bins, indices in 0..K-1, shape (N,) each."""
        k = len(bins)
        return cls(bins, np.bincount(truth * k + answered, minlength=k * k).reshape(k, k))

    def __len__(self) -> int:
        return len(self.bins)

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.counts.sum())

    @property
    def years(self) -> npt.NDArray[np.int64]:
        """First year of each fine bin, then 117: where cuts can stand, shape (K + 1,)."""
        return np.array([low for low, _ in self.bins.ranges] + [AGE_MAX + 1], dtype=np.int64)

    def merged_bins(self, starts: Sequence[int]) -> Bins:
        """The bins that begin with the fine bins of these indices, the first of them 0."""
        years = self.years
        ends = [*starts[1:], len(self)]
        return Bins(tuple((int(years[start]), int(years[end]) - 1) for start, end in zip(starts, ends, strict=True)))

    def widths(self, starts: Sequence[int]) -> Floats:
        """Width in years of each merged bin, shape (k,)."""
        return np.diff(self.years[[*starts, len(self)]]).astype(np.float64)

    def merge(self, starts: Sequence[int]) -> Counts:
        """The confusion matrix of the merged bins, shape (k, k)."""
        return merge(self.counts, starts)


def merge(counts: Counts, starts: Sequence[int]) -> Counts:
    """Add up blocks of rows and columns.

    Args:
        counts: shape (..., K, K).
        starts: index of the first fine bin of each block, ascending, the first 0.

    Returns:
        Shape (..., k, k).
    """
    rows = np.add.reduceat(counts, starts, axis=-2)
    return np.asarray(np.add.reduceat(rows, starts, axis=-1))
