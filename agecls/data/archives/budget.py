"""What an archive has unpacked to so far, held against the limits and the disk."""

import os
import shutil
from pathlib import Path
from typing import Final

from agecls.data.archives.limits import VARIABLES, Limits
from agecls.data.archives.refusals import refused
from agecls.errors import StorageError

RESERVE: Final = 64_000_000
"""Bytes that stay free on the disk: what else runs on the machine needs some."""

_LOOK_EVERY: Final = 64_000_000
"""Bytes between two looks at the disk."""


class Budget:
    """Counts entries and bytes as they are written, whatever the headers claim.

    Args:
        archive: its size is what the ratio refers to.
        into: a folder on the disk that is written to.
        limits: where to stop.
    """

    def __init__(self, archive: Path, into: Path, limits: Limits) -> None:
        self.archive, self.into, self.limits = archive, into, limits
        self.entries = self.bytes = 0
        self._packed = archive.stat().st_size
        self._looked_at = 0

    def expect(self, entries: int, size: int) -> None:
        """Hold what the headers claim against the limits and the room on the disk, before anything is written.

        Raises:
            StorageError: it is too much.
        """
        self._check(entries, size)
        disk = os.statvfs(self.into)
        # File systems that make room for files as they need it report 0 of 0.
        if disk.f_files and entries > disk.f_favail:
            raise self._full(f"{entries:,} files, and the disk takes {disk.f_favail:,} more")
        free = shutil.disk_usage(self.into).free
        if size + RESERVE > free:
            raise self._full(f"{size / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} GB")

    def count_entry(self) -> None:
        """One more entry.

        Raises:
            StorageError: it is one too many.
        """
        self.entries += 1
        if self.entries > self.limits.files:
            self._check(self.entries, 0)

    def spend(self, count: int) -> None:
        """So many more bytes have come out of the archive and are about to be written, or passed over.

        Raises:
            StorageError: they are too many, too many for so small an archive, or the disk is full.
        """
        self.bytes += count
        self._check(0, self.bytes)
        if self.bytes - self._looked_at >= _LOOK_EVERY:
            self._looked_at = self.bytes
            if (free := shutil.disk_usage(self.into).free) < RESERVE:
                raise self._full(f"{self.bytes / 1e9:.2f} GB so far, and the disk has {free / 1e9:.2f} GB left")

    def _check(self, entries: int, size: int) -> None:
        limits = self.limits
        if entries > limits.files:
            raise self._too_much(f"more than {limits.files:,} entries", "files")
        if size > limits.bytes:
            raise self._too_much(f"more than {limits.bytes / 1e9:,.3f} GB", "bytes")
        if size > limits.floor and size > limits.ratio * self._packed:
            raise self._too_much(f"more than {limits.ratio:g} times its own {self._packed:,} bytes", "ratio")

    def _too_much(self, what: str, field: str) -> StorageError:
        remedy = f"if you trust it, allow more with the environment variable {VARIABLES[field]}"
        return refused(self.archive, f"it unpacks to {what}", remedy=remedy)

    def _full(self, what: str) -> StorageError:
        remedy = "make room, or choose a folder on a larger disk"
        return refused(self.archive, f"there is no room in {self.into} (it takes {what})", remedy=remedy)
