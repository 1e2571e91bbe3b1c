"""Bins: the presets as published, every way of writing them down, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agecls.bins import PRESETS, UNLABELLED, Bins
from agecls.errors import BinsError

ADIENCE = ["0-2", "4-6", "8-13", "15-20", "25-32", "38-43", "48-53", "60-116"]


@st.composite
def partitions(draw: st.DrawFn) -> Bins:
    starts = sorted(draw(st.sets(st.integers(1, 116), min_size=1, max_size=40)))
    return Bins(tuple(zip([0, *starts], [*(start - 1 for start in starts), 116], strict=True)))


@st.composite
def gapped(draw: st.DrawFn) -> Bins:
    edges = sorted(draw(st.sets(st.integers(0, 116), min_size=4, max_size=20)))
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    return Bins(tuple(pairs), gaps=True)


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        ("3", ["0-14", "15-40", "41-116"]),
        ("4", ["0-12", "13-19", "20-59", "60-116"]),
        ("7", ["0-2", "3-6", "7-14", "15-30", "31-40", "41-65", "66-116"]),
        ("7-first", ["0-2", "3-9", "10-16", "17-25", "26-45", "46-60", "61-116"]),
        ("8", ADIENCE),
        ("adience", ADIENCE),
    ],
)
def test_presets_are_the_published_ones(preset: str, names: list[str]) -> None:
    assert list(Bins.parse(preset).names) == names


def test_preset_2y_steps_by_two_years_between_3_and_60() -> None:
    bins = Bins.parse("2y")
    assert bins.ranges[0] == (0, 2)
    assert bins.ranges[1:-1] == tuple((low, low + 1) for low in range(3, 60, 2))
    assert bins.ranges[-2:] == ((59, 60), (61, 116))


@pytest.mark.parametrize("preset", PRESETS)
def test_only_the_adience_presets_leave_ages_unlabelled(preset: str) -> None:
    unlabelled = np.flatnonzero(Bins.parse(preset).index(np.arange(117)) == UNLABELLED)
    expected = [3, 7, 14, *range(21, 25), *range(33, 38), *range(44, 48), *range(54, 60)]
    assert unlabelled.tolist() == (expected if preset in ("8", "adience") else [])


@given(partitions())
def test_every_age_stands_in_exactly_one_bin_of_a_partition(bins: Bins) -> None:
    held = [[low <= age <= high for low, high in bins.ranges].count(True) for age in range(117)]
    assert held == [1] * 117
    assert (bins.index(np.arange(117)) >= 0).all()


@given(partitions())
def test_the_text_of_bins_reads_back(bins: Bins) -> None:
    assert Bins.parse(bins.text) == bins
    assert Bins.parse(f"  {bins.text.replace('-', ' - ').replace(',', ' , ')} ") == bins


@given(bins=st.one_of(partitions(), gapped()))
def test_a_bins_file_reads_back(bins: Bins, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.json"
    path.write_text(json.dumps(bins.to_json()), encoding="utf-8")
    assert Bins.parse(str(path)) == bins


@given(bins=st.one_of(partitions(), gapped()), low=st.integers(-5, 125), high=st.integers(-5, 125))
def test_a_range_of_ages_has_the_one_bin_that_holds_all_of_it(bins: Bins, low: int, high: int) -> None:
    fitting = [number for number, (first, last) in enumerate(bins.ranges) if first <= low <= high <= last]
    assert bins.index_of_range(low, high) == (fitting[0] if fitting else UNLABELLED)


@given(bins=st.one_of(partitions(), gapped()), ages=st.lists(st.integers(-200, 300), max_size=50))
def test_index_agrees_with_a_naive_loop(bins: Bins, ages: list[int]) -> None:
    def naive(age: int) -> int:
        return next((number for number, (low, high) in enumerate(bins.ranges) if low <= age <= high), UNLABELLED)

    found = bins.index(ages)
    assert found.dtype == np.int64
    assert found.tolist() == [naive(age) for age in ages]


def test_index_keeps_the_shape_and_leaves_missing_ages_unlabelled() -> None:
    ages = np.array([[0.0, 2.0, 3.0], [np.nan, 116.0, 117.0]])
    assert Bins.parse("7").index(ages).tolist() == [[0, 0, 1], [UNLABELLED, 6, UNLABELLED]]


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("0-2,4-116", "age 3 between the bins that end at 2 and begin at 4 is in no bin"),
        ("0-2,7-116", "ages 3-6 between the bins that end at 2 and begin at 7 are in no bin"),
        ("1-2,3-116", "age 0 before the first bin 1-2"),
        ("0-2,3-100", "ages 101-116 after the last bin 3-100"),
        ("0-5,4-116", "age bin 4-116 overlaps the bin before it, which ends at 5"),
        ("0-5,5-116", "age bin 5-116 overlaps"),
        ("0-5,0-5", "age bin 0-5 is out of order"),
        ("60-116,0-59", "age bin 0-59 is out of order"),
        ("0-2,6-3,7-116", "age bin 6-3 runs backwards"),
        ("0-2,3-117", "age bin 3-117 leaves 0..116 years"),
        ("0-2,3-999", "age bin 3-999 leaves 0..116 years"),
        ("0-116", "at least two ranges"),
        ("0-2,three,6-116", "'three' is not a range of ages"),
        ("0-2,,3-116", "'' is not a range of ages"),
        ("0-2,3-116,", "'' is not a range of ages"),
        ("0-2,3,4-116", "'3' is not a range of ages"),
        ("0-2,3--9,10-116", "'3--9' is not a range of ages"),
        ("0-2,3.5-116", "'3.5-116' is not a range of ages"),
        ("0-2,3-1160", "'3-1160' is not a range of ages"),
        ("0-2;3-116", "'0-2;3-116' is not a range of ages"),
        ("\u0660-2,3-116", "is not a range of ages"),
        ("5", "there is no preset of 5 bins"),
        ("seven", "'seven' is not a range of ages"),
        ("", "no age bins were given"),
        (" ", "no age bins were given"),
    ],
)
def test_wrong_lists_are_refused_with_the_piece_at_fault(text: str, piece: str) -> None:
    with pytest.raises(BinsError) as refused:
        Bins.parse(text)
    assert piece in refused.value.what
    assert refused.value.remedy


@settings(max_examples=300)
@given(st.text(alphabet="0123456789-, .x\n\u0663", max_size=30))
def test_any_text_is_read_as_bins_that_cover_all_ages_or_refused(text: str) -> None:
    try:
        bins = Bins.parse(text)
    except BinsError:
        return
    assert (bins.index(np.arange(117)) >= 0).all() or bins == Bins.parse("8")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"names": ["0-2", "3-116"', "is not JSON"),
        ("", "is not JSON"),
        ('{"bins": ["0-2", "3-116"]}', 'no list of bin names under "names"'),
        ('{"names": "0-2,3-116"}', 'no list of bin names under "names"'),
        ('{"names": [0, 3]}', 'no list of bin names under "names"'),
        ("null", 'no list of bin names under "names"'),
        ('{"names": []}', "at least two ranges"),
        ('{"names": ["0-2", "4-116"]}', "age 3 between"),
        ('{"names": ["0-2", "4-116"], "gaps": "true"}', "age 3 between"),
        ('{"names": ["0-2", "2-116"], "gaps": true}', "overlaps"),
        ('{"names": ["0-2", "3-116"], "edges": [0, 5]}', '"edges" and "names" are different bins'),
    ],
)
def test_wrong_bins_files_are_refused(content: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "bins.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BinsError) as refused:
        Bins.parse(str(path))
    assert problem in refused.value.what


def test_a_bins_file_may_be_a_bare_list_and_may_leave_gaps(tmp_path: Path) -> None:
    path = tmp_path / "bins.json"
    path.write_text('["0-2", "3-116"]', encoding="utf-8")
    assert Bins.parse(str(path)).ranges == ((0, 2), (3, 116))
    path.write_text('{"names": ["5-9", "20-30"], "gaps": true}', encoding="utf-8")
    assert Bins.parse(str(path)).index([4, 5, 10, 30, 116]).tolist() == [-1, 0, -1, 1, -1]


def test_a_bins_file_that_is_missing_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(BinsError, match=r"cannot read the bins file .*absent\.json"):
        Bins.parse(str(tmp_path / "absent.json"))
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BinsError, match=r"binary\.json is not JSON"):
        Bins.parse(str(tmp_path / "binary.json"))
