"""Small random matrices, and every partition of them one by one."""

import itertools

import numpy as np

from agecls.bin_search.constraints import Constraints
from agecls.bin_search.matrix import Counts, FineMatrix
from agecls.bins import Bins


def random_matrix(chance: np.random.Generator, most: int = 8) -> FineMatrix:
    """2 to ``most`` fine bins of random widths, with empty rows, empty columns and many equal counts among them."""
    k = int(chance.integers(2, most + 1))
    counts = chance.integers(0, chance.choice([2, 5, 60]), size=(k, k))
    if chance.random() < 0.6:
        counts += np.diag(chance.integers(0, 20, k))
    if chance.random() < 0.3:
        counts[:, chance.integers(k)] = 0
    if chance.random() < 0.15:
        counts[chance.integers(k)] = 0
    counts[0, 0] += counts.sum() == 0
    starts = [0, *sorted(chance.choice(np.arange(1, 40), size=k - 1, replace=False))]
    ends = [*(start - 1 for start in starts[1:]), 116]
    return FineMatrix(Bins(tuple((int(low), int(high)) for low, high in zip(starts, ends, strict=True))), counts)


def random_constraints(chance: np.random.Generator, matrix: FineMatrix) -> Constraints:
    """Each constraint now and then."""
    inner = [int(year) for year in matrix.years[1:-1]]
    chance.shuffle(inner)
    required = inner[:1] if inner and chance.random() < 0.25 else []
    barred = inner[1 : 1 + chance.integers(1, 3)] if chance.random() < 0.25 else []
    narrowest = int(chance.integers(1, 8)) if chance.random() < 0.25 else 1
    return Constraints(
        min_support=int(chance.integers(1, max(2, matrix.n // 4))) if chance.random() < 0.3 else 1,
        min_width=narrowest,
        max_width=narrowest + int(chance.integers(0, 30)) if chance.random() < 0.3 else 117,
        required=frozenset(required),
        forbidden=frozenset(barred),
    )


def every_partition(matrix: FineMatrix, number: int, constraints: Constraints) -> list[tuple[int, ...]]:
    """Starts of each partition that the constraints allow, checked on the bins themselves."""
    found = []
    for inner in itertools.combinations(range(1, len(matrix)), number - 1):
        starts = (0, *inner)
        bins = matrix.merged_bins(starts)
        support = matrix.merge(starts).sum(axis=1)
        edges = {low for low, _ in bins.ranges[1:]}
        widths = [high - low + 1 for low, high in bins.ranges]
        if (
            support.min() >= constraints.min_support
            and min(widths) >= constraints.min_width
            and max(widths[:-1], default=0) <= constraints.max_width
            and constraints.required <= edges
            and not constraints.forbidden & edges
        ):
            found.append(starts)
    return found


def merged_one_by_one(counts: Counts, starts: tuple[int, ...]) -> Counts:
    """The merged matrix, cell by cell."""
    ends = [*starts[1:], len(counts)]
    blocks = list(zip(starts, ends, strict=True))
    return np.array([[counts[a:b, c:d].sum() for c, d in blocks] for a, b in blocks])
