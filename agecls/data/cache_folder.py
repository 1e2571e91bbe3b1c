"""The folder of the cache: where it lies, what is in it, how large it may grow, how it is emptied."""

import json
import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from platformdirs import user_cache_path

from agecls.errors import DataError, UsageError

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


def list_entries() -> list[Entry]:
    """Whole entries of the cache, most recently used first."""
    entries = []
    for path in cache_folder().glob(f"v[0-9]*-*/{META}"):
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            size = (path.parent / IMAGES).stat().st_size
            entries.append(Entry(path.parent, meta["count"], meta["kind"], size, path.stat().st_mtime))
        except (OSError, ValueError, KeyError):
            continue
    return sorted(entries, key=lambda entry: -entry.used)


def clear_cache() -> int:
    """Delete every entry, every half-built one and the faces embedded for identity; return the bytes freed."""
    top = cache_folder()
    embedded = [file.stat().st_size for file in top.glob("identity-*/**/*") if file.is_file()]
    freed = sum(entry.bytes for entry in list_entries()) + sum(embedded)
    for path in [*top.glob("v[0-9]*-*"), *top.glob(".v[0-9]*-*"), *top.glob("identity-*")]:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return freed


def make_folder(top: Path) -> None:
    """Make the cache folder, or one inside it.

    Raises:
        UsageError: it cannot be made.
    """
    try:
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


def make_room(top: Path, needed: int) -> None:
    """Drop least recently used entries until ``needed`` bytes fit below the limit; refuse what the disk cannot hold."""
    held = list_entries()
    total = sum(entry.bytes for entry in held)
    limit = cache_limit()
    for entry in sorted(held, key=lambda each: each.used):
        if total + needed <= limit:
            break
        shutil.rmtree(entry.folder, ignore_errors=True)
        total -= entry.bytes
    for half in top.glob(".v[0-9]*"):
        if time.time() - half.stat().st_mtime > 86400:
            shutil.rmtree(half, ignore_errors=True)
    free = shutil.disk_usage(top).free
    if needed > free * 0.95:
        raise DataError(
            f"the decoded images need {needed / 1e9:.1f} GB and the disk of {top} has {free / 1e9:.1f} GB",
            remedy="name a folder on a larger disk with AGECLS_CACHE, or train at a smaller network.image_size",
        )


def describe_entries() -> list[dict[str, Any]]:
    """The entries as plain values, for ``--json`` and the screen."""
    return [{**entry.__dict__, "folder": entry.folder.name} for entry in list_entries()]
