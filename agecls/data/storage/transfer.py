"""Moves the bytes of one version of an object into a part file, several parts at a time, and hashes behind them."""

import errno
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from agecls.data.storage.checksums import BLOCK, Algorithm, Hasher
from agecls.data.storage.crew import Crew
from agecls.data.storage.part_file import PartFile
from agecls.data.storage.retry import Calm, Patience, Say, patiently
from agecls.data.storage.store import PassingError, Store, Stored
from agecls.errors import StorageError

SAVING: Final = 0.5
"""Seconds between two notes of what is held."""


FAST: Final = 250e6
"""Bytes a second over one connection from which on others would take more from the processor than they bring."""


@dataclass(frozen=True)
class Manner:
    """How objects are fetched."""

    connections: int = 4
    """Connections at a time."""

    part: int = 32_000_000
    """Bytes of a part; an object of more than one is read in parallel."""

    alone: float = 0.5
    """Seconds that the first connection of an object has to show that it is fast enough alone."""

    patience: Patience = field(default_factory=Patience)
    """How failures are borne with."""


class Transfer:
    """One version of an object on its way into a part file.

    Args:
        store: where it is read.
        stored: the object.
        part: what there is of it already, and where the rest goes.
        manner: connections and patience.
        say: is told of new attempts.
        advance: is told of bytes that came, in several threads; of fewer than none where they were of no use.
    """

    def __init__(
        self, store: Store, stored: Stored, part: PartFile, manner: Manner, say: Say, advance: Callable[[int], None]
    ) -> None:
        self._store, self._stored, self._part, self._manner = store, stored, part, manner
        self._say, self._advance = Calm(say), advance
        self._doing = f"reading {place_in(store, stored.key)}"
        self._waiting = deque(part.missing)
        self._writing = threading.Lock()
        self._first = threading.Lock()
        self._others_wanted = threading.Event()

    def run(self, algorithms: Iterable[Algorithm], keep_on: Callable[[], None]) -> dict[Algorithm, str]:
        """Fetch what is missing and return the checksums of the whole, read back from the file in order.

        Args:
            algorithms: to hash by.
            keep_on: is called now and then, and may raise to stop.

        Raises:
            PassingError: an object that can only be read from its start broke off; nothing of it is of use.
            ChangedError: it has become another object.
            StorageError: it cannot be read, or there is no room.
        """
        hasher = Hasher(algorithms, self._stored.size)
        begun = saved = time.monotonic()
        before = self._part.held
        with (
            self._part.path.open("rb", buffering=0) as file,
            Crew(self._work, min(self._manner.connections, len(self._waiting))) as crew,
        ):
            try:
                working = True
                while True:
                    keep_on()
                    ready = self._part.reach(hasher.position) - hasher.position
                    if ready >= BLOCK or (ready and not working):
                        hasher.hash_to(file.fileno(), hasher.position + min(ready, BLOCK))
                        continue
                    if not working:
                        break
                    working = crew.wait(0.02)
                    now = time.monotonic()
                    if now - begun >= self._manner.alone and self._part.held - before < FAST * (now - begun):
                        self._others_wanted.set()
                    if now - saved > SAVING:
                        self._part.save()
                        saved = now
                crew.wait(0)
            finally:
                self._others_wanted.set()
                self._part.save()
        return hasher.values

    def _work(self, crew: Crew) -> None:
        if not self._first.acquire(blocking=False):
            self._others_wanted.wait()
        with self._part.path.open("r+b", buffering=0) as file:
            while (index := self._next()) is not None:
                if self._part.part is None:
                    self._read(crew, file.fileno(), index)
                    continue
                patiently(
                    lambda index=index: self._read(crew, file.fileno(), index),  # type: ignore[misc]
                    self._doing,
                    self._manner.patience,
                    self._say,
                    moved=lambda index=index: self._part.have[index],  # type: ignore[misc]
                    stop=crew.stop,
                )

    def _next(self) -> int | None:
        """A part that nobody has begun with; None where there is none, which those that wait may know too."""
        try:
            return self._waiting.popleft()
        except IndexError:
            self._others_wanted.set()
            return None

    def _read(self, crew: Crew, file: int, index: int) -> None:
        """Read what is missing of a part, from where it broke off."""
        crew.keep_on()
        part, start, length = self._part, self._part.start(index), self._part.length(index)
        stop = None if length is None else start + length
        pieces = self._store.read(self._stored, start + part.have[index], stop)
        try:
            for piece in pieces:
                crew.keep_on()
                if length is not None and part.have[index] + len(piece) > length:
                    raise PassingError("more came than was asked for")
                self._write(file, piece, start + part.have[index])
                part.have[index] += len(piece)
                self._advance(len(piece))
        finally:
            if close := getattr(pieces, "close", None):
                close()
        if length is None:
            part.whole = True
        elif part.have[index] != length:
            raise PassingError("less came than was asked for")

    def _write(self, file: int, piece: bytes, position: int) -> None:
        view = memoryview(piece)
        try:
            # The kernel lets one thread at a time write to a file, and the others spin: better they sleep here.
            with self._writing:
                while view:
                    written = os.pwrite(file, view, position)
                    view, position = view[written:], position + written
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            free = shutil.disk_usage(self._part.path.parent).free
            raise StorageError(
                f"there is no room left for {self._stored.key}",
                got=f"{os.strerror(error.errno)}; {_megabytes(free)} free in {self._part.path.parent.parent}",
                remedy="make room, then give the same command again: it goes on from there",
            ) from None


def place_in(store: Store, key: str) -> str:
    """What messages call an object."""
    return f"{store.name.rstrip('/')}/{key}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
