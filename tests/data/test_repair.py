"""Which images leave a part: always enough, never one too many, never one of test."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from agecls.data.duplicates import Ints, Links, components, equal_links
from agecls.data.repair import find_drops, find_kin, relate, restrict, without
from agecls.data.split import PARTS, Part


class Drawn(NamedTuple):
    """Some images: what is in their files, who bears which stamp, and which contents are near or of one person."""

    hashes: list[str]
    pixels: list[int]
    stamps: list[int]
    near: set[tuple[int, int]]
    persons: set[tuple[int, int]]
    placed: dict[Part, Ints]


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    """Up to fourteen images; files of one content have the same pixels; any image in no, one or several parts."""
    count = draw(st.integers(3, 14))
    contents = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    pictures = draw(st.lists(st.integers(0, 7), min_size=10, max_size=10))
    stamps = draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    pairs = st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda pair: pair[0] < pair[1])
    parts = draw(st.lists(st.lists(st.sampled_from(PARTS), max_size=2), min_size=count, max_size=count))
    placed: dict[Part, Ints] = {
        part: np.array([row for row, each in enumerate(parts) if part in each], dtype=np.int64) for part in PARTS
    }
    hashes = [f"{content:064d}" for content in contents]
    pixels = [pictures[content] for content in contents]
    near, persons = (draw(st.sets(pairs, max_size=6)) for _ in range(2))
    return Drawn(hashes, pixels, stamps, near, persons, placed)


def links_of(images: Drawn) -> list[Links]:
    """Links as ``find_links`` makes them: equal values chained, pairs between one image of each picture."""
    rows = np.arange(len(images.hashes))
    _, first = np.unique(np.asarray(images.hashes), return_index=True)
    pictures = [images.pixels[row] for row in first]
    bearer = {picture: int(first[pictures.index(picture)]) for picture in pictures}
    links = [equal_links("bytes", rows, images.hashes), equal_links("pixels", first, [str(each) for each in pictures])]
    for kind, pairs in (("near", images.near), ("person", images.persons)):
        known = sorted(pair for pair in pairs if set(pair) <= set(bearer))
        ends = np.array([[bearer[one], bearer[other]] for one, other in known], dtype=np.int64).reshape(-1, 2)
        links.append(Links(kind, ends[:, 0], ends[:, 1], np.linspace(0.8, 0.9, len(ends), dtype=np.float32)))
    return [*links, equal_links("stamp", rows, [str(each) for each in images.stamps])]


def are_linked(images: Drawn, one: int, other: int) -> bool:
    """Whether two images share something themselves."""
    pictures = tuple(sorted((images.pixels[one], images.pixels[other])))
    return (
        pictures[0] == pictures[1]
        or images.stamps[one] == images.stamps[other]
        or pictures in images.near
        or pictures in images.persons
    )


def are_kin(images: Drawn, one: int, other: int) -> bool:
    """Whether two images belong together: copies have each other's stamps."""
    reached, seen = {one}, set[int]()
    while reached - seen:
        row = (reached - seen).pop()
        seen.add(row)
        alike = zip(images.pixels, images.stamps, strict=True)
        reached |= {n for n, (p, s) in enumerate(alike) if p == images.pixels[row] or s == images.stamps[row]}
    return other in reached or are_linked(images, one, other)


def entries(placed: dict[Part, Ints]) -> set[tuple[Part, int]]:
    return {(part, int(row)) for part in PARTS for row in placed[part]}


def named(kin: pd.DataFrame) -> set[tuple[Part, int]]:
    return set(zip(kin["part"], kin["row"].tolist(), strict=True))


@settings(deadline=None, max_examples=60)
@given(images=drawn())
def test_kin_of_stronger_parts_are_exactly_those_that_belong_together(images: Drawn) -> None:
    kin = find_kin(relate(images.hashes, links_of(images)), images.placed)
    everyone = entries(images.placed)
    expected = {
        (part, row)
        for part, row in everyone
        if any(PARTS.index(p) > PARTS.index(part) and are_kin(images, row, other) for p, other in everyone)
    }
    assert named(kin) == expected
    for part, row, kind, other, other_part in kin.itertuples(index=False):
        assert (other_part, other) in everyone
        assert PARTS.index(other_part) > PARTS.index(part)
        assert are_kin(images, row, other)
        assert (kind == "file") == (row == other)


@settings(deadline=None, max_examples=60)
@given(images=drawn())
def test_a_repair_always_ends_clean(images: Drawn) -> None:
    kinships = relate(images.hashes, links_of(images))
    left = without(images.placed, find_drops(kinships, images.placed))
    rows = np.unique(np.concatenate(list(left.values())))
    links = restrict(kinships, images.hashes, rows)
    group = dict(zip(rows.tolist(), components(len(rows), links).tolist(), strict=True))
    parts_of: dict[int, set[Part]] = {}
    for part, row in entries(left):
        parts_of.setdefault(group[row], set()).add(part)
    assert all(len(parts) == 1 for parts in parts_of.values())
    assert not any(p != q and are_kin(images, a, b) for (p, a), (q, b) in combinations(entries(left), 2))


