"""Writes the entries of an archive into a hidden folder, each checked before its file is made."""

import errno
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final

from agecls.data.archives.budget import Budget
from agecls.data.archives.kind import HEAD, is_archive
from agecls.data.archives.names import NameRefusedError, is_junk, place_of, printable
from agecls.data.archives.refusals import refused
from agecls.errors import StorageError

CHUNK: Final = 1 << 20
"""Bytes read and written at a time."""

_OLDEST: Final = 315532800.0
"""1980, the first year of DOS and of zip, in seconds; earlier times are left out as nonsense."""

_AHEAD: Final = 86_400.0
"""Seconds that a time may lie in the future, for clocks and zones that differ."""

_TWICE: Final = "two entries have one name"

_SHOW_EVERY: Final = CHUNK
"""Bytes of the archive between two steps of the progress bar."""


class Staging:
    """The hidden folder of one unpacking, and what was put there.

    Args:
        folder: exists and is empty; nobody else writes to it.
        budget: counts what is written.
        advance: takes the number of bytes of the archive that were read since it was last called.
    """

    def __init__(self, folder: Path, budget: Budget, advance: Callable[[int], None]) -> None:
        self.folder, self.budget = folder, budget
        self.files = self.bytes = 0
        self.skipped: list[tuple[str, str]] = []
        self.nested: list[str] = []
        self._advance = advance
        self._shown = 0
        self._made: set[PurePosixPath] = {PurePosixPath()}

    def place(self, name: str) -> PurePosixPath | None:
        """Where an entry goes; None for the top itself.

        Raises:
            StorageError: no entry of this name is unpacked.
        """
        try:
            return place_of(name, self.budget.limits)
        except NameRefusedError as error:
            raise self.refuse(name, str(error)) from None

    def foresee(self, files: Iterable[str]) -> None:
        """Look at the names of all files before the first is written, for libraries that find an entry by its name.

        Raises:
            StorageError: one is refused, or two are one.
        """
        seen: set[PurePosixPath | None] = set()
        for name in files:
            if (place := self.place(name)) in seen:
                raise self.refuse(name, _TWICE)
            seen.add(place)

    def refuse(self, name: str, why: str) -> StorageError:
        """The error that refuses the archive for one of its entries."""
        return refused(self.budget.archive, why, name)

    def add_folder(self, name: str) -> None:
        """Make a folder, and those it lies in.

        Raises:
            StorageError: it is refused, or a file stands there.
        """
        self.budget.count_entry()
        place = self.place(name)
        if place is not None and not is_junk(place):
            self._make(place, name)

    def add_file(self, name: str, modified: float | None) -> "Entry":
        """Begin a file; use what is returned in a ``with`` block and write to it.

        Args:
            name: as the archive has it.
            modified: seconds since 1970; None where unknown.

        Raises:
            StorageError: it is refused, or something of this name stands there.
        """
        self.budget.count_entry()
        place = self.place(name)
        if place is None:
            raise self.refuse(name, "a file has no name")
        if is_junk(place):
            self.skipped.append((str(place), "left behind by macOS"))
            return Entry(self, name, None, None)
        self._make(place.parent, name)
        try:
            # O_EXCL: never over another entry, also where the disk takes A.jpg and a.jpg for one.
            descriptor = os.open(self.folder / place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        except FileExistsError:
            raise self.refuse(name, _TWICE) from None
        except OSError as error:
            raise self.unwritable(name, error) from None
        self.files += 1
        return Entry(self, name, descriptor, modified)

    def show(self, position: int) -> None:
        """Move the progress bar to a position in the archive, in bytes."""
        if position - self._shown >= _SHOW_EVERY:
            self._advance(position - self._shown)
            self._shown = position

    def unwritable(self, name: str, error: OSError) -> StorageError:
        """The error for a disk that does not take a file."""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return StorageError(
            f"{printable(self.budget.archive.name)} is not unpacked: "
            + ("the disk is full" if full else f"a file cannot be written ({error.strerror})"),
            got=f"the entry '{printable(name)}'",
            remedy="make room, or choose a folder on a larger disk" if full else "choose a folder you may write to",
        )

    def _make(self, place: PurePosixPath, name: str) -> None:
        if place in self._made:
            return
        self._make(place.parent, name)
        path = self.folder / place
        try:
            path.mkdir()
            path.chmod(0o755)
        except FileExistsError:
            # Folders of two spellings are one where the disk does not tell A from a.
            if not path.is_dir():
                raise self.refuse(name, f"'{printable(str(place))}' is a file and a folder") from None
        except OSError as error:
            raise self.unwritable(name, error) from None
        self._made.add(place)


class Entry:
    """One file that is being written, or passed over.

    Attributes:
        written: bytes so far.
    """

    def __init__(self, staging: Staging, name: str, descriptor: int | None, modified: float | None) -> None:
        self.written = 0
        self._staging, self._name = staging, name
        self._descriptor, self._modified = descriptor, modified

    def write(self, piece: bytes) -> None:
        """Append bytes.

        Raises:
            StorageError: they are too many, or the disk is full.
        """
        staging = self._staging
        staging.budget.spend(len(piece))
        if self._descriptor is not None:
            if not self.written and is_archive(self._name, piece[:HEAD]):
                staging.nested.append(self._name)
            try:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                raise staging.unwritable(self._name, error) from None
            staging.bytes += len(piece)
        self.written += len(piece)

    def close(self) -> None:
        """End the file; its mode becomes 0644 and its time the archive's, where that can be one."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            # Some disks of the network have neither modes nor times to set.
            with suppress(OSError):
                os.fchmod(descriptor, 0o644)
                if self._modified is not None and _OLDEST <= self._modified <= time.time() + _AHEAD:
                    os.utime(descriptor, (self._modified, self._modified))
        finally:
            try:
                os.close(descriptor)
            except OSError as error:
                raise self._staging.unwritable(self._name, error) from None

    def __enter__(self) -> "Entry":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
