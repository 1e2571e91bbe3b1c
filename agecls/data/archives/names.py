"""Where an entry of an archive may go, judged by its name alone."""

import re
from pathlib import PurePosixPath
from typing import Final

from agecls.data.archives.limits import Limits

HIDDEN: Final = ".agecls-unpacking-"
"""Begins the name of the folder in which an archive is unpacked before it is moved to its place."""

NAME_BYTES: Final = 255
"""Longest name of a file on the file systems in use, in bytes."""

_DRIVE: Final = re.compile(r"[A-Za-z]:")
_BREAKING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters and separators of lines: they break tables and terminals."""

_UNDECODED: Final = re.compile("[\ud800-\udfff]")
"""Surrogates, which stand for bytes that could not be decoded."""


class NameRefusedError(ValueError):
    """A name that no file is made under; its text says why."""


def place_of(name: str, limits: Limits) -> PurePosixPath | None:
    """The relative path an entry is unpacked to; None for the top of the archive itself, such as ``./``.

    A backslash parts folders, as Windows writes them. ``.`` and empty parts are left out. Windows' reserved names, dots
    and spaces at the end of a name and names that differ in case alone are kept: they harm nobody here.

    Raises:
        NameRefusedError: it is absolute or leads upwards, it names a drive, it holds a control character, a break of
            line or bytes that are no UTF-8, it is too long or too deep, or it is one that unpacking itself uses.
    """
    if _UNDECODED.search(name):
        raise NameRefusedError("its name holds bytes that are no UTF-8")
    if _BREAKING.search(name):
        raise NameRefusedError("its name holds a control character or a break of line")
    slashed = name.replace("\\", "/")
    if slashed.startswith("/"):
        raise NameRefusedError("its name is absolute")
    parts = [part for part in slashed.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise NameRefusedError("its name leads out of the folder (..)")
    if parts and _DRIVE.match(parts[0]):
        raise NameRefusedError("its name begins with the letter of a drive")
    if parts and parts[0].startswith(HIDDEN):
        raise NameRefusedError("its name is one that unpacking uses itself")
    if len(parts) > limits.depth:
        raise NameRefusedError(f"it lies {len(parts)} folders deep, more than {limits.depth} (AGECLS_UNPACK_DEPTH)")
    if any(len(part.encode()) > NAME_BYTES for part in parts):
        raise NameRefusedError(f"its name is longer than {NAME_BYTES} bytes")
    if len("/".join(parts).encode()) > limits.path:
        raise NameRefusedError(f"its path is longer than {limits.path} bytes (AGECLS_UNPACK_PATH)")
    return PurePosixPath(*parts) if parts else None


def is_junk(place: PurePosixPath) -> bool:
    """Whether macOS left it there: ``__MACOSX``, ``._NAME``, ``.DS_Store``."""
    return place.parts[0] == "__MACOSX" or place.name == ".DS_Store" or any(p.startswith("._") for p in place.parts)


def printable(name: str) -> str:
    """A name that cannot confuse a terminal or a reader, in at most 200 characters."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape", "replace").decode() for each in name)
    return shown if len(shown) <= 200 else f"{shown[:160]}... ({len(name):,} characters)"
