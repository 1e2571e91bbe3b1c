"""Groups: what belongs together, and names that do not depend on the order of the rows."""

from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agecls.data.duplicates import Links, equal_links, find_links, group_names, refuse_chaining
from agecls.data.looks import LOOK_BYTES, Looks
from agecls.errors import DataError

HASHES = [f"{number:02x}" * 32 for number in range(100)]


def looks_of(count: int) -> Looks:
    """Looks of that many images that have nothing in common."""
    packed = np.random.default_rng(1).integers(0, 256, (count, LOOK_BYTES), dtype=np.uint8)
    return Looks(np.array(HASHES[:count]), packed)


LOOKS = looks_of(100)


def table(rows: list[tuple[int, tuple[str, ...]]]) -> pd.DataFrame:
    return pd.DataFrame({"sha256": [HASHES[number] for number, _ in rows], "keys": [keys for _, keys in rows]})


def groups(rows: list[tuple[int, tuple[str, ...]]]) -> list[str]:
    frame = table(rows)
    return group_names(frame["sha256"].tolist(), find_links(frame, LOOKS))


def test_equal_bytes_and_equal_keys_make_a_group_and_nothing_else_does() -> None:
    names = groups([(1, ("stamp:a",)), (1, ()), (2, ("stamp:b",)), (3, ("stamp:b",)), (4, ("stamp:c",)), (5, ())])
    assert names[0] == names[1]
    assert names[2] == names[3]
    assert len(set(names)) == 4


def test_chains_are_followed_to_their_end() -> None:
    chain = [
        (1, ("stamp:a",)),
        (2, ("stamp:a",)),
        (2, ("stamp:b",)),
        (3, ("stamp:b", "identity:x")),
        (4, ("identity:x",)),
    ]
    assert len(set(groups(chain))) == 1


def test_keys_of_different_kinds_never_meet() -> None:
    assert len(set(groups([(1, ("stamp:7",)), (2, ("identity:7",))]))) == 2


def test_a_group_is_named_after_its_smallest_hash() -> None:
    assert groups([(9, ("stamp:a",)), (3, ("stamp:a",)), (5, ())]) == [f"g{HASHES[n][:16]}" for n in (3, 3, 5)]


def test_links_are_counted_by_reason() -> None:
    rows = table([(1, ("stamp:a",)), (1, ("stamp:a",)), (1, ("stamp:b",)), (2, ("identity:z",))])
    counts = {link.kind: len(link) for link in find_links(rows, LOOKS)}
    assert counts == {"bytes": 2, "pixels": 0, "near": 0, "identity": 0, "stamp": 1}


def test_links_refer_to_the_rows_given() -> None:
    links = equal_links("stamp", np.array([10, 20, 30]), ["a", "b", "a"])
    assert (links.first.tolist(), links.second.tolist()) == ([10], [30])


def test_rows_without_links_are_groups_of_their_own() -> None:
    assert group_names(["aa" * 32, "bb" * 32], []) == ["g" + "a" * 16, "g" + "b" * 16]


KEYS = st.lists(st.sampled_from([f"{kind}:{name}" for kind in ("stamp", "identity") for name in range(12)]), max_size=2)
ROWS = st.lists(st.tuples(st.integers(0, 15), KEYS.map(tuple)), min_size=1, max_size=30)


@given(rows=ROWS, random=st.randoms(use_true_random=False))
def test_groups_are_the_connected_components_in_any_order(
    rows: list[tuple[int, tuple[str, ...]]], random: Random
) -> None:
    names = groups(rows)
    component = list(range(len(rows)))
    for _ in rows:
        for one, (hash_one, keys_one) in enumerate(rows):
            for two, (hash_two, keys_two) in enumerate(rows[:one]):
                if hash_one == hash_two or set(keys_one) & set(keys_two):
                    component[one] = component[two] = min(component[one], component[two])
    smallest = [min(HASHES[rows[other][0]] for other, c in enumerate(component) if c == own) for own in component]
    assert names == [f"g{least[:16]}" for least in smallest]
    order = list(range(len(rows)))
    random.shuffle(order)
    assert groups([rows[number] for number in order]) == [names[number] for number in order]


def test_equal_pixels_and_near_twins_are_linked_across_other_bytes() -> None:
    looks = looks_of(4)
    looks.packed[1, -32:] = looks.packed[0, -32:]  # other bytes, the same decoded pixels
    looks.packed[3, :-32] = looks.packed[2, :-32] // 2 + 60  # darker, flatter, the same photograph
    links = find_links(table([(number, ()) for number in (3, 0, 2, 1)]), looks)
    pairs = {link.kind: [sorted(pair) for pair in zip(link.first, link.second, strict=True)] for link in links}
    assert pairs == {"bytes": [], "pixels": [[1, 3]], "near": [[0, 2]]}
    (near,) = (link for link in links if link.kind == "near")
    assert near.score is not None
    assert near.score[0] > 0.99


def chain(length: int, kind: str) -> Links:
    return Links(kind, np.arange(length - 1), np.arange(1, length))


@pytest.mark.parametrize(("length", "stops"), [(10, False), (20, False), (21, True), (300, True)])
def test_a_chain_above_one_per_cent_stops_the_split(length: int, stops: bool) -> None:
    rows = pd.DataFrame({"path": [f"{number}.jpg" for number in range(2000)]})
    if not stops:
        refuse_chaining(rows, [chain(length, "near")], 0.01)
        return
    with pytest.raises(DataError, match=f"{length} of 2,000 images chain into one group") as refused:
        refuse_chaining(rows, [chain(length, "near")], 0.01)
    assert f"links by {length - 1} near" in refused.value.got
    remedy = refused.value.remedy
    assert "--largest-group" in remedy
    refuse_chaining(rows, [chain(length, "near")], float(remedy.rpartition(" ")[2]))


def test_an_identity_that_the_labels_declare_may_be_large() -> None:
    rows = pd.DataFrame({"path": [f"{number}.jpg" for number in range(2000)]})
    refuse_chaining(rows, [chain(300, "identity")], 0.01)
    with pytest.raises(DataError):
        refuse_chaining(rows, [chain(300, "identity"), chain(30, "person")], 0.01)
