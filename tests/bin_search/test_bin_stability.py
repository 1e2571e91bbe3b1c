"""Resampling, the published bins on the same matrix, and the recommendation."""

import numpy as np
import pytest

from agecls.bin_search.asked import Asked, choose_numbers, choose_support, refuse_numbers
from agecls.bin_search.constraints import Constraints
from agecls.bin_search.matrix import FineMatrix
from agecls.bin_search.published import score_published, snap
from agecls.bin_search.recommend import at_the_end, recommend
from agecls.bin_search.search import KEPT, search
from agecls.bin_search.stability import resample
from agecls.bins import Bins
from agecls.errors import BinsError, UsageError

YEARS = Bins(tuple((year, year) for year in range(117)))


@pytest.fixture(scope="module")
def yearly() -> FineMatrix:
    """Answers some years off, sharper below 10 than above."""
    chance = np.random.default_rng(0)
    truth = chance.integers(0, 117, 2500)
    off = chance.normal(0, 1 + truth / 12).round().astype(np.int64)
    return FineMatrix.of_answers(YEARS, truth, np.clip(truth + off, 0, 116))


def ask(*numbers: int, resamples: int = 40, seed: int = 0) -> Asked:
    return Asked("macro-f1", numbers, Constraints(min_support=25), resamples=resamples, seed=seed)


def test_resamples_are_those_of_one_draw_whatever_the_chunk(yearly: FineMatrix) -> None:
    whole = np.concatenate(list(resample(yearly, 7, seed=3, chunk=7)))
    parts = np.concatenate(list(resample(yearly, 7, seed=3, chunk=2)))
    assert (whole == parts).all()
    assert (whole.sum(axis=(1, 2)) == yearly.n).all()


def test_same_seed_same_result_and_another_seed_another(yearly: FineMatrix) -> None:
    assert search(yearly, ask(3, 4)).to_json() == search(yearly, ask(3, 4)).to_json()
    first, other = (search(yearly, ask(3, seed=seed)).to_json()["results"][0]["stability"] for seed in (0, 1))
    assert first != other


def test_a_sure_edge_is_stable_and_a_made_up_one_is_not() -> None:
    # Answers never leave 0-9 or 10-116, and are blind within them: the edge at 10 alone means something.
    counts = np.zeros((6, 6), dtype=np.int64)
    counts[:2, :2] = 40
    counts[2:, 2:] = 40
    matrix = FineMatrix(Bins.from_names(["0-4", "5-9", "10-14", "15-19", "20-24", "25-116"]), counts)
    found = search(matrix, Asked("macro-f1", [2, 3], Constraints(), resamples=60))
    assert [(edge.year, edge.exact) for edge in found.found[2].stability.edges] == [(10, 1.0)]
    assert found.found[2].stability.rivals == ()
    assert found.found[2].stability.interval == (1.0, 1.0)
    shares = {edge.year: edge.exact for edge in found.found[3].stability.edges}
    assert shares.pop(10) == pytest.approx(1, abs=0.3)
    assert max(shares.values()) < 0.8
    assert found.found[3].stability.rivals
    assert found.found[3].stability.optimism > 0


def test_equally_good_cuts_do_not_speak_against_the_one_found() -> None:
    # Nothing is labelled or answered from 10 to 39, so the edge may stand at any of four years.
    matrix = FineMatrix(Bins.from_names(["0-9", "10-19", "20-29", "30-39", "40-116"]), np.diag([50, 0, 0, 0, 50]))
    for years in (frozenset[int](), frozenset({20})):
        found = search(matrix, Asked("macro-f1", [2], Constraints(required=years), resamples=20)).found[2]
        assert [edge.exact for edge in found.stability.edges] == [1.0]
    found = search(matrix, Asked("macro-f1", [2], Constraints(), resamples=20)).found[2]
    assert len(found.stability.rivals) == 3


def test_rivals_are_near_the_best_and_in_order(yearly: FineMatrix) -> None:
    found = search(yearly, ask(5)).found[5]
    rivals = found.stability.rivals
    assert 0 < len(rivals) < KEPT
    scores = [found.partition.score, *(rival.partition.score for rival in rivals)]
    assert scores == sorted(scores, reverse=True)
    assert all(low <= 0 <= high for low, high in (rival.behind for rival in rivals))
    low, high = found.stability.interval
    assert low <= found.partition.score <= high


def test_edges_count_as_near_within_a_year(yearly: FineMatrix) -> None:
    for each in search(yearly, ask(6)).found[6].stability.edges:
        assert 0 <= each.exact <= each.near <= 1


@pytest.mark.parametrize(
    ("preset", "fine", "expected"),
    [
        ("3", "0-9,10-19,20-39,40-116", "0-9,10-39,40-116"),
        ("3", "0-11,12-17,18-37,38-43,44-116", "0-11,12-37,38-116"),
        # 66 and 38 lie between boundaries of 2y: 66 goes down to 61, 38 to the younger of 37 and 39.
        ("7", "2y", "0-2,3-6,7-14,15-30,31-40,41-60,61-116"),
        ("8", "2y", "0-2,3-6,7-12,15-20,25-32,37-42,47-52,59-116"),
    ],
)
def test_presets_move_to_the_nearest_boundaries(preset: str, fine: str, expected: str) -> None:
    bins = Bins.parse(fine)
    snapped = snap(Bins.parse(preset), np.array([low for low, _ in bins.ranges] + [117]))
    assert snapped is not None
    assert snapped.text == expected


