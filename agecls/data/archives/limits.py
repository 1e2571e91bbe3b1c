"""How much an archive may unpack to, so that a small file cannot fill a disk."""

import math
import os
from dataclasses import dataclass
from typing import Final

from agecls.errors import UsageError

VARIABLES: Final = {
    "files": "AGECLS_UNPACK_FILES",
    "bytes": "AGECLS_UNPACK_BYTES",
    "ratio": "AGECLS_UNPACK_RATIO",
    "depth": "AGECLS_UNPACK_DEPTH",
    "path": "AGECLS_UNPACK_PATH",
}
"""Environment variables that say otherwise than the defaults."""


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to; the defaults leave room above a million faces in 200 GB."""

    files: int = 5_000_000
    """Entries at most: files, folders and what is left out."""

    bytes: int = 1_000_000_000_000
    """Bytes at most, of all files together."""

    ratio: float = 200.0
    """Bytes out for each byte of the archive at most; photographs reach 1.1, tables 20."""

    floor: int = 100_000_000
    """Bytes out up to which the ratio is not asked: nobody is harmed by them."""

    depth: int = 32
    """Folders within one another at most, the file's own name counted."""

    path: int = 1_024
    """Length of a path within the archive at most, in bytes of UTF-8; 255 for each name in it."""

    @classmethod
    def from_environment(cls) -> "Limits":
        """The defaults, but for what ``AGECLS_UNPACK_FILES``, ``_BYTES``, ``_RATIO``, ``_DEPTH`` and ``_PATH`` say.

        Raises:
            UsageError: one of them is no number above 0.
        """
        given = {field: _number(name) for field, name in VARIABLES.items() if os.environ.get(name)}
        return cls(**{field: value if field == "ratio" else int(value) for field, value in given.items()})  # type: ignore[arg-type]


def _number(variable: str) -> float:
    text = os.environ[variable]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 1 <= value < math.inf:
        raise UsageError(f"{variable} must be a number of 1 or more", got=text)
    return value
