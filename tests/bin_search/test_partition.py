"""The search is exact: it finds what trying every partition finds, for each objective, constraint and rank."""

import numpy as np
import pytest
from small import every_partition, merged_one_by_one, random_constraints, random_matrix

from agecls.bin_search.constraints import Constraints
from agecls.bin_search.matrix import FineMatrix
from agecls.bin_search.objectives import OBJECTIVES, Blocks, Objective, score
from agecls.bin_search.partition import best_partitions, find_best
from agecls.bins import Bins
from agecls.errors import BinsError

MATRICES = 250
"""Random matrices for each objective and each way of constraining: 2500 in all."""


def brute_force(
    matrix: FineMatrix, objective: Objective, number: int, constraints: Constraints
) -> list[tuple[float, tuple[int, ...]]]:
    """Score and starts of every allowed partition, best first."""
    starts = every_partition(matrix, number, constraints)
    if not starts:
        return []
    merged = np.stack([merged_one_by_one(matrix.counts, each) for each in starts])
    widths = [matrix.widths(each) for each in starts]
    if objective == "width-aware":
        scores = [float(score(objective, one, width)) for one, width in zip(merged, widths, strict=True)]
    else:
        scores = score(objective, merged, widths[0]).tolist()
    return sorted(zip(scores, starts, strict=True), reverse=True)


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_finds_what_brute_force_finds(objective: Objective, constrained: bool) -> None:
    chance = np.random.default_rng([OBJECTIVES.index(objective), constrained])
    impossible = kept = 0
    for _ in range(MATRICES):
        matrix = random_matrix(chance, most=7 if objective == "kappa" else 8)
        number = int(chance.integers(2, len(matrix) + 1))
        constraints = random_constraints(chance, matrix) if constrained else Constraints()
        keep = int(chance.integers(1, 7))
        every = brute_force(matrix, objective, number, constraints)
        if not every:
            impossible += 1
            with pytest.raises(BinsError):
                best_partitions(matrix, objective, [number], constraints, keep)
            continue
        found = best_partitions(matrix, objective, [number], constraints, keep)[number]
        kept += len(found) > 1
        assert [each.score for each in found] == pytest.approx([each for each, _ in every[:keep]], abs=1e-9)
        known = {starts: value for value, starts in every}
        assert len({each.starts for each in found}) == len(found)
        assert [each.score for each in found] == pytest.approx([known[each.starts] for each in found], abs=1e-9)
    assert impossible < 0.75 * MATRICES
    assert kept > 0.1 * MATRICES


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_stack_of_matrices_is_searched_as_each_of_them(objective: Objective) -> None:
    chance = np.random.default_rng(5)
    bins = Bins.from_names(["0-0", "1-1", "2-2", "3-3", "4-4", "5-5", "6-116"])
    stack = [FineMatrix(bins, chance.integers(0, 9, size=(7, 7)) + np.eye(7, dtype=np.int64)) for _ in range(12)]
    constraints = Constraints(min_width=1)
    allowed = constraints.allowed(stack[0])
    blocks = Blocks.of(np.stack([each.counts for each in stack]), stack[0].years)
    found = find_best(blocks, objective, [2, 4], allowed)
    for number in (2, 4):
        alone = [best_partitions(each, objective, [number], constraints)[number][0] for each in stack]
        assert found[number][0][:, 0] == pytest.approx([each.score for each in alone], abs=1e-12)
        assert [tuple(row) for row in found[number][1][:, 0]] == [each.starts for each in alone]


def test_many_single_years_are_searched_for_every_number_of_bins() -> None:
    chance = np.random.default_rng(0)
    truth = chance.integers(0, 117, 3000)
    answered = np.clip(truth + chance.normal(0, 8, 3000).round().astype(np.int64), 0, 116)
    matrix = FineMatrix.of_answers(Bins(tuple((year, year) for year in range(117))), truth, answered)
    found = best_partitions(matrix, "macro-f1", range(3, 13), Constraints(min_support=30), keep=3)
    assert sorted(found) == list(range(3, 13))
    for number, partitions in found.items():
        assert all(len(each.starts) == number for each in partitions)
        for each in partitions:
            confusion = matrix.merge(each.starts)
            assert confusion.sum(axis=1).min() >= 30
            assert each.score == pytest.approx(float(score("macro-f1", confusion, matrix.widths(each.starts))))
    best = [found[number][0].score for number in range(3, 13)]
    assert best == sorted(best, reverse=True)
