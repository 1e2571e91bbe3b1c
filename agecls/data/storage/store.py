"""What a place that holds objects offers, whichever it is: list, read a range, write whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agecls.errors import StorageError


class PassingError(Exception):
    """Something that may go well when it is tried again: a reset, a time-out, an answer of 429 or 5xx, a short body.

    Args:
        what: what happened, in words that hold no secret.
        wait: seconds that the other side asked to be left alone; None where it did not say.
    """

    def __init__(self, what: str, wait: float | None = None) -> None:
        self.what, self.wait = what, wait
        super().__init__(what)


class ChangedError(StorageError):
    """The object has become another one since it was found; what was read of it is of no use."""


@dataclass(frozen=True)
class Stored:
    """One object of a store.

    Attributes:
        key: its name there, POSIX, without a leading slash.
        size: in bytes; None where the store does not say.
        version: whatever is another one when the content is: an etag, a file id, a time. Empty where there is none, and
            then what was begun is not gone on with.
        sha1: of the content in hex; empty where the store does not know it.
        sha256: likewise.
        md5: likewise.
        ranges: whether it can be read from the middle on.
    """

    key: str
    size: int | None
    version: str = ""
    sha1: str = ""
    sha256: str = ""
    md5: str = ""
    ranges: bool = True


class Store(Protocol):
    """A bucket, a server or a folder. Any thread may call any method."""

    @property
    def name(self) -> str:
        """What messages call it, such as ``b2://faces``; it holds no secret."""
        ...

    def find(self, key: str) -> Stored | None:
        """The object of this very name; None where there is none.

        Raises:
            StorageError: it cannot be asked for, and trying again will not help.
            PassingError: it may be asked for again.
        """
        ...

    def under(self, prefix: str) -> Iterator[Stored]:
        """Every object whose name begins with ``prefix``; raises what ``find`` does."""
        ...

    def read(self, stored: Stored, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes ``start <= i < stop`` of an object, piece by piece; to its end where ``stop`` is None.

        Raises:
            PassingError: the connection broke, or more or fewer bytes came.
            ChangedError: the object has become another one.
            StorageError: it is gone, or may not be read.
        """
        ...

    def write(self, source: Path, key: str, sha1: str) -> None:
        """Put a file there under a name, whole or not at all, with its SHA-1 in hex; raises what ``find`` does.

        Raises:
            StorageError: there is no room, it may not be written to, or it takes nothing.
        """
        ...
