"""The best partitions of fine bins into neighbouring blocks: exact, by dynamic programming.

The score of a partition is a sum over its blocks, so the best one of n blocks that ends at j is the best of n - 1
blocks that ends at some i, and the block i..j-1 (Bellman 1961). Keeping the R best at each place gives the R best.
Kappa is a ratio N / D of two such sums. The R best ratios are those for which N - x D is largest, at the x where the
R-th largest is 0: Dinkelbach (1967) for R = 1, and the same climb for any R, since every partition found at x has a
ratio of x or more once the R-th largest is 0 or more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from agecls.bin_search.constraints import Constraints
from agecls.bin_search.matrix import FineMatrix, Floats
from agecls.bin_search.objectives import Blocks, Objective, finish, gains

Places = npt.NDArray[np.int64]

_CLIMB: Final = 100
"""Steps of Dinkelbach's climb at most; it ends after about five."""

_STILL: Final = 1e-12
"""Change of a kappa that is rounding."""


@dataclass(frozen=True)
class Partition:
    """One way to merge the fine bins.

    Attributes:
        starts: index of the first fine bin of each block, ascending, the first 0.
        score: by the objective of the search.
    """

    starts: tuple[int, ...]
    score: float


def best_partitions(
    matrix: FineMatrix, objective: Objective, numbers: Iterable[int], constraints: Constraints, keep: int = 1
) -> dict[int, list[Partition]]:
    """Find the best partitions for each number of bins, best first.

    Args:
        matrix: of the fine bins.
        objective: what to maximise.
        numbers: of bins.
        constraints: what each partition obeys.
        keep: how many partitions to find for each number.

    Returns:
        At most ``keep`` for each number; of equal scores the order is unspecified but always the same.

    Raises:
        BinsError: no partition of one of the numbers satisfies the constraints.
    """
    numbers = list(numbers)
    allowed = constraints.allowed(matrix)
    found = find_best(Blocks.of(matrix.counts[None], matrix.years), objective, numbers, allowed, keep)
    partitions = {}
    for number, (scores, starts) in found.items():
        if not np.isfinite(scores[0, 0]):
            constraints.refuse(matrix, number)
        partitions[number] = [
            Partition(tuple(map(int, row)), float(score))
            for score, row in zip(scores[0], starts[0], strict=True)
            if np.isfinite(score)
        ]
    return partitions


def find_best(
    blocks: Blocks, objective: Objective, numbers: Iterable[int], allowed: npt.NDArray[np.bool_], keep: int = 1
) -> dict[int, tuple[Floats, Places]]:
    """Find the best partitions of each of B matrices.

    Args:
        blocks: of the matrices.
        objective: what to maximise.
        numbers: of bins.
        allowed: which blocks may be bins, shape (K + 1, K + 1).
        keep: partitions to find, R.

    Returns:
        For each number its scores, shape (B, R), descending, -inf where there is no further one, and starts, shape
        (B, R, number).
    """
    gain, divisor = gains(objective, blocks)
    if divisor is not None:
        return {number: _best_ratios(gain, divisor, allowed, number, keep) for number in numbers}
    sums = _best_sums(np.where(allowed, gain, -np.inf), frozenset(numbers), keep)
    return {number: (finish(objective, total, number), starts) for number, (total, starts) in sums.items()}


def _best_sums(gain: Floats, numbers: frozenset[int], keep: int) -> dict[int, tuple[Floats, Places]]:
    """The largest sums of gains over blocks that follow each other from 0 to K.

    Args:
        gain: of each block, shape (B, K + 1, K + 1), -inf where a block may not be.
        numbers: of blocks.
        keep: R.
    """
    batch, places, _ = gain.shape
    best = np.full((batch, keep, places), -np.inf)  # the R best sums of blocks that end at each place
    best[:, 0, 0] = 0.0
    trail: list[Places] = []
    found = {}
    for number in range(1, max(numbers) + 1):
        # (B, R * (K + 1), K + 1): the r-th best that ends at i, then the block from i to j
        candidates = (best[:, :, :, None] + gain[:, None, :, :]).reshape(batch, keep * places, places)
        chosen = _largest(candidates, keep)
        best = np.take_along_axis(candidates, chosen, axis=1)
        trail.append(chosen)
        if number in numbers:
            found[number] = (best[:, :, -1], _trace(trail, places))
    return found


def _largest(values: Floats, keep: int) -> Places:
    """Rows of the ``keep`` largest values of each column, descending, shape (B, R, J); of equals the lower row."""
    if keep == 1:
        return np.asarray(values.argmax(axis=1, keepdims=True), dtype=np.int64)
    rows = np.sort(np.argpartition(-values, keep - 1, axis=1)[:, :keep], axis=1)
    order = np.argsort(-np.take_along_axis(values, rows, axis=1), axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1).astype(np.int64)


def _trace(trail: list[Places], places: int) -> Places:
    """Walk back from the end: starts of each partition, shape (B, R, number)."""
    batch, keep, _ = trail[0].shape
    starts = np.empty((batch, keep, len(trail)), dtype=np.int64)
    each = np.arange(batch)[:, None]
    rank, place = np.arange(keep)[None, :].repeat(batch, axis=0), np.full((batch, keep), places - 1)
    for number in reversed(range(len(trail))):
        rank, place = np.divmod(trail[number][each, rank, place], places)
        starts[:, :, number] = place
    return starts


def _best_ratios(
    gain: Floats, divisor: Floats, allowed: npt.NDArray[np.bool_], number: int, keep: int
) -> tuple[Floats, Places]:
    """The largest ratios of two sums, shape (B, R), and their starts, shape (B, R, number)."""
    level = np.zeros(len(gain))
    for step in range(_CLIMB):
        total = np.where(allowed, gain - level[:, None, None] * divisor, -np.inf)
        sums, starts = _best_sums(total, frozenset({number}), keep)[number]
        above, below = _sum_along(gain, starts), _sum_along(divisor, starts)
        ratios = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
        there = np.isfinite(sums)
        lowest = np.where(there, ratios, np.inf).min(axis=1)
        lowest = np.where(np.isfinite(lowest), lowest, level)
        still = lowest <= level + _STILL
        # Only the first level can lie above the ratios that are looked for.
        if (step and still.all()) or (np.abs(lowest - level) <= _STILL).all():
            break
        level = np.where(still & (step > 0), level, lowest)
    ratios = np.where(there, ratios, -np.inf)
    order = np.argsort(-ratios, axis=1, kind="stable")
    return np.take_along_axis(ratios, order, axis=1), np.take_along_axis(starts, order[:, :, None], axis=1)


def _sum_along(gain: Floats, starts: Places) -> Floats:
    """Sum of the gains of each partition's blocks, shape (B, R)."""
    ends = np.concatenate([starts[:, :, 1:], np.full((*starts.shape[:2], 1), gain.shape[1] - 1)], axis=2)
    return np.asarray(gain[np.arange(len(gain))[:, None, None], starts, ends].sum(axis=2))
