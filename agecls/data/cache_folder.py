"""The folders of the cache: where they lie, what is in them, how large they may grow, how they are emptied."""

import json
import math
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from platformdirs import user_cache_path

from agecls.errors import UsageError
from agecls.machine.memory import SHARED

DEFAULT_LIMIT_GB: Final = 20.0
"""The cache drops its least recently used entries above so many gigabytes; ``AGECLS_CACHE_GB`` says otherwise."""

IMAGES: Final = "images.npy"
META: Final = "entry.json"


@dataclass(frozen=True)
class Entry:
    """What ``agecls cache`` lists."""

    folder: Path
    count: int
    kind: str
    bytes: int
    used: float


def cache_folder() -> Path:
    """``AGECLS_CACHE``, else the user's cache folder."""
    named = os.environ.get("AGECLS_CACHE")
    return Path(named) if named else user_cache_path("agecls")


def cache_places() -> list[Path]:
    """Folders that may hold entries, the one to be preferred first.

    ``AGECLS_CACHE`` alone where it is set. Else the user's cache folder and, for what the disk of that has no room for,
    folders of the user's own in the temporary folder (``TMPDIR``) and in shared memory.
    """
    main = cache_folder()
    if os.environ.get("AGECLS_CACHE") or not hasattr(os, "getuid"):
        return [main]
    try:
        tops = [Path(os.environ.get("TMPDIR") or tempfile.gettempdir()), SHARED]
    except FileNotFoundError:  # there is no temporary folder that may be written to
        tops = [SHARED]
    spare = [top / f"agecls-{os.getuid()}" for top in tops if top.is_dir()]
    return [main, *(folder for folder in dict.fromkeys(spare) if _is_own(folder))]


def _is_own(folder: Path) -> bool:
    """Whether nobody else can have put entries into a folder where everybody may make one; one to be made is."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def describe_place(folder: Path) -> str:
    """Why entries lie in a folder of the cache."""
    if os.environ.get("AGECLS_CACHE"):
        return "AGECLS_CACHE"
    main = cache_folder()
    return "the user's cache folder" if folder == main else f"there was no room in {main}"


def list_entries() -> list[Entry]:
    """Whole entries of the cache, most recently used first."""
    entries = []
    for path in (path for place in cache_places() for path in place.glob(f"v[0-9]*-*/{META}")):
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            size = (path.parent / IMAGES).stat().st_size
            entries.append(Entry(path.parent, meta["count"], meta["kind"], size, path.stat().st_mtime))
        except (OSError, ValueError, KeyError):
            continue
    return sorted(entries, key=lambda entry: -entry.used)


def clear_cache() -> int:
    """Delete every entry, every half-built one and the faces embedded for identity; return the bytes freed."""
    embedded = [file.stat().st_size for file in cache_folder().glob("identity-*/**/*") if file.is_file()]
    freed = sum(entry.bytes for entry in list_entries()) + sum(embedded)
    made = ("v[0-9]*-*", ".v[0-9]*-*", "identity-*")
    for path in [path for top in cache_places() for pattern in made for path in top.glob(pattern)]:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return freed


def make_folder(top: Path) -> None:
    """Make a folder of the cache, or one inside it.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        if top in cache_places()[1:]:  # where others have folders as well
            top.mkdir(mode=0o700, exist_ok=True)
        else:
            top.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the cache folder {top} cannot be made",
            got=error.strerror or "",
            remedy="name another one with AGECLS_CACHE",
        ) from None


def cache_limit() -> int:
    """Size above which old entries are dropped, in bytes.

    Raises:
        UsageError: ``AGECLS_CACHE_GB`` is no positive number.
    """
    text = os.environ.get("AGECLS_CACHE_GB", str(DEFAULT_LIMIT_GB))
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 < limit < math.inf:
        raise UsageError("AGECLS_CACHE_GB must be a number of gigabytes above 0", got=text)
    return int(limit * 1e9)


def crowded_out(needed: int) -> list[Entry]:
    """The least recently used entries that ``needed`` more bytes leave no room for below the limit."""
    held = list_entries()
    total, limit = sum(entry.bytes for entry in held), cache_limit()
    out = []
    for entry in reversed(held):
        if total + needed <= limit:
            break
        out.append(entry)
        total -= entry.bytes
    return out


def make_room(top: Path, needed: int) -> None:
    """Drop what ``needed`` more bytes crowd out, and what a killed process has left half built in a folder."""
    for entry in crowded_out(needed):
        shutil.rmtree(entry.folder, ignore_errors=True)
    for half in top.glob(".v[0-9]*"):
        if time.time() - half.stat().st_mtime > 86400:
            shutil.rmtree(half, ignore_errors=True)


def describe_entries() -> list[dict[str, Any]]:
    """The entries as plain values, for ``--json`` and the screen."""
    return [{**entry.__dict__, "folder": entry.folder.name} for entry in list_entries()]
