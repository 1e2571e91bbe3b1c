"""Send files to a store: what it lacks or has otherwise, in an order that never leaves a broken run over there."""

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final

from agecls.data.storage.retry import Patience, patiently
from agecls.data.storage.store import Store, Stored
from agecls.errors import StorageError, UsageError

LAST: Final = ("last.ckpt", "run.json", "cv.json", "manifest.json")
"""Files that vouch for others, in the order in which they are sent after all others; those of members come first."""

TEMPORARY: Final = (".part", ".lock", ".tmp")
"""Endings of names that are never sent, nor are those that begin with a dot."""

WORKERS: Final = 8
"""Files on their way at a time."""


@dataclass(frozen=True)
class Parcel:
    """A file and the name it gets.

    Attributes:
        path: where its content is read.
        key: its name in the store.
        turn: parcels of a smaller turn arrive before those of a larger one.
    """

    path: Path
    key: str
    turn: tuple[int, int] = (0, 0)


@dataclass
class Sent:
    """What became of the files of one push.

    Attributes:
        keys: names of the objects that were written, in order of arrival.
        size: their bytes.
        same: files that were there already, with the same content.
        left_out: hidden and temporary files.
    """

    keys: list[str] = field(default_factory=list)
    size: int = 0
    same: int = 0
    left_out: int = 0


class Sender:
    """Sends files under one prefix, again and again, and remembers what has arrived.

    Args:
        store: where to.
        prefix: what the names of all objects begin with, without a slash at its ends.
        patience: how long to bear with the store.
        say: told of each new attempt.
    """

    def __init__(self, store: Store, prefix: str, patience: Patience, say: Callable[[str], None]) -> None:
        self.store, self.prefix, self.patience, self.say = store, prefix, patience, say
        self._there: dict[str, Stored] | None = None
        self._sums: dict[tuple[int, ...], str] = {}
        self._stop = threading.Event()

    @property
    def target(self) -> str:
        """Where things go, as messages call it."""
        return f"{self.store.name}/{self.prefix}"

    def interrupt(self) -> None:
        """End a ``send`` that is under way soon: what is on its way arrives, nothing is tried again."""
        self._stop.set()

    def send(self, path: Path, on_file: Callable[[], None] = lambda: None) -> Sent:
        """Send a file, or all files below a folder, where the store has not the same.

        What the store has and the folder has not is left alone. A file that is gone meanwhile is passed over; one that
        changes while it is read is read again. Weights, and all else that a record vouches for, are read later than
        the record and arrive before it.

        Args:
            path: a file or a folder.
            on_file: called for each file that is done with.

        Raises:
            UsageError: nothing is there, or a name that no object can have.
            StorageError: the store takes them not; what has arrived so far stays.
        """
        self._stop.clear()
        parcels, left_out = gather(path, self.prefix)
        sent = Sent(left_out=left_out)
        there = self._listing(path)
        with _held(parcels) as held:
            for _, turn in groupby(held, key=lambda parcel: parcel.turn):
                self._deliver(list(turn), there, sent, on_file)
        return sent

    def _deliver(
        self, parcels: list[Parcel], there: dict[str, Stored], sent: Sent, on_file: Callable[[], None]
    ) -> None:
        with ThreadPoolExecutor(min(WORKERS, len(parcels))) as pool:
            try:
                for done in as_completed([pool.submit(self._send_one, each, there) for each in parcels]):
                    arrived = done.result()
                    on_file()
                    if arrived is None:
                        continue
                    stored, fresh = arrived
                    there[stored.key] = stored
                    if fresh:
                        sent.keys.append(stored.key)
                        sent.size += stored.size or 0
                    else:
                        sent.same += 1
            except BaseException:
                self.interrupt()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _send_one(self, parcel: Parcel, there: dict[str, Stored]) -> tuple[Stored, bool] | None:
        """The object as it is now, and whether it was written; None where the file is gone."""
        old = there.get(parcel.key)

        def attempt() -> tuple[Stored, bool] | None:
            if self._stop.is_set():
                raise StorageError(f"the push to {self.target} was stopped", remedy="give the same command again")
            try:
                size, sha1 = self._sum(parcel.path)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise StorageError(f"cannot read {parcel.path}", got=error.strerror or "") from None
            if old is not None and old.size == size and (old.sha1 or self._sum_there(old)) == sha1:
                return Stored(parcel.key, size, sha1=sha1), False
            self.store.write(parcel.path, parcel.key, sha1)
            return Stored(parcel.key, size, sha1=sha1), True

        return patiently(attempt, f"writing {self.store.name}/{parcel.key}", self.patience, self.say, stop=self._stop)

    def _listing(self, path: Path) -> dict[str, Stored]:
        """What is there under the prefix; asked once."""

        def ask() -> dict[str, Stored]:
            if path.is_dir():
                return {stored.key: stored for stored in self.store.under(self.prefix + "/")}
            found = self.store.find(self.prefix)
            return {self.prefix: found} if found else {}

        if self._there is None:
            self._there = patiently(ask, f"listing {self.target}", self.patience, self.say, stop=self._stop)
        return self._there

    def _sum(self, path: Path) -> tuple[int, str]:
        """Size and SHA-1 of a file; one that was not touched since is not read again."""
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            mark = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if mark not in self._sums:
                self._sums[mark] = hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
        return status.st_size, self._sums[mark]

    def _sum_there(self, stored: Stored) -> str:
        """SHA-1 of an object whose store does not know it."""
        digest = hashlib.sha1(usedforsecurity=False)
        for piece in self.store.read(stored):
            digest.update(piece)
        return digest.hexdigest()


