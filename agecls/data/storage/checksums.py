"""What a file must hash to, who says so, and the hashing of it."""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from agecls.data.storage.store import Stored

Algorithm = Literal["sha256", "sha1", "md5"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)

SUFFIX: Final = ".sha256"
"""What the file beside an object is called that says its SHA-256."""

LONGEST_LIST: Final = 1 << 20
"""Bytes of such a file that are read at most."""

BLOCK: Final = 1 << 20
"""Bytes hashed at a time. hashlib lets other threads run meanwhile, and a block this size stays in the cache."""

_LINE: Final = re.compile(r"\\?([0-9a-fA-F]{64})(?:[ \t]+\*?(.*))?")
_BSD_LINE: Final = re.compile(r"SHA256 ?\((.*)\) ?= ?([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Checksum:
    """What a file must hash to.

    Attributes:
        algorithm: how it is hashed.
        value: in lower-case hex.
        said_by: who says so, in words for a message, such as ``--sha256``.
    """

    algorithm: Algorithm
    value: str
    said_by: str


def known_checksums(stored: Stored, store: str) -> list[Checksum]:
    """What the store itself knows of an object's content."""
    values: dict[Algorithm, str] = {"sha256": stored.sha256, "sha1": stored.sha1, "md5": stored.md5}
    return [Checksum(each, value.lower(), store) for each, value in values.items() if value]


def read_list(text: str, name: str) -> str:
    """The SHA-256 that a ``.sha256`` file gives a file; empty where it gives none.

    Args:
        text: lines as ``sha256sum`` writes them, with or without ``--tag``; or one checksum and nothing else.
        name: of the file, without folders.
    """
    lines = text.lstrip("\ufeff").splitlines()
    alone = [each for each in lines if each.strip()]
    for line in lines:
        if found := _LINE.fullmatch(line.strip()):
            value, named = found[1], found[2]
        elif found := _BSD_LINE.fullmatch(line.strip()):
            named, value = found[1], found[2]
        else:
            continue
        if (named and re.split(r"[/\\]", named)[-1] == name) or (len(alone) == 1 and not named):
            return value.lower()
    return ""


class Hasher:
    """Hashes a file by several algorithms as it grows, in order.

    Args:
        algorithms: to hash by.
        size: of the file in bytes, as far as it is known.
    """

    def __init__(self, algorithms: Iterable[Algorithm], size: int | None) -> None:
        self._sums = {each: hashlib.new(each, usedforsecurity=False) for each in algorithms}
        self._block = memoryview(bytearray(BLOCK if size is None else min(BLOCK, max(1, size))))
        self.position = 0
        """Bytes hashed so far."""

    def hash_to(self, file: int, end: int) -> int:
        """Hash on from the present position to ``end``, or to where the file ends; return the bytes that were hashed.

        Args:
            file: descriptor of the file.
            end: position in bytes.
        """
        begun = self.position
        while self.position < end:
            read = os.preadv(file, [self._block[: min(len(self._block), end - self.position)]], self.position)
            if not read:
                break
            for each in self._sums.values():
                each.update(self._block[:read])
            self.position += read
        return self.position - begun

    @property
    def values(self) -> dict[Algorithm, str]:
        """The checksums of what was hashed, in hex."""
        return {algorithm: each.hexdigest() for algorithm, each in self._sums.items()}


def algorithms_for(expected: Iterable[Checksum]) -> list[Algorithm]:
    """What to hash by: all that is asked for, and SHA-256 where nothing strong is."""
    asked = {each.algorithm for each in expected}
    if not asked & {"sha256", "sha1"}:
        asked.add("sha256")
    return [each for each in ALGORITHMS if each in asked]


def hash_file(path: Path, algorithms: Iterable[Algorithm]) -> dict[Algorithm, str]:
    """The checksums of a whole file, in hex.

    Raises:
        OSError: it cannot be read.
    """
    hasher = Hasher(algorithms, path.stat().st_size)
    with path.open("rb", buffering=0) as file:
        while hasher.hash_to(file.fileno(), hasher.position + BLOCK):
            pass
    return hasher.values


def first_wrong(expected: Iterable[Checksum], values: dict[Algorithm, str]) -> Checksum | None:
    """The first checksum that is not met; None where all are."""
    return next((each for each in expected if values.get(each.algorithm) != each.value), None)
