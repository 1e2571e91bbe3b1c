"""What stands in the way of a partition is named."""

import numpy as np
import pytest

from agecls.bin_search.constraints import Constraints
from agecls.bin_search.matrix import FineMatrix
from agecls.bin_search.partition import best_partitions
from agecls.bins import Bins
from agecls.errors import BinsError, DataError

BINS = Bins.from_names(["0-9", "10-19", "20-29", "30-39", "40-116"])


def matrix(support: int = 10) -> FineMatrix:
    return FineMatrix(BINS, np.diag([support] * 5))


def edges(constraints: Constraints, number: int = 3) -> list[int]:
    (found,) = best_partitions(matrix(), "macro-f1", [number], constraints)[number]
    return [int(matrix().years[start]) for start in found.starts[1:]]


def test_edges_that_must_be_there_and_edges_that_must_not() -> None:
    assert edges(Constraints(required=frozenset({10, 40}))) == [10, 40]
    assert not {10, 40} & set(edges(Constraints(forbidden=frozenset({10, 40}))))


def test_the_last_bin_is_free_of_the_maximum_width() -> None:
    assert edges(Constraints(max_width=10)) == [10, 20]
    assert edges(Constraints(max_width=20, min_width=20)) == [20, 40]


@pytest.mark.parametrize(
    ("constraints", "number", "named"),
    [
        (Constraints(min_support=30), 3, "--min-support 30"),
        (Constraints(min_width=40), 3, "--min-width 40"),
        (Constraints(max_width=9), 3, "--max-width 9"),
        (Constraints(required=frozenset({10, 20, 30})), 3, "the required edges 10,20,30"),
        (Constraints(forbidden=frozenset({10, 20, 30})), 3, "the forbidden edges 10,20,30"),
        (Constraints(min_support=20, max_width=9), 2, "in the way: --max-width 9 alone"),
        (Constraints(min_width=40, forbidden=frozenset({30})), 3, "in the way: --min-width 40 alone"),
        (Constraints(min_support=30, min_width=40), 3, "in the way: several of them at once"),
        (Constraints(), 6, "5 fine bins cannot be merged into 6"),
    ],
)
def test_what_is_in_the_way_is_named(constraints: Constraints, number: int, named: str) -> None:
    with pytest.raises(BinsError) as refusal:
        best_partitions(matrix(), "macro-f1", [number], constraints)
    assert named in str(refusal.value)


def test_bins_without_a_labelled_image_are_none() -> None:
    counts = np.diag([10, 0, 0, 0, 10])
    with pytest.raises(BinsError, match="that every bin has a labelled image"):
        best_partitions(FineMatrix(BINS, counts), "accuracy", [3], Constraints())


def test_an_edge_inside_a_fine_bin_is_refused_with_its_neighbours() -> None:
    with pytest.raises(BinsError, match="required edge 18 is no boundary") as refusal:
        edges(Constraints(required=frozenset({18})))
    assert "10-19" in refusal.value.got
    assert "require 10 or 20" in refusal.value.remedy


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"min_support": 0}, "minimum support"),
        ({"min_width": 0}, "minimum width"),
        ({"min_width": 5, "max_width": 4}, "maximum width"),
        ({"required": frozenset({0})}, "1..116"),
        ({"forbidden": frozenset({117})}, "1..116"),
        ({"required": frozenset({18, 21}), "forbidden": frozenset({18})}, "both required and forbidden"),
    ],
)
def test_impossible_wishes_are_refused(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(BinsError, match=named):
        Constraints(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "counts",
    [np.ones((5, 4), int), np.full((5, 5), -1), np.zeros((5, 5), int), np.full((5, 5), 0.5)],
    ids=["oblong", "negative", "empty", "shares"],
)
def test_what_is_no_matrix_of_counts_is_refused(counts: np.ndarray) -> None:
    with pytest.raises(DataError):
        FineMatrix(BINS, counts)


def test_fine_bins_with_gaps_are_refused() -> None:
    with pytest.raises(BinsError, match="gaps"):
        FineMatrix(Bins.parse("8"), np.ones((8, 8), int))
