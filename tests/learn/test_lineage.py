"""Lineage: what a run and its ancestors have seen, found again by content alone."""

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agecls.errors import LeakageError, RunError
from agecls.learn.ancestry import Seen
from agecls.learn.lineage import FILE, Lineage
from agecls.learn.meeting import Meeting, Share

LOOKS = np.random.default_rng(0).integers(0, 256, (200, 22), dtype=np.uint8)
NUMBERS = st.sets(st.integers(0, 40))


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def seen(*numbers: int) -> Seen:
    """Images without a look of their own: only their content can be recognised."""
    return [digest(number) for number in numbers], LOOKS[list(numbers)]


def meet(lineage: Lineage, *numbers: int) -> Meeting:
    return lineage.meet([digest(number) for number in numbers], np.zeros((len(numbers), 64, 64), np.uint8))


@given(fitted=NUMBERS, selected=NUMBERS, asked=st.lists(st.integers(0, 60)))
def test_meeting_is_membership(fitted: set[int], selected: set[int], asked: list[int]) -> None:
    met = meet(Lineage.of("run", "s", fitted=seen(*fitted), selected=seen(*selected)), *asked)
    assert met.exact.tolist() == [number in fitted for number in asked]
    assert met.selected.tolist() == [number in selected for number in asked]
    assert not met.near.any()
    assert met.count == sum(number in fitted for number in asked)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.tuples(NUMBERS, NUMBERS, st.sets(st.integers(0, 9))), min_size=1, max_size=6))
def test_merging_never_loses_what_an_ancestor_has_seen(steps: list[tuple[set[int], set[int], set[int]]]) -> None:
    """Each step is what a run is fitted on, what it is selected on, and which earlier runs are its parents."""
    lineages: list[Lineage] = []
    behind: list[set[int]] = []
    for number, (fitted, selected, chosen) in enumerate(steps):
        parents = [parent for parent in sorted(chosen) if parent < number]
        lineages.append(
            Lineage.of(
                f"run-{number}", "s", fitted=seen(*fitted), selected=seen(*selected), reason=f"reason {number}",
                parents=[lineages[parent] for parent in parents],
            )
        )  # fmt: skip
        behind.append({number}.union(*(behind[parent] for parent in parents)))
        met = meet(lineages[-1], *range(41))
        assert met.exact.tolist() == [any(n in steps[run][0] for run in behind[-1]) for n in range(41)]
        assert met.selected.tolist() == [any(n in steps[run][1] for run in behind[-1]) for n in range(41)]
        assert {(share.run, share.count) for share in met.fitters} == {
            (f"run-{run}", len(steps[run][0])) for run in behind[-1] if steps[run][0]
        }
        assert {(share.run, share.count, share.reason) for share in met.selectors} == {
            (f"run-{run}", len(steps[run][1]), f"reason {run}") for run in behind[-1] if steps[run][1]
        }


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=4))
def test_order_of_parents_and_of_images_changes_no_byte(parts: list[tuple[set[int], set[int]]]) -> None:
    parents = [
        # Another decoder may have seen the same files a little differently.
        Lineage.of(f"run-{n}", "s", fitted=(seen(*fitted)[0], seen(*fitted)[1] ^ np.uint8(n)), selected=seen(*selected))
        for n, (fitted, selected) in enumerate(parts)
    ]
    made = [
        Lineage.of("child", "s", fitted=seen(*order), parents=each)
        for each, order in itertools.product(itertools.permutations(parents), ([1, 2, 3], [3, 1, 2]))
    ]
    for other in made[1:]:
        assert other.ancestors == made[0].ancestors
        assert other.table == made[0].table
        for name in ("digests", "looks", "roles"):
            assert getattr(other, name).tobytes() == getattr(made[0], name).tobytes()


def test_an_image_of_many_runs_is_stored_once() -> None:
    parent = Lineage.of("parent", "s", fitted=seen(*range(30)))
    child = Lineage.of("child", "s", fitted=seen(*range(10, 40)), selected=seen(1, 2), parents=[parent, parent])
    assert len(child.digests) == len(child.looks) == len(child.roles) == 40
    assert [ancestor.name for ancestor in child.ancestors] == ["child", "parent"]


def test_runs_of_one_name_are_told_apart() -> None:
    first, second = (Lineage.of("age-7-1", split, fitted=seen(number)) for number, split in enumerate("st"))
    child = Lineage.of("child", "s", parents=[first, second])
    assert len(child.ancestors) == 3
    assert meet(child, 0, 1).fitters == (Share("age-7-1", 1), Share("age-7-1", 1))


def test_round_trip_keeps_hashes_that_end_in_zeros(tmp_path: Path) -> None:
    odd = ["00" * 32, "ab" + "00" * 31, "00" * 15 + "cd" + "00" * 16]
    parent = Lineage.of("parent", "t", selected=seen(7), reason="bin search")
    Lineage.of("run", "s", fitted=(odd, seen(1, 2, 3)[1]), parents=[parent]).save(tmp_path)
    loaded = Lineage.load(tmp_path)
    met = loaded.meet([*odd, digest(1), digest(7)], np.zeros((5, 64, 64), np.uint8))
    assert met.exact.tolist() == [True, True, True, False, False]
    assert met.selectors == (Share("parent", 1, "bin search"),)
    assert [(ancestor.name, ancestor.split) for ancestor in loaded.ancestors] == [("run", "s"), ("parent", "t")]


