"""Embeddings of many faces: made by several processes, kept by content hash once made.

Kept in shards that are written whole every few seconds under the hash of their own content. So a killed process loses
seconds, a damaged shard is known and made again, and two processes cannot get in each other's way.
"""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from agecls.data.cache_folder import cache_folder, make_folder
from agecls.data.embedding import LENGTH, Floats, embed, embedding_version, require_models
from agecls.data.pixels import read_whole
from agecls.errors import DataError
from agecls.files import write_whole
from agecls.progress import progress

SHARD_SECONDS: Final = 5.0
"""Work that a killed process loses at most."""

UNREADABLE: Final = -1
NO_FACE: Final = 0
FACE: Final = 1

_SHARD: Final = np.dtype([("sha256", "V32"), ("state", "u1"), ("embedding", "<f4", (LENGTH,))])
_ENDING: Final = ".faces"
_SHARD_ROWS: Final = 1024
_CHUNK: Final = 8  # images a worker takes at once
_WORTH_A_PROCESS: Final = 16  # images; a worker needs about a second to start


@dataclass(frozen=True)
class Embedded:
    """Embeddings of some images.

    Attributes:
        vectors: float32, shape (N, 128); zeros where ``state`` is not ``FACE``.
        state: int8, shape (N,): ``FACE``, ``NO_FACE`` where none was found, or ``UNREADABLE`` for a file that cannot be
            read, decoded, or is not the one that was hashed.
    """

    vectors: Floats
    state: npt.NDArray[np.int8]


def embed_files(
    files: Mapping[str, Path], workers: int | None = None, shard_seconds: float = SHARD_SECONDS
) -> Embedded:
    """Embed the largest face of each image, making only what is not kept yet.

    Args:
        files: content hash (sha256) of each image, and where it lies; N of them.
        workers: processes; as many as there are cores if None.
        shard_seconds: how long results may wait for being written.

    Returns:
        In the order of ``files``.

    Raises:
        UsageError: the extra ``identity`` is not installed, or the cache folder cannot be written.
        DataError: a worker process was ended from outside.
    """
    require_models()
    kept = _load()
    failed: set[str] = set()
    if not files.keys() <= kept.keys():
        folder = embedding_folder()
        make_folder(folder)
        # A second process waits, and then finds what the first one made.
        with FileLock(folder / "lock"):
            kept = _load()
            made, failed = _make(
                [(each, file) for each, file in files.items() if each not in kept], workers, shard_seconds
            )
            kept |= made
    vectors = np.zeros((len(files), LENGTH), dtype=np.float32)
    state = np.full(len(files), UNREADABLE, dtype=np.int8)
    for row, each in enumerate(files):
        if each not in failed:
            state[row], vectors[row] = kept[each]["state"], kept[each]["embedding"]
    return Embedded(vectors, state)


def keep_embeddings(hashes: Sequence[str], embedded: Embedded) -> None:
    """Keep embeddings; those of unreadable files are left out.

    Args:
        hashes: sha256 of each image, length N.
        embedded: of each image, N rows.
    """
    for start in range(0, len(hashes), _SHARD_ROWS):
        part = slice(start, start + _SHARD_ROWS)
        readable = embedded.state[part] != UNREADABLE
        shard = np.zeros(int(readable.sum()), dtype=_SHARD)
        shard["sha256"] = [bytes.fromhex(each) for each, usable in zip(hashes[part], readable, strict=True) if usable]
        shard["state"], shard["embedding"] = embedded.state[part][readable], embedded.vectors[part][readable]
        _write(shard.tobytes())


def embedding_folder() -> Path:
    """Folder of the shards in ``cache_folder()``."""
    return cache_folder() / f"identity-{embedding_version()}"


def _load() -> dict[str, Any]:
    """Everything kept, by content hash; what is damaged is deleted."""
    kept: dict[str, Any] = {}
    for path in sorted(embedding_folder().glob(f"*{_ENDING}")):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() != path.stem or len(content) % _SHARD.itemsize:
            path.unlink(missing_ok=True)
            continue
        kept |= _read(content)
    return kept


def _read(content: bytes) -> dict[str, Any]:
    """Rows of a shard by content hash."""
    return {row["sha256"].tobytes().hex(): row for row in np.frombuffer(content, dtype=_SHARD)}


def _write(content: bytes) -> None:
    write_whole(embedding_folder() / f"{hashlib.sha256(content).hexdigest()}{_ENDING}", content)


def _make(
    files: Sequence[tuple[str, Path]], workers: int | None, shard_seconds: float
) -> tuple[dict[str, Any], set[str]]:
    """Embed ``files`` and keep the result every few seconds; also return the hashes of those that cannot be read."""
    made: dict[str, Any] = {}
    failed: set[str] = set()
    waiting: list[bytes] = []

    def put_away() -> None:
        if waiting:
            content = b"".join(waiting)
            _write(content)
            made.update(_read(content))
            waiting.clear()

    processes = min(workers or os.cpu_count() or 1, -(-len(files) // _WORTH_A_PROCESS))
    since = time.monotonic()
    try:
        with _mapper(processes) as run, progress("looking at faces", len(files)) as advance:
            for (each, _), row in zip(files, run(_row, files), strict=True):
                advance(1)
                if row is None:
                    failed.add(each)
                else:
                    waiting.append(row)
                if len(waiting) >= _SHARD_ROWS or time.monotonic() - since >= shard_seconds:
                    put_away()
                    since = time.monotonic()
    except BrokenProcessPool:
        raise DataError(
            "a process that embeds faces was ended from outside, perhaps for want of memory",
            remedy="run the command again: it goes on where it stopped",
        ) from None
    finally:
        put_away()
    return made, failed


@contextmanager
def _mapper(processes: int) -> Iterator[Callable[..., Iterator[bytes | None]]]:
    """A ``map`` over so many processes: dlib holds the interpreter's lock, so threads would take turns."""
    if processes <= 1:
        yield map
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_start_worker)
    try:
        yield lambda function, items: pool.map(function, items, chunksize=_CHUNK)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it does, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _row(item: tuple[str, Path]) -> bytes | None:
    """One row of a shard; None for a file that cannot be used."""
    sha256, path = item
    try:
        content = read_whole(path)
        if hashlib.sha256(content).hexdigest() != sha256:
            return None
        embedding = embed(content)
    except DataError:
        return None
    row = np.zeros(1, dtype=_SHARD)
    row["sha256"] = bytes.fromhex(sha256)
    if embedding is not None:
        row["state"], row["embedding"] = FACE, embedding
    return row.tobytes()