def test_published_bins_are_scored_on_the_same_matrix(yearly: FineMatrix) -> None:
    by_name = {each.name: each for each in score_published(yearly, "macro-f1", resamples=10, seed=0)}
    assert list(by_name) == ["3", "4", "7", "7-first", "8"]
    assert all(each.exact for each in by_name.values())
    seven = by_name["7"]
    assert seven.confusion is not None
    assert (seven.confusion == yearly.merge([low for low, _ in Bins.parse("7").ranges])).all()
    best = search(yearly, Asked("macro-f1", [7], Constraints(), resamples=2)).found[7]
    told = {each["name"]: each for each in search(yearly, ask(3)).to_json()["published"]}
    assert told["7"]["score"] <= best.partition.score
    assert told["7"]["score_ci95"][0] <= told["7"]["score"] <= told["7"]["score_ci95"][1]


def test_images_in_a_gap_are_left_out_and_answers_in_one_go_to_the_nearest_bin() -> None:
    counts = np.zeros((117, 117), dtype=np.int64)
    counts[3, 1] = 100  # labelled in the gap between 0-2 and 4-6
    counts[1, 3] = 10  # answered there: as near to 2 as to 4
    counts[5, 14] = 7  # as near to 13 as to 15
    counts[40, 46] = 5  # nearer to 48 than to 43
    eight = score_published(FineMatrix(YEARS, counts), "macro-f1", resamples=0, seed=0)[-1]
    assert eight.name == "8"
    assert eight.confusion is not None
    assert eight.confusion.sum() == 22
    assert eight.confusion[0, 0] == 10
    assert eight.confusion[1, 2] == 7
    assert eight.confusion[5, 6] == 5


def test_presets_that_the_fine_bins_cannot_show_are_said_to_be_none() -> None:
    matrix = FineMatrix(Bins.from_names(["0-19", "20-39", "40-116"]), np.eye(3, dtype=np.int64) * 50)
    told = search(matrix, Asked("macro-f1", [2], Constraints(), resamples=5)).to_json()["published"]
    assert [(each["name"], each["exact"], each["score"]) for each in told if each["name"] in ("7", "8")] == [
        ("7", False, None), ("8", False, None),
    ]  # fmt: skip


def test_the_rule_takes_the_smallest_within_one_standard_error() -> None:
    scores = {3: 0.20, 4: 0.28, 5: 0.30, 6: 0.29}
    assert recommend(scores, dict.fromkeys(scores, 0.001)) == 5
    assert recommend(scores, dict.fromkeys(scores, 0.021)) == 4
    assert recommend(scores, {**dict.fromkeys(scores, 0.5), 5: 0.001}) == 5, "the error is that of the highest"
    assert not at_the_end([3, 4, 5, 6], scores)
    assert at_the_end([3, 4, 5], {3: 0.1, 4: 0.2, 5: 0.3})


def test_numbers_that_cannot_be_had_are_left_out_where_others_can(yearly: FineMatrix) -> None:
    found = search(yearly, Asked("macro-f1", [3, 4, 60], Constraints(min_support=50), resamples=5))
    assert list(found.found) == [3, 4]
    assert "into 60 bins" in found.notes[0]


def test_default_numbers_stay_below_the_fine_bins() -> None:
    lines: list[str] = []
    seven = FineMatrix(Bins.parse("7"), np.eye(7, dtype=np.int64))
    assert choose_numbers(None, None, None, seven, lines.append) == range(3, 7)
    assert "7 fine bins" in lines[0]
    assert choose_numbers(None, 4, None, seven, lines.append) == range(4, 7)
    assert choose_numbers(None, None, 2, seven, lines.append) == range(2, 3)
    assert choose_numbers(5, None, None, seven, lines.append) == range(5, 6)
    with pytest.raises(BinsError, match="7 fine bins cannot be merged into 8"):
        choose_numbers(None, None, 8, seven, lines.append)
    assert choose_support(None, seven, lines.append) == 1
    assert choose_support(9, seven, lines.append) == 9


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [((None, 9, 3), "above"), ((1, None, None), "2 or more"), ((None, None, -4), "2 or more"), ((7, 3, None), "one")],
)
def test_impossible_numbers_are_refused(numbers: tuple[int | None, int | None, int | None], problem: str) -> None:
    with pytest.raises((BinsError, UsageError), match=problem):
        refuse_numbers(*numbers)


def test_one_resample_says_nothing_of_spread(yearly: FineMatrix) -> None:
    with pytest.raises(UsageError, match="--resamples"):
        search(yearly, ask(3, resamples=1))
