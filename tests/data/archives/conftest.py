"""Disks in memory, where they can be mounted."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[str]:
    """Mount a disk in memory on a new folder and yield an empty text, or why that is not possible."""
    folder.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
        failed = done.stderr.decode().strip() if done.returncode else ""
    except FileNotFoundError:
        failed = "no mount command"
    try:
        yield failed
    finally:
        if not failed:
            subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte; skips where none can be mounted."""
    with mounted(tmp_path / "disk", "1m") as failed:
        if failed:
            pytest.skip(f"no small disk can be mounted: {failed}")
        yield tmp_path / "disk"


@pytest.fixture(scope="session")
def quick_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for very many files, in memory where that can be: a disk in use takes minutes to delete them."""
    folder = tmp_path_factory.mktemp("quick") / "disk"
    with mounted(folder, "400m"):
        yield folder
