"""Folders that are not there yet, folders in memory, folders that nobody may write into."""

import os
from pathlib import Path

import pytest

from agecls.machine.memory import SHARED, can_write, existing, free_space, in_memory, shared_memory


def test_a_folder_to_be_made_is_judged_by_the_nearest_one(tmp_path: Path) -> None:
    assert existing(tmp_path / "a" / "b") == tmp_path
    assert free_space(tmp_path / "a" / "b") > 0
    assert can_write(tmp_path / "a" / "b")


def test_nothing_can_be_written_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not can_write(tmp_path / "file" / "folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_cannot_be_written_into(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert not can_write(tmp_path / "closed" / "new")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no /dev/shm")
def test_shared_memory_is_memory(tmp_path: Path) -> None:
    assert in_memory(SHARED / "not there yet")
    assert (shared_memory() or 0) > 0
    assert not in_memory(Path("/proc"))
