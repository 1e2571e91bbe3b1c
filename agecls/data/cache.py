"""Decode once: something made of every image of a set, in one memory-mapped uint8 array.

Decoded images at one size, or the looks by which twins are found. An entry is keyed by the content hashes of its
images, what was made of them and the decoder, so a changed image or another size is another entry. Entries appear under
their name only when whole.
"""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from platformdirs import user_cache_path

from agecls.data.faces import Faces
from agecls.data.pixels import DECODER_VERSION, decode_square, read_whole
from agecls.errors import DataError, UsageError
from agecls.progress import progress

DEFAULT_LIMIT_GB: Final = 20.0
"""The cache drops its least recently used entries above so many gigabytes; ``AGECLS_CACHE_GB`` says otherwise."""

_IMAGES: Final = "images.npy"
_META: Final = "entry.json"


@dataclass(frozen=True)
class DecodedImages:
    """A decoded entry.

    Attributes:
        images: uint8, memory-mapped read-only: shape (U, size, size) for grey and (U, size, size, 3) for RGB images.
        hashes: sha256 of each image, sorted, length U.
    """

    images: npt.NDArray[np.uint8]
    hashes: npt.NDArray[np.str_]

    def rows(self, hashes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row in ``images`` of each content hash, shape as ``hashes``."""
        return np.searchsorted(self.hashes, np.asarray(hashes, dtype=self.hashes.dtype)).astype(np.int64)


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


def decode_faces(faces: Faces, roots: Mapping[str, Path], size: int, channels: int) -> DecodedImages:
    """Return the decoded images of ``faces``, decoding them now only if no whole entry exists.

    Args:
        faces: which images.
        roots: folder of each source.
        size: side in pixels.
        channels: 1 or 3.

    Raises:
        DataError: an image is missing, damaged, or not the one that was split; or the disk has no room.
    """
    shape = (size, size) if channels == 1 else (size, size, channels)
    return hold(
        faces, roots, Making(f"{size}px-{channels}", shape, lambda content: decode_square(content, size, channels))
    )


@dataclass(frozen=True)
class Making:
    """What an entry holds of each image.

    Attributes:
        kind: part of the entry's name, such as ``64px-1``.
        shape: of one image's share.
        make: from the bytes of a file to its share, uint8 of that shape; raises ``DataError`` where it cannot.
    """

    kind: str
    shape: tuple[int, ...]
    make: Callable[[bytes], npt.NDArray[np.uint8]]


def hold(faces: Faces, roots: Mapping[str, Path], making: Making) -> DecodedImages:
    """Return what ``making`` makes of ``faces``, making it now only if no whole entry exists.

    Raises:
        DataError: an image is missing, damaged, or not the one that was split; or the disk has no room.
    """
    unique = faces.table.drop_duplicates("sha256").sort_values("sha256")
    hashes = unique["sha256"].to_numpy(dtype="U64")

    def build(entry: Path) -> None:
        files = [roots[source] / path for source, path in zip(unique["source"], unique["path"], strict=True)]
        _build(entry, files, hashes, making)

    return DecodedImages(_obtain(hashes, making, build), hashes)


def keep(hashes: npt.NDArray[np.str_], values: npt.NDArray[np.uint8], making: Making) -> None:
    """Store what was made elsewhere, so that ``hold`` finds it; nothing happens where it is there already.

    Args:
        hashes: sha256 of each image, sorted, none twice, length U.
        values: uint8, shape (U, ...).
        making: what it is.
    """

    def build(entry: Path) -> None:
        _publish(entry, making, values.shape, lambda images: np.copyto(images, values))

    _obtain(hashes, making, build)


def _obtain(hashes: npt.NDArray[np.str_], making: Making, build: Callable[[Path], None]) -> npt.NDArray[np.uint8]:
    shape = (len(hashes), *making.shape)
    top = cache_folder()
    entry = top / _key(hashes, making.kind)
    found = _open(entry, shape)
    if found is None:
        _make_folder(top)
        with FileLock(f"{entry}.lock"):
            found = _open(entry, shape)
            if found is None:
                _make_room(top, int(np.prod(shape)))
                build(entry)
                found = _open(entry, shape)
    if found is None:
        raise DataError(f"the cache entry {entry} vanished while it was being opened", remedy="run the command again")
    return found


def list_entries() -> list[Entry]:
    """Whole entries of the cache, most recently used first."""
    entries = []
    for path in cache_folder().glob(f"v[0-9]*-*/{_META}"):
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            size = (path.parent / _IMAGES).stat().st_size
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


def _key(hashes: npt.NDArray[np.str_], kind: str) -> str:
    decoder = f"{DECODER_VERSION}:{version('pillow')}:{kind}:"
    digest = hashlib.sha256(decoder.encode() + "".join(hashes.tolist()).encode()).hexdigest()
    return f"v{DECODER_VERSION}-{kind}-{digest[:20]}"


def _open(entry: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
    """Map a whole entry and note that it was used; None where it is missing or damaged."""
    try:
        images: npt.NDArray[np.uint8] = np.load(entry / _IMAGES, mmap_mode="r", allow_pickle=False)
        os.utime(entry / _META)
    except (OSError, ValueError, EOFError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def _build(entry: Path, files: Sequence[Path], hashes: npt.NDArray[np.str_], making: Making) -> None:
    def fill_all(images: npt.NDArray[np.uint8]) -> None:
        def fill(row: int) -> str:
            try:
                content = read_whole(files[row])
                if hashlib.sha256(content).hexdigest() != hashes[row]:
                    return "is not the image that was split"
                images[row] = making.make(content)
            except DataError as error:
                return error.what
            return ""

        with ThreadPoolExecutor(os.cpu_count()) as pool, progress("decoding images", len(files)) as advance:
            wrong = []
            for file, problem in zip(files, pool.map(fill, range(len(files))), strict=True):
                advance(1)
                if problem:
                    wrong.append(f"{file} {problem}")
        if wrong:
            raise DataError(
                f"{len(wrong)} of {len(files)} images of the split cannot be used",
                got="; ".join(wrong[:3]),
                remedy="check --root; an image that changed since the split was frozen must be restored",
            )

    _publish(entry, making, (len(files), *making.shape), fill_all)


def _publish(
    entry: Path, making: Making, shape: tuple[int, ...], fill: Callable[[npt.NDArray[np.uint8]], None]
) -> None:
    """Fill an array beside the entry's place and give it its name when it is whole."""
    work = entry.parent / f".{entry.name}.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        images = np.lib.format.open_memmap(work / _IMAGES, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(work / _IMAGES)
        fill(images)
        images.flush()
        (work / _META).write_text(json.dumps({"count": shape[0], "kind": making.kind}), encoding="utf-8")
        shutil.rmtree(entry, ignore_errors=True)
        work.replace(entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _reserve(path: Path) -> None:
    """Claim the disk space of a mapped file now: running out while writing through a map would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _make_folder(top: Path) -> None:
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


def _make_room(top: Path, needed: int) -> None:
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
