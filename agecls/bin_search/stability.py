"""How far a choice of bins hangs on the images it was made with: the search again on resampled ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agecls.bin_search.constraints import Constraints
from agecls.bin_search.matrix import Counts, FineMatrix, Floats, merge
from agecls.bin_search.objectives import Blocks, Objective, score
from agecls.bin_search.partition import Partition, find_best
from agecls.progress import progress

PERCENTILES: Final = (2.5, 97.5)
"""Ends of a 95 % percentile interval."""

_CHUNK: Final = 25  # resamples searched at a time; a hundred would leave the processor's cache


_EQUAL: Final = 1e-9
"""Difference of two scores that is rounding."""


@dataclass(frozen=True)
class Edge:
    """How often resamples cut where all images do; of equally good partitions theirs counts.

    Attributes:
        year: first year of the bin above the edge.
        exact: share of resamples that cut there.
        near: share that cut there, or at any fine boundary within a year of it.
    """

    year: int
    exact: float
    near: float


@dataclass(frozen=True)
class Rival:
    """A runner-up that resampling cannot tell from the best.

    Attributes:
        partition: its bins and score.
        behind: 95 % interval of the best score less its own, on the same resamples; contains 0.
    """

    partition: Partition
    behind: tuple[float, float]


@dataclass(frozen=True)
class Stability:
    """What resampling says of the best partition for one number of bins.

    Attributes:
        interval: 95 % interval of its score, the partition kept as it is.
        width_aware: interval of its width-aware score.
        error: standard error of its width-aware score.
        optimism: what its score gains by having been chosen on the images that it is scored on: the mean, over
            resamples, of the score of the resample's own best there less its score on all images (Efron 1983).
        edges: one for each edge but 0.
        rivals: runner-ups whose difference has an interval that contains 0, best first.
    """

    interval: tuple[float, float]
    width_aware: tuple[float, float]
    error: float
    optimism: float
    edges: tuple[Edge, ...]
    rivals: tuple[Rival, ...]


def resample(matrix: FineMatrix, resamples: int, seed: int, chunk: int = _CHUNK) -> Iterator[Counts]:
    """Draw the images anew, with replacement: one multinomial draw over the cells for each resample.

    Yields:
        Counts, shape (at most ``chunk``, K, K); the same whatever ``chunk`` is.
    """
    chance, k = np.random.default_rng(seed), len(matrix)
    shares = matrix.counts.ravel() / matrix.n
    for start in range(0, resamples, chunk):
        yield chance.multinomial(matrix.n, shares, size=min(chunk, resamples - start)).reshape(-1, k, k)


def measure_stability(
    matrix: FineMatrix,
    objective: Objective,
    found: Mapping[int, Sequence[Partition]],
    constraints: Constraints,
    *,
    resamples: int,
    seed: int,
) -> dict[int, Stability]:
    """Search again in resampled images, for each number of bins.

    Each resample is searched under what the constraints allow on all images, so that a bin which just reaches its least
    support does not come and go.

    Args:
        matrix: of all images.
        objective: of the search.
        found: the best partitions, best first, by number of bins.
        constraints: of the search.
        resamples: how many.
        seed: of the draw.
    """
    allowed = constraints.allowed(matrix)
    own: dict[int, list[Counts]] = {number: [] for number in found}  # starts of each resample's best
    won: dict[int, list[Floats]] = {number: [] for number in found}  # its score there less its score on all images
    kept: dict[int, list[Floats]] = {number: [] for number in found}  # scores of the partitions found on all images
    aware: dict[int, list[Floats]] = {number: [] for number in found}
    with progress("resampling images", resamples) as advance:
        for draws in resample(matrix, resamples, seed):
            again = find_best(Blocks.of(draws, matrix.years), objective, found, allowed)
            for number, partitions in found.items():
                scores, starts = again[number]
                whole = [float(_score(objective, matrix, matrix.counts, row)) for row in starts[:, 0]]
                won[number].append(scores[:, 0] - np.array(whole))
                each = [_score(objective, matrix, draws, partition.starts) for partition in partitions]
                kept[number].append(np.stack(each, axis=1))
                # Where a resample finds others just as good, it does not speak against these.
                as_good = each[0] >= scores[:, 0] - _EQUAL
                own[number].append(np.where(as_good[:, None], partitions[0].starts, starts[:, 0]))
                aware[number].append(_score("width-aware", matrix, draws, partitions[0].starts))
            advance(len(draws))
    return {
        number: _summarise(
            matrix,
            partitions,
            np.concatenate(own[number]),
            np.concatenate(won[number]),
            np.concatenate(kept[number]),
            np.concatenate(aware[number]),
        )
        for number, partitions in found.items()
    }


def _score(objective: Objective, matrix: FineMatrix, counts: Counts, starts: Sequence[int] | Counts) -> Floats:
    return score(objective, merge(counts, list(starts)), matrix.widths(list(starts)))


def _summarise(
    matrix: FineMatrix, partitions: Sequence[Partition], own: Counts, won: Floats, kept: Floats, aware: Floats
) -> Stability:
    years = matrix.years
    cuts = years[own[:, 1:]]  # (resamples, number - 1)
    edges = []
    for start in partitions[0].starts[1:]:
        year = int(years[start])
        exact = (cuts == year).any(axis=1).mean()
        near = (np.abs(cuts - year) <= 1).any(axis=1).mean()
        edges.append(Edge(year, float(exact), float(near)))
    rivals = []
    for place, partition in enumerate(partitions[1:], start=1):
        low, high = interval(kept[:, 0] - kept[:, place])
        if low <= 0 <= high:
            rivals.append(Rival(partition, (low, high)))
    error = float(aware.std(ddof=1)) if len(aware) > 1 else 0.0
    return Stability(interval(kept[:, 0]), interval(aware), error, float(won.mean()), tuple(edges), tuple(rivals))


def interval(values: Floats) -> tuple[float, float]:
    """95 % percentile interval of resampled values."""
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)
