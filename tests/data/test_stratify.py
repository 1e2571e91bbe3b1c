"""Assignment to parts: what must hold for any table whatever, and how evenly labels are shared out."""

import json
import subprocess
import sys
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agecls.bins import Bins
from agecls.data.faces import Faces
from agecls.data.freeze import divide
from agecls.data.split import PARTS
from agecls.data.stratify import assign_parts, name_strata
from agecls.labels import ETHNICITIES, GENDERS

SEVEN = Bins.parse("7")


def make_faces(sizes: list[int], seed: int) -> Faces:
    """A table whose groups have the sizes given, all labels drawn at random, some unknown, some ages ranges."""
    rng = np.random.default_rng(seed)
    count = sum(sizes)
    low = rng.integers(0, 117, count)
    high = np.minimum(low + np.where(rng.random(count) < 0.2, rng.integers(1, 40, count), 0), 116)
    return Faces(
        pd.DataFrame(
            {
                "path": [f"{number * 7919 % 100_003}/{number}.jpg" for number in range(count)],
                "age_low": low,
                "age_high": high,
                "gender": rng.choice([*GENDERS, ""], count, p=[0.5, 0.4, 0.1]),
                "ethnicity": rng.choice([*ETHNICITIES, ""], count, p=[0.4, 0.2, 0.2, 0.1, 0.05, 0.05]),
                "source": "csv",
                "sha256": [f"{number:064x}" for number in range(count)],
                "group": [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)],
            }
        )
    )


FACES = st.builds(make_faces, st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(0, 10**6))
SINGLES = st.builds(make_faces, st.integers(1, 250).map(lambda count: [1] * count), st.integers(0, 10**6))
FRACTIONS = st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30)).map(
    lambda shares: tuple(share / sum(shares) for share in shares)
)
BINS = st.sampled_from([SEVEN, Bins.parse("2y"), Bins.parse("adience"), Bins.parse("0-50,51-116")])


@given(faces=FACES, bins=BINS, fractions=FRACTIONS, seed=st.integers(0, 2**32))
def test_every_row_stands_in_one_part_and_every_group_too(
    faces: Faces, bins: Bins, fractions: tuple[float, float, float], seed: int
) -> None:
    parts, placed = divide(faces, bins, fractions, seed)
    paths = [path for part in PARTS for path in parts[part].table["path"]]
    assert sorted(paths) == sorted(faces.table["path"])
    groups = [set(parts[part].table["group"]) for part in PARTS]
    assert sum(map(len, groups)) == len(set.union(*groups))
    counts = pd.Series([name.rpartition("/")[2] for name in placed]).value_counts()
    assert {part: int(counts.get(part, 0)) for part in PARTS} == {part: len(parts[part]) for part in PARTS}


@settings(max_examples=200)
@given(faces=st.one_of(FACES, SINGLES), bins=BINS, fractions=FRACTIONS, seed=st.integers(0, 2**32))
def test_each_part_is_within_the_largest_group_of_its_share(
    faces: Faces, bins: Bins, fractions: tuple[float, float, float], seed: int
) -> None:
    parts, _ = divide(faces, bins, fractions, seed)
    largest = int(faces.table["group"].value_counts().max())
    off = [abs(len(parts[part]) - share * len(faces)) for part, share in zip(PARTS, fractions, strict=True)]
    assert max(off) <= largest + 1e-6


def test_a_part_made_of_groups_alone_does_not_keep_the_others_from_their_share() -> None:
    rng = np.random.default_rng(1)
    for seed in range(300):
        groups = [f"pair{number}" for number in range(7) for _ in range(2)] + ["a", "b", "c"]
        strata = [f"{number}|*|*" for number in rng.integers(0, 4, len(groups))]
        share = np.array([0.491, 0.49, 0.019])
        parts = assign_parts(groups, strata, np.zeros(len(groups)), share, seed)
        assert np.abs(np.bincount(parts, minlength=3) - share * len(groups)).max() <= 2


@given(faces=FACES, fractions=FRACTIONS, seed=st.integers(0, 2**32), random=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    faces: Faces, fractions: tuple[float, float, float], seed: int, random: Random
) -> None:
    order = list(range(len(faces)))
    random.shuffle(order)
    shuffled = faces.select(np.array(order))
    parts, placed = divide(faces, SEVEN, fractions, seed)
    again, placed_again = divide(shuffled, SEVEN, fractions, seed)
    assert placed == placed_again
    for part in PARTS:
        assert parts[part].table.equals(again[part].table)


@given(faces=FACES, fractions=FRACTIONS, seed=st.integers(0, 2**32), random=st.randoms(use_true_random=False))
def test_assignment_follows_the_group_and_not_its_place(
    faces: Faces, fractions: tuple[float, float, float], seed: int, random: Random
) -> None:
    groups = faces.table["group"].tolist()
    strata = name_strata(faces.table, SEVEN, min(fractions))
    # Ages that differ, or the order of equal single images would be the rows' own.
    ages = np.arange(len(groups), dtype=np.float64)
    parts = assign_parts(groups, strata, ages, fractions, seed)
    order = list(range(len(groups)))
    random.shuffle(order)
    again = assign_parts([groups[row] for row in order], [strata[row] for row in order], ages[order], fractions, seed)
    assert again.tolist() == parts[order].tolist()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1001, 2000))
def test_another_seed_gives_another_split_of_the_same_sizes(one: int, two: int) -> None:
    faces = make_faces([1] * 150 + [2] * 20, 0)
    first, second = (divide(faces, SEVEN, (0.6, 0.2, 0.2), seed)[0] for seed in (one, two))
    assert set(first["test"].table["path"]) != set(second["test"].table["path"])
    assert all(abs(len(first[part]) - len(second[part])) <= 4 for part in PARTS)


