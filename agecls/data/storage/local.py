"""A folder as a store: the one that needs no account."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agecls.data.storage.store import ChangedError, PassingError, Stored
from agecls.errors import StorageError

PIECE: Final = 1 << 20
"""Bytes read at a time."""


class FolderStore:
    """The files below a folder. Links to files are followed, links to folders are not."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self._root)

    def find(self, key: str) -> Stored | None:
        """See ``Store.find``."""
        path = self._path(key)
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _refusal(path, error) from None
        return _stored(key, status) if path.is_file() else None

    def under(self, prefix: str) -> Iterator[Stored]:
        """See ``Store.under``."""
        start = self._path(prefix.rpartition("/")[0])
        if not start.exists():
            return
        for folder, folders, names in os.walk(start, onerror=_raise_refusal):
            folders.sort()
            for name in sorted(names):
                key = (Path(folder) / name).relative_to(self._root).as_posix()
                found = self.find(key) if key.startswith(prefix) else None
                if found is not None:
                    yield found

    def read(self, stored: Stored, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See ``Store.read``."""
        path = self._path(stored.key)
        try:
            with path.open("rb", buffering=0) as file:
                changed = ChangedError(
                    f"{path} has become another file while it was read", remedy="wait until nobody writes to it"
                )
                if _stored(stored.key, os.fstat(file.fileno())).version != stored.version:
                    raise changed
                end = os.fstat(file.fileno()).st_size if stop is None else stop
                while start < end:
                    piece = os.pread(file.fileno(), min(PIECE, end - start), start)
                    if not piece:
                        raise changed
                    start += len(piece)
                    yield piece
                if _stored(stored.key, os.fstat(file.fileno())).version != stored.version:
                    raise changed
        except OSError as error:
            raise _refusal(path, error) from None

    def write(self, source: Path, key: str, sha1: str) -> None:
        """See ``Store.write``."""
        target = self._path(key)
        unfinished = None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, unfinished = tempfile.mkstemp(prefix=".agecls-", dir=target.parent)
            sum_ = hashlib.sha1(usedforsecurity=False)
            with os.fdopen(handle, "wb") as copy, source.open("rb") as file:
                while piece := file.read(PIECE):
                    sum_.update(piece)
                    copy.write(piece)
                copy.flush()
                os.fsync(copy.fileno())
            if sum_.hexdigest() != sha1:
                raise PassingError(f"{source} changed while it was copied")
            shutil.copymode(source, unfinished)
            Path(unfinished).replace(target)
        except OSError as error:
            raise _refusal(target, error) from None
        finally:
            if unfinished is not None:
                Path(unfinished).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = self._root / key
        if key.startswith("/") or ".." in Path(key).parts:
            raise StorageError("a key does not lead out of its folder", got=key, remedy="leave out .. and a leading /")
        return path


def _stored(key: str, status: os.stat_result) -> Stored:
    return Stored(key, status.st_size, f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}")


def _raise_refusal(error: OSError) -> None:
    raise _refusal(Path(error.filename), error)


def _refusal(path: Path, error: OSError) -> StorageError | PassingError:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return StorageError(f"there is no room for {path}", got=os.strerror(error.errno), remedy="make room there")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return StorageError(
                f"{path} may not be used", got=os.strerror(error.errno), remedy="ask its owner, or name another one"
            )
        case errno.EIO | errno.ETIMEDOUT | errno.ESTALE:
            return PassingError(f"{path}: {error.strerror}")
        case _:
            return StorageError(f"{path} cannot be used", got=error.strerror or str(error), remedy="name another one")
