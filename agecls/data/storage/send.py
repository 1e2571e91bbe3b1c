"""Send files to a store: what it lacks or has otherwise, in an order that never leaves a broken run over there."""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final

from agecls.data.storage.other_runs import is_run, refuse, refuse_other_runs, sum_there
from agecls.data.storage.parcels import Parcel, gather, keep_records
from agecls.data.storage.retry import Patience, patiently
from agecls.data.storage.store import Store, Stored
from agecls.errors import StorageError

WORKERS: Final = 8
"""Files on their way at a time."""


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

    def send(self, path: Path, on_file: Callable[[int], None] = lambda _: None) -> Sent:
        """Send a file, or all files below a folder, where the store has not the same.

        What the store has and the folder has not is left alone. A file that is gone meanwhile is passed over; one that
        changes while it is read is read again. Weights, and all else that a record vouches for, are read later than
        the record and arrive before it.

        Args:
            path: a file or a folder.
            on_file: called with the size of each file that is done with.

        Raises:
            UsageError: nothing is there, or a name that no object can have.
            StorageError: another run is there under this name, or the store takes the files not; what has arrived so
                far stays.
        """
        self._stop.clear()
        parcels, left_out = gather(path, self.prefix)
        sent = Sent(left_out=left_out)
        there = self.check(path, parcels)
        with keep_records(parcels) as held:
            for _, turn in groupby(held, key=lambda parcel: parcel.turn):
                self._deliver(list(turn), there, sent, on_file)
        return sent

    def check(self, path: Path, parcels: Sequence[Parcel] | None = None) -> dict[str, Stored]:
        """What is there already, once it is known to be an earlier state of what is here; raises what ``send`` does."""
        found = gather(path, self.prefix)[0] if parcels is None else parcels
        fresh = self._there is None
        there = self._listing(below=path.is_dir())

        def compare() -> None:
            refuse_other_runs(self.store, found, there, self._sum, further=fresh)

        patiently(compare, f"asking {self.store.name}", self.patience, self.say, stop=self._stop)
        return there

    def refuse_present(self) -> None:
        """Raise ``StorageError`` where a run is there: a new one is never mixed with it."""
        if is_run(self._listing(below=True), self.prefix):
            refuse(self.target, "a new run of this name would be mixed with it")

    def _deliver(
        self, parcels: list[Parcel], there: dict[str, Stored], sent: Sent, on_file: Callable[[int], None]
    ) -> None:
        with ThreadPoolExecutor(min(WORKERS, len(parcels))) as pool:
            try:
                for done in as_completed([pool.submit(self._send_one, each, there) for each in parcels]):
                    arrived = done.result()
                    if arrived is None:
                        continue
                    stored, fresh = arrived
                    on_file(stored.size or 0)
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
            if old is not None and old.size == size and (old.sha1 or sum_there(self.store, old)) == sha1:
                return Stored(parcel.key, size, sha1=sha1), False
            self.store.write(parcel.path, parcel.key, sha1)
            return Stored(parcel.key, size, sha1=sha1), True

        return patiently(attempt, f"writing {self.store.name}/{parcel.key}", self.patience, self.say, stop=self._stop)

    def _listing(self, *, below: bool) -> dict[str, Stored]:
        """What is there below the prefix, or under that very name; asked once."""

        def ask() -> dict[str, Stored]:
            if below:
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