def test_refusal_counts_names_and_says_what_to_do() -> None:
    grandparent = Lineage.of("first", "s", fitted=seen(1, 2, 3, 4))
    lineage = Lineage.of("third", "u", parents=[Lineage.of("second", "t", fitted=seen(4), parents=[grandparent])])
    meet(lineage, 9).refuse(["a.jpg"], "score others")
    with pytest.raises(LeakageError, match="4 of 5") as refusal:
        meet(lineage, 1, 2, 9, 3, 4).refuse(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"], "score others")
    assert refusal.value.exit_code == 3
    assert "run first, an ancestor of third, was fitted on" in refusal.value.what
    assert "run second on 1" in refusal.value.what
    assert refusal.value.got == "a.jpg, b.jpg, d.jpg"
    assert "score others" in refusal.value.remedy
    assert "--allow-leakage" in refusal.value.remedy


def test_allowed_leak_is_noted_and_counted() -> None:
    notes: list[str] = []
    met = meet(Lineage.of("run", "s", fitted=seen(1, 2), selected=seen(3)), 1, 3, 9)
    assert met.settle(["a.jpg", "b.jpg", "c.jpg"], "no", allow_leakage=True, note=notes.append) == 1
    assert notes[0].startswith("LEAKED: 1 of 3 images")
    assert notes[0].endswith("a.jpg")
    assert notes[1].startswith("1 image to be scored helped to select run run (early stopping)")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"not a zip"])
def test_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RunError, match="lineage"):
        Lineage.load(tmp_path)


@settings(deadline=None)
@given(place=st.floats(0, 1), length=st.integers(1, 40), value=st.integers(0, 255))
def test_no_damage_loses_an_image_silently(
    place: float, length: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    Lineage.of("run", "s", fitted=seen(*range(200))).save(folder)
    whole = (folder / FILE).read_bytes()
    start = int(place * (len(whole) - 1))
    (folder / FILE).write_bytes(whole[:start] + bytes([value]) * length + whole[start + length :])
    try:
        loaded = Lineage.load(folder)
    except RunError:
        return
    assert meet(loaded, *range(200)).exact.all()


def told(text: object) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(text).encode(), np.uint8)


@pytest.mark.parametrize(
    "edit",
    [
        lambda arrays: arrays.update(digests=arrays["digests"][::-1]),
        lambda arrays: arrays.update(digests=arrays["digests"][:, :8]),
        lambda arrays: arrays.update(looks=arrays["looks"][:-1]),
        lambda arrays: arrays.update(roles=arrays["roles"] + np.uint16(9)),
        lambda arrays: arrays.update(roles=arrays["roles"].astype(np.int64)),
        lambda arrays: arrays.update(told=told({"ancestors": [], "combinations": []})),
        lambda arrays: arrays.update(told=told({"ancestors": 3, "combinations": None})),
        lambda arrays: arrays.update(told=told([])),
        lambda arrays: arrays.update(told=np.frombuffer(b"{", np.uint8)),
        lambda arrays: arrays.update(looks=np.array([{"code": 1}], dtype=object)),
        lambda arrays: arrays.pop("looks"),
    ],
)  # fmt: skip
def test_file_of_another_shape_is_refused(edit: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    Lineage.of("run", "s", fitted=seen(1, 2, 3)).save(tmp_path)
    with np.load(tmp_path / FILE) as content:
        arrays: dict[str, Any] = dict(content)
    np.savez(tmp_path / FILE, **arrays)
    assert Lineage.load(tmp_path).ancestors[0].name == "run"
    edit(arrays)
    np.savez(tmp_path / FILE, **arrays)
    with pytest.raises(RunError, match="lineage"):
        Lineage.load(tmp_path)


def test_a_million_images_take_less_than_40_megabytes(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    hashes = chance.bytes(32 * 1_000_000).hex()
    names = [hashes[start : start + 64] for start in range(0, len(hashes), 64)]
    looks = np.frombuffer(chance.bytes(22 * 1_000_000), np.uint8).reshape(-1, 22)
    some, rest = slice(0, 800_000), slice(800_000, None)
    parent = Lineage.of("parent", "s", fitted=(names[some], looks[some]), selected=(names[rest], looks[rest]))
    lineage = Lineage.of("run", "t", fitted=(names[500_000:900_000], looks[500_000:900_000]), parents=[parent])
    lineage.save(tmp_path)
    assert (tmp_path / FILE).stat().st_size < 40e6
    loaded = Lineage.load(tmp_path)
    met = loaded.meet([*names[799_990:800_010], digest(1)], np.zeros((21, 64, 64), np.uint8))
    assert met.exact.tolist() == [True] * 20 + [False]
    assert met.fitters == (Share("run", 20), Share("parent", 10))