def gather(path: Path, prefix: str) -> tuple[list[Parcel], int]:
    """What is to be sent of a file or a folder, in the order of arrival, and how many files are left out.

    Raises:
        UsageError: nothing is there, or a file has a name that no object can have.
    """
    if path.is_file():
        return [Parcel(path, _key(prefix, path))], 0
    if not path.is_dir():
        raise UsageError(f"there is nothing to push at {path}", remedy="name a file or a folder, such as runs/NAME")
    parcels, left_out = [], 0
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if name.startswith(".") or name.endswith(TEMPORARY):
                left_out += 1
            elif file.is_file():
                parts = file.relative_to(path).parts
                turn = (LAST.index(name) + 1, -len(parts)) if name in LAST else (0, 0)
                parcels.append(Parcel(file, _key("/".join([prefix, *parts]), file), turn))
    return sorted(parcels, key=lambda parcel: parcel.turn), left_out


def _key(key: str, path: Path) -> str:
    if any(ord(each) < 32 or each == "\x7f" or "\ud800" <= each <= "\udfff" for each in key):
        raise UsageError(
            f"no object can have the name of {path}", got="a control character, or no valid UTF-8", remedy="rename it"
        )
    return key.lstrip("/")


@contextmanager
def _held(parcels: list[Parcel]) -> Iterator[list[Parcel]]:
    """Keep what vouches for others as it is now, though a training replaces it while the others are on their way.

    The last ones first: of all that is kept, none then says more than what is read after it.
    """
    with ExitStack() as stack:
        held = [stack.enter_context(_keep(each)) if each.turn[0] else each for each in reversed(parcels)]
        yield held[::-1]


@contextmanager
def _keep(parcel: Parcel) -> Iterator[Parcel]:
    kept = parcel.path.with_name(f".{parcel.path.name}.push-{secrets.token_hex(4)}")
    with ExitStack() as stack:
        stack.callback(_drop, kept)
        try:
            _link_or_copy(parcel.path, kept)
        except OSError:
            yield parcel  # the file is gone, or its folder is not ours to write to
        else:
            yield Parcel(kept, parcel.key, parcel.turn)


def _link_or_copy(path: Path, kept: Path) -> None:
    try:
        kept.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, kept)


def _drop(kept: Path) -> None:
    with suppress(OSError):
        kept.unlink()