@settings(deadline=None, max_examples=60)
@given(images=drawn())
def test_a_repair_drops_no_more_than_it_must(images: Drawn) -> None:
    drops = find_drops(relate(images.hashes, links_of(images)), images.placed)
    left = entries(without(images.placed, drops))
    assert left | named(drops) == entries(images.placed)
    assert not left & named(drops)
    assert "test" not in set(drops["part"])
    for part, row in named(drops):
        stronger = [other for p, other in left if PARTS.index(p) > PARTS.index(part)]
        assert any(are_kin(images, row, other) for other in stronger), "it could have stayed"
    for part, _, _, other, other_part in drops.itertuples(index=False):
        assert (other_part, other) in left, f"dropped from {part} for an image that goes as well"


@settings(deadline=None, max_examples=60)
@given(images=drawn(), data=st.data())
def test_links_among_some_images_are_those_of_a_split_without_the_others(images: Drawn, data: st.DataObject) -> None:
    count = len(images.hashes)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1))), dtype=np.int64)
    links = restrict(relate(images.hashes, links_of(images)), images.hashes, rows)
    kin = [pair for pair in combinations(range(len(rows)), 2) if are_linked(images, rows[pair[0]], rows[pair[1]])]
    first, second = np.array(kin, dtype=np.int64).reshape(-1, 2).T
    expected = components(len(rows), [Links("any", first, second)])
    found = components(len(rows), links)
    assert len(set(zip(expected.tolist(), found.tolist(), strict=True))) == len(set(expected.tolist()))
    assert len(set(expected.tolist())) == len(set(found.tolist()))


@settings(deadline=None, max_examples=60)
@given(images=drawn())
def test_links_among_all_images_are_the_links_that_were_found(images: Drawn) -> None:
    links = links_of(images)
    again = restrict(relate(images.hashes, links), images.hashes, np.arange(len(images.hashes)))
    for one, other in zip(links, again, strict=True):
        assert one.kind == other.kind
        assert len(one) == len(other)
        if one.kind in ("bytes", "stamp"):
            assert one.first.tolist() == other.first.tolist()
            assert one.second.tolist() == other.second.tolist()


def test_only_the_image_between_goes() -> None:
    links = [Links("near", np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.9], dtype=np.float32))]
    placed: dict[Part, Ints] = {"train": np.array([0, 1]), "valid": np.array([3]), "test": np.array([2])}
    drops = find_drops(relate(["a", "b", "c", "d"], links), placed)
    assert drops.to_dict("records") == [{"part": "train", "row": 1, "kind": "near", "other": 2, "other_part": "test"}]


def test_what_is_kin_to_a_dropped_image_alone_stays() -> None:
    links = [Links("near", np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.9], dtype=np.float32))]
    placed: dict[Part, Ints] = {"train": np.array([0]), "valid": np.array([1]), "test": np.array([2])}
    assert named(find_drops(relate(["a", "b", "c"], links), placed)) == {("valid", 1)}


def test_a_copy_of_a_linked_image_goes_with_it() -> None:
    near = Links("near", np.array([0]), np.array([2]), np.array([0.9], dtype=np.float32))
    copies = Links("bytes", np.array([0]), np.array([1]))
    placed: dict[Part, Ints] = {"train": np.array([0, 1]), "valid": np.array([3]), "test": np.array([2])}
    assert named(find_drops(relate(["a", "a", "b", "c"], [copies, near]), placed)) == {("train", 0), ("train", 1)}


def test_a_copy_of_a_crop_goes_with_the_crop() -> None:
    copies = Links("bytes", np.array([0]), np.array([1]))
    stamp = Links("stamp", np.array([1]), np.array([2]))
    placed: dict[Part, Ints] = {"train": np.array([0]), "valid": np.array([1]), "test": np.array([2])}
    drops = find_drops(relate(["a", "a", "b"], [copies, stamp]), placed)
    assert named(drops) == {("train", 0), ("valid", 1)}
    assert set(drops["other"]) == {2}


def test_the_closest_is_named() -> None:
    ends = np.array([0, 0]), np.array([1, 2])
    for kind, scores, closest in (("near", [0.8, 0.9], 2), ("person", [0.1, 0.3], 1)):
        links = [Links(kind, *ends, np.array(scores, dtype=np.float32))]
        placed: dict[Part, Ints] = {"train": np.array([0]), "valid": np.array([], np.int64), "test": np.array([1, 2])}
        assert find_drops(relate(["a", "b", "c"], links), placed)["other"].tolist() == [closest]
