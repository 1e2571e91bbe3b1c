"""What has been pulled into a folder: enough to know a file again without hashing it, and never one that changed."""

import json
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from agecls.data.storage.checksums import Algorithm, Checksum, algorithms_for, first_wrong, hash_file
from agecls.data.storage.part_file import boot_id
from agecls.data.storage.store import Stored
from agecls.errors import StorageError
from agecls.files import write_whole

SCHEMA: Final = 1

FOLDER: Final = ".agecls-pull"
"""Folder within a target that holds what is on its way, and the records."""


@dataclass(frozen=True)
class Record:
    """One file as it was when it was verified.

    Attributes:
        source: what its store calls it, without what is secret.
        version: of the object, as the store had it.
        values: its checksums in hex, by algorithm.
        mark: of the file, from ``mark_of``.
        boot: which start of the machine it was written in. The bytes of a file may be lost with the machine, though
            all that ``mark`` holds has survived.
        kept: whether the user wants it to stay once it is unpacked.
    """

    source: str
    version: str
    values: dict[Algorithm, str]
    mark: list[int]
    boot: str
    kept: bool = True


class Records:
    """The records of one folder. Any thread may use them; one process at a time, which the folder's lock sees to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.boot = boot_id()
        self._path = folder / FOLDER / "files.json"
        self._lock = threading.Lock()
        self._changed = False
        self._files: dict[str, Record] = {}
        try:
            content: Any = json.loads(self._path.read_text(encoding="utf-8"))
            if content["schema"] == SCHEMA:
                self._files = {name: Record(**entry) for name, entry in content["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._files = {}  # none yet, or none that can be read: files are hashed again

    def get(self, name: str) -> Record | None:
        """The record of a file, by its path within the folder."""
        return self._files.get(name)

    def note(self, name: str, source: str, stored: Stored, values: dict[Algorithm, str], *, kept: bool) -> None:
        """Remember a file that has just been verified."""
        status = (self.folder / name).lstat()
        with self._lock:
            self._files[name] = Record(source, stored.version, values, mark_of(status), self.boot, kept)
            self._changed = True

    def recognise(
        self, name: str, source: str, stored: Stored, expected: Sequence[Checksum], say: Callable[[str], None]
    ) -> dict[Algorithm, str] | None:
        """The checksums of a file that is there and right; None where it is to be fetched.

        It is hashed unless it was verified in this start of the machine and nothing about it has changed since: size,
        times of content and of inode, inode. Without a checksum to meet, only a file is right that was pulled from the
        same place in the same version and still has the same content.
        """
        path, record = self.folder / name, self._files.get(name)
        try:
            status = path.lstat()
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode) or stored.size not in (None, status.st_size):
            return None
        same = record is not None and record.source == source and record.version == stored.version != ""
        if record is not None and record.mark == mark_of(status) and record.boot == self.boot != "":
            if expected and all(each.algorithm in record.values for each in expected):
                return record.values if first_wrong(expected, record.values) is None else None
            if not expected:
                return record.values if same else None
        if not expected and not (same and record is not None and record.values.get("sha256")):
            return None
        if status.st_size > 1e9:
            say(f"looking whether {path} is right")
        values = hash_file(path, algorithms_for(expected))
        if first_wrong(expected, values) is not None:
            return None
        if not expected and record is not None and values["sha256"] != record.values["sha256"]:
            return None
        if mark_of(path.lstat()) != mark_of(status):
            return None  # somebody writes to it right now
        self.note(name, source, stored, values, kept=record.kept if record is not None else True)
        return values

    def save(self) -> None:
        """Write the records that are new."""
        with self._lock:
            if not self._changed:
                return
            files = {name: asdict(record) for name, record in sorted(self._files.items())}
            content = json.dumps({"schema": SCHEMA, "files": files}, separators=(",", ":"))
            write_whole(self._path, content.encode("utf-8", "backslashreplace"))
            self._changed = False


@contextmanager
def alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other pulls out of the folder, waiting for one that is at work.

    Raises:
        StorageError: the folder cannot be made.
    """
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the folder {folder} cannot be made", got=error.strerror or "", remedy="name another one by --to"
        ) from None
    lock = FileLock(folder / FOLDER / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another pull is at work in {folder}: waiting until it is done")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def mark_of(status: os.stat_result) -> list[int]:
    """What is another one once a file was written to, replaced or given another time: size, times (ns) and inode."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