def test_labels_and_ages_are_shared_out_alike() -> None:
    faces = make_faces([1] * 4000 + [2] * 250 + [5] * 40, 1)
    parts, _ = divide(faces, SEVEN, (0.6, 0.2, 0.2), 7)
    for part in PARTS:
        for label in ("gender", "ethnicity"):
            whole, here = (table[label].value_counts(normalize=True) for table in (faces.table, parts[part].table))
            assert (whole - here).abs().max() < 0.005
        whole, here = (np.bincount(each.targets("age", SEVEN) + 1) / len(each) for each in (faces, parts[part]))
        assert np.abs(whole - here).max() < 0.005
        middle = [(each.table["age_low"] + each.table["age_high"]).mean() / 2 for each in (faces, parts[part])]
        assert abs(middle[0] - middle[1]) < 0.3


def test_every_stratum_of_single_images_gets_its_share() -> None:
    faces = make_faces([1] * 3000, 2)
    _, placed = divide(faces, SEVEN, (0.6, 0.2, 0.2), 7)
    counts = pd.Series(placed).str.rsplit("/", n=1, expand=True).value_counts().unstack(fill_value=0)
    share = pd.Series({"train": 0.6, "valid": 0.2, "test": 0.2})
    expected = counts.sum(axis=1).to_numpy()[:, None] * share[counts.columns].to_numpy()
    assert len(counts) > 20
    assert np.abs(counts.to_numpy() - expected).max() <= 2


def strata_of(cells: dict[tuple[int, str, str], int], smallest_fraction: float) -> dict[tuple[int, str, str], str]:
    rows = [cell for cell, count in cells.items() for _ in range(count)]
    table = pd.DataFrame(rows, columns=["age_low", "gender", "ethnicity"])
    names = name_strata(table.assign(age_high=table["age_low"]), SEVEN, smallest_fraction)
    found: dict[tuple[int, str, str], set[str]] = {}
    for row, name in zip(rows, names, strict=True):
        found.setdefault(row, set()).add(name)
    assert all(len(each) == 1 for each in found.values())
    return {row: each.pop() for row, each in found.items()}


def test_small_strata_merge_with_other_small_ones_level_by_level() -> None:
    # With a smallest fraction of 0.2 a stratum is small below 10 images.
    cells = {
        (20, "male", "white"): 10,
        (20, "male", "black"): 9,
        (20, "male", "asian"): 3,
        (20, "female", "white"): 30,
        (20, "female", "black"): 6,
        (35, "male", "indian"): 7,
        (35, "female", "indian"): 4,
        (70, "female", "others"): 2,
        (1, "male", ""): 1,
    }
    assert strata_of(cells, 0.2) == {
        (20, "male", "white"): "15-30|male|white",
        (20, "male", "black"): "15-30|male|*",
        (20, "male", "asian"): "15-30|male|*",
        (20, "female", "white"): "15-30|female|white",
        (20, "female", "black"): "*|*|*",
        (35, "male", "indian"): "31-40|*|*",
        (35, "female", "indian"): "31-40|*|*",
        (70, "female", "others"): "*|*|*",
        (1, "male", ""): "*|*|*",
    }


@pytest.mark.parametrize(("smallest_fraction", "least"), [(0.2, 10), (0.15, 14), (0.5, 4), (0.01, 200)])
def test_a_stratum_is_small_below_two_images_for_the_smallest_part(smallest_fraction: float, least: int) -> None:
    cells = {(20, "male", "white"): least, (20, "female", "white"): least - 1}
    assert strata_of(cells, smallest_fraction)[(20, "male", "white")] == "15-30|male|white"
    assert strata_of(cells, smallest_fraction)[(20, "female", "white")] != "15-30|female|white"


def test_unknown_labels_and_unlabelled_ages_have_strata_of_their_own() -> None:
    table = pd.DataFrame({"age_low": [20] * 8, "age_high": [35] * 8, "gender": [""] * 8, "ethnicity": [""] * 8})
    assert set(name_strata(table, SEVEN, 0.25)) == {"unlabelled|unknown|unknown"}


MILLION = """
import json, resource, time
import numpy as np, pandas as pd
from agecls.bins import Bins
from agecls.data.faces import Faces
from agecls.data.freeze import divide
from agecls.labels import ETHNICITIES, GENDERS

count, rng = 1_000_000, np.random.default_rng(0)
age = rng.integers(0, 117, count)
group = np.where(rng.random(count) < 0.2, rng.integers(0, 80_000, count), 100_000 + np.arange(count))
faces = Faces(pd.DataFrame({
    "path": [f"{number % 997}/{number}.jpg" for number in range(count)], "age_low": age, "age_high": age,
    "gender": rng.choice(GENDERS, count), "ethnicity": rng.choice(ETHNICITIES, count), "source": "csv",
    "sha256": [f"{number:064x}" for number in range(count)], "group": [f"g{number:016x}" for number in group],
}))
start = time.monotonic()
parts, _ = divide(faces, Bins.parse("7"), (0.6, 0.2, 0.2), 42)
print(json.dumps({
    "seconds": time.monotonic() - start,
    "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    "sizes": [len(part) for part in parts.values()],
}))
"""


def test_a_million_images_take_less_than_a_minute_and_four_gigabytes() -> None:
    done = subprocess.run([sys.executable, "-c", MILLION], capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    assert measured["sizes"] == [600_000, 200_000, 200_000]
    assert measured["seconds"] < 60
    assert measured["gigabytes"] < 4
