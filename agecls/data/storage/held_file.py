"""A file that is read by several at once, and stays the one it was while it is."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any, Final

from agecls.errors import StorageError

PIECE: Final = 1 << 20
"""Bytes handed on at a time."""


class HeldFile:
    """A file that stays the one it was while it goes out, though another one takes its name meanwhile.

    Raises:
        StorageError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.closed = path, False
        try:
            self._handle = os.open(path, os.O_RDONLY)
            self.size = os.fstat(self._handle).st_size
        except OSError as error:
            raise StorageError(f"cannot read {path}", got=error.strerror or "") from None

    def __enter__(self) -> "HeldFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        os.close(self._handle)

    def open(self) -> io.BufferedReader:
        """A reader of its own, from the first byte; several may read at once."""
        return io.BufferedReader(_Reader(self), PIECE)

    def sha1(self) -> str:
        """SHA-1 of the content, in hex."""
        with self.open() as reader:
            return hashlib.file_digest(reader, "sha1").hexdigest()

    def read_at(self, place: int, count: int) -> bytes:
        """Bytes from a place on, fewer at the end of the file."""
        if self.closed:
            raise OSError(f"{self.path} is closed")
        return os.pread(self._handle, count, place)


class _Reader(io.RawIOBase):
    def __init__(self, held: HeldFile) -> None:
        self._held, self._place = held, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        self._place = place + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._held.size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        piece = self._held.read_at(self._place, len(buffer))
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)
