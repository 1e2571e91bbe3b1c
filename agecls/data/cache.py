"""Decode once: something made of every image of a set, in one memory-mapped uint8 array.

Decoded images at one size, or the looks by which twins are found. An entry is keyed by the content hashes of its
images, what was made of them and the decoder, so a changed image or another size is another entry. Entries appear under
their name only when whole.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from agecls.data.cache_folder import IMAGES, META, cache_places, make_folder, make_room
from agecls.data.cache_place import find_place
from agecls.data.faces import Faces
from agecls.data.pixels import DECODER_VERSION, decode_square, read_whole
from agecls.errors import DataError
from agecls.machine.processor import usable_cores
from agecls.progress import progress


@dataclass(frozen=True)
class DecodedImages:
    """A decoded entry.

    Attributes:
        images: uint8, memory-mapped read-only: shape (U, size, size) for grey and (U, size, size, 3) for RGB images.
        hashes: sha256 of each image, sorted, length U.
    """

    images: npt.NDArray[np.uint8]
    hashes: npt.NDArray[np.str_]

    @property
    def place(self) -> Path | None:
        """Folder of the cache that the entry lies in; None where the images are in no file."""
        return Path(str(self.images.filename)).parents[1] if isinstance(self.images, np.memmap) else None

    def rows(self, hashes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row in ``images`` of each content hash, shape as ``hashes``."""
        return np.searchsorted(self.hashes, np.asarray(hashes, dtype=self.hashes.dtype)).astype(np.int64)


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
    name = _key(hashes, making.kind)
    found = _find(name, shape)
    if found is None:
        needed = int(np.prod(shape, dtype=object))
        entry = find_place(needed) / name
        make_folder(entry.parent)
        with FileLock(f"{entry}.lock"):
            found = _find(name, shape)
            if found is None:
                make_room(entry.parent, needed)
                build(entry)
                found = _open(entry, shape)
    if found is None:
        raise DataError(f"the cache entry {name} vanished while it was being opened", remedy="run the command again")
    return found


def _key(hashes: npt.NDArray[np.str_], kind: str) -> str:
    decoder = f"{DECODER_VERSION}:{version('pillow')}:{kind}:"
    digest = hashlib.sha256(decoder.encode() + "".join(hashes.tolist()).encode()).hexdigest()
    return f"v{DECODER_VERSION}-{kind}-{digest[:20]}"


def _find(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
    """Map an entry, wherever it lies; None where there is none."""
    return next((found for place in cache_places() if (found := _open(place / name, shape)) is not None), None)


def _open(entry: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
    """Map a whole entry and note that it was used; None where it is missing or damaged."""
    try:
        images: npt.NDArray[np.uint8] = np.load(entry / IMAGES, mmap_mode="r", allow_pickle=False)
        os.utime(entry / META)
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

        with ThreadPoolExecutor(usable_cores()) as pool, progress("decoding images", len(files)) as advance:
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
        images = np.lib.format.open_memmap(work / IMAGES, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(work / IMAGES)
        fill(images)
        images.flush()
        (work / META).write_text(json.dumps({"count": shape[0], "kind": making.kind}), encoding="utf-8")
        shutil.rmtree(entry, ignore_errors=True)
        work.replace(entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _reserve(path: Path) -> None:
    """Claim the disk space of a mapped file now: running out while writing through a map would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
