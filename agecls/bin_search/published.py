"""The published bins, scored on the same fine confusion matrix as the found ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from agecls.bin_search.matrix import Counts, FineMatrix, Floats
from agecls.bin_search.objectives import Objective, score
from agecls.bin_search.stability import interval, resample
from agecls.bins import Bins

PUBLISHED: Final = ("3", "4", "7", "7-first", "8")
"""Presets that are scored; ``adience`` is ``8``, and ``2y`` is for searching in."""


@dataclass(frozen=True, eq=False)
class Published:
    """A preset as it can be scored on a fine matrix.

    Attributes:
        name: of the preset.
        bins: the preset.
        scored_as: the same with each end at the nearest boundary of the fine bins; None where a bin vanishes.
        confusion: merged counts, shape (k, k); None where a bin vanishes.
        interval: 95 % interval of its score; None where a bin vanishes or nothing was resampled.
    """

    name: str
    bins: Bins
    scored_as: Bins | None = None
    confusion: Counts | None = None
    interval: tuple[float, float] | None = None

    @property
    def exact(self) -> bool:
        """Whether each end is a boundary of the fine bins."""
        return self.scored_as == self.bins

    @property
    def widths(self) -> Floats:
        """Years of each bin as scored, shape (k,)."""
        ranges = (self.scored_as or self.bins).ranges
        return np.array([high + 1 - low for low, high in ranges], dtype=np.float64)


def score_published(matrix: FineMatrix, objective: Objective, *, resamples: int, seed: int) -> list[Published]:
    """Score every published preset.

    An end that is no boundary of the fine bins moves to the nearest one, of two equally near ones to the younger. Where
    a preset leaves gaps, images labelled in a gap are left out, and an answer in a gap counts for the nearest bin, of
    two equally near ones for the younger.

    Args:
        matrix: of the fine bins.
        objective: of the search.
        resamples: for the intervals; 0 leaves them out.
        seed: of the draw.
    """
    presets = [(name, Bins.parse(name)) for name in PUBLISHED]
    maps = {name: _places(matrix, snapped) for name, bins in presets if (snapped := snap(bins, matrix.years))}
    drawn: dict[str, list[Floats]] = {name: [] for name in maps}
    if resamples:
        for draws in resample(matrix, resamples, seed):
            for name, (rows, columns) in maps.items():
                merged = rows.T @ draws @ columns
                drawn[name].append(score(objective, merged, _widths(snap(Bins.parse(name), matrix.years))))
    scored = []
    for name, bins in presets:
        if name not in maps:
            scored.append(Published(name, bins))
            continue
        rows, columns = maps[name]
        ends = interval(np.concatenate(drawn[name])) if resamples else None
        scored.append(Published(name, bins, snap(bins, matrix.years), rows.T @ matrix.counts @ columns, ends))
    return scored


def snap(bins: Bins, years: npt.NDArray[np.int64]) -> Bins | None:
    """The bins with each end at the nearest of ``years``, shape (K + 1,); None where a bin vanishes."""
    ends = [(_nearest(low, years), _nearest(high + 1, years)) for low, high in bins.ranges]
    if any(low >= end for low, end in ends):
        return None
    return Bins(tuple((low, end - 1) for low, end in ends), gaps=bins.gaps)


def _nearest(year: int, years: npt.NDArray[np.int64]) -> int:
    return int(years[np.abs(years - year).argmin()])  # years ascend, so argmin takes the younger of two


def _widths(bins: Bins | None) -> Floats:
    return np.array([high + 1 - low for low, high in bins.ranges] if bins else [], dtype=np.float64)


def _places(matrix: FineMatrix, bins: Bins) -> tuple[Counts, Counts]:
    """Which bin each labelled and each answered fine bin counts for, as 0 and 1, shape (K, k) each."""
    rows = np.zeros((len(matrix), len(bins)), dtype=np.int64)
    columns = np.zeros_like(rows)
    for place, (low, high) in enumerate(matrix.bins.ranges):
        away = [_distance((low, high), each) for each in bins.ranges]
        nearest = int(np.argmin(away))
        columns[place, nearest] = 1
        rows[place, nearest] = away[nearest] == 0
    return rows, columns


def _distance(fine: Sequence[int], coarse: Sequence[int]) -> float:
    """Years from the middle of a fine bin to the nearest year of a coarse one; 0 inside."""
    middle = (fine[0] + fine[1]) / 2
    return max(coarse[0] - middle, middle - coarse[1], 0.0)
