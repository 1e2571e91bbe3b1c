"""Memory and disks: how much this process may fill."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from agecls.machine.limits import Limits, read_limits

SHARED: Final = Path("/dev/shm")  # noqa: S108 - the system's own, not a temporary file
"""Memory as a folder, through which loader workers hand over their batches; containers have 64 MB unless told."""


@dataclass(frozen=True)
class Memory:
    """Bytes of main memory.

    Attributes:
        machine: of the whole machine.
        limit: what this process and its container may use, at most ``machine``.
        free: what is left of it.
    """

    machine: int
    limit: int
    free: int


def find_memory(limits: Limits | None = None) -> Memory:
    """Memory of the machine, within what the control groups allow."""
    limits = read_limits() if limits is None else limits
    whole = psutil.virtual_memory()
    limit = min(whole.total, limits.memory or whole.total)
    left = whole.available if limits.memory is None else max(0, limits.memory - (limits.used or 0))
    return Memory(whole.total, limit, min(whole.available, left))


def existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    path = path.absolute()
    # What lies in a folder that may not be looked into is not there for this process.
    return next(each for each in (path, *path.parents) if os.access(each, os.F_OK))


def free_space(path: Path) -> int:
    """Bytes that may be written at a path, whether or not it is there yet."""
    return shutil.disk_usage(existing(path)).free


def can_write(path: Path) -> bool:
    """Whether this process may write into a folder, or make it."""
    here = existing(path)
    return here.is_dir() and os.access(here, os.W_OK | os.X_OK)


def in_memory(path: Path) -> bool:
    """Whether a path lies on a disk that is memory, so that what is written there takes it away."""
    here = existing(path).resolve()
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    nearest = next((mounts[each] for each in (here, *here.parents) if each in mounts), "")
    return nearest in ("tmpfs", "ramfs")


def shared_memory() -> int | None:
    """Bytes free in ``/dev/shm``; None where the system has none."""
    return free_space(SHARED) if SHARED.is_dir() else None
