"""Lineage: what a run has seen, found again by content alone."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agecls.errors import LeakageError, RunError
from agecls.learn.lineage import FILE, Lineage


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@given(fitted=st.sets(st.integers(0, 60), min_size=1), asked=st.lists(st.integers(0, 60)))
def test_seen_is_membership(fitted: set[int], asked: list[int]) -> None:
    lineage = Lineage.of([digest(number) for number in fitted], [])
    assert lineage.seen([digest(number) for number in asked]).tolist() == [number in fitted for number in asked]


def test_round_trip_keeps_hashes_that_end_in_zeros(tmp_path: Path) -> None:
    odd = ["00" * 32, "ab" + "00" * 31, "00" * 31 + "cd"]
    Lineage.of(odd, odd[:1]).save(tmp_path)
    loaded = Lineage.load(tmp_path)
    assert loaded.seen(odd).all()
    assert not loaded.seen([digest(1)]).any()
    assert (len(loaded.fitted), len(loaded.selected)) == (3, 1)


def test_refusal_counts_and_names() -> None:
    lineage = Lineage.of([digest(1), digest(2)], [])
    lineage.refuse_fitted("age-7-1", ["a.jpg"], [digest(3)])
    with pytest.raises(LeakageError, match="2 of 3") as refusal:
        lineage.refuse_fitted("age-7-1", ["a.jpg", "b.jpg", "c.jpg"], [digest(1), digest(3), digest(2)])
    assert refusal.value.exit_code == 3
    assert refusal.value.got == "a.jpg, c.jpg"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"not a zip"])
def test_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RunError, match="lineage"):
        Lineage.load(tmp_path)


def test_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / FILE, fitted=np.zeros((3, 8), np.uint8), selected=np.zeros((3, 32), np.uint8))
    with pytest.raises(RunError, match="lineage"):
        Lineage.load(tmp_path)


def test_file_with_pickles_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / FILE, fitted=np.array([{"code": 1}], dtype=object), selected=np.zeros((0, 32), np.uint8))
    with pytest.raises(RunError, match="lineage"):
        Lineage.load(tmp_path)
