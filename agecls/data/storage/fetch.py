"""Fetches one object into a folder: verified before it has its name, gone on with where it broke off."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agecls.data.storage.checksums import (
    LONGEST_LIST,
    SUFFIX,
    Algorithm,
    Checksum,
    algorithms_for,
    first_wrong,
    known_checksums,
    read_list,
)
from agecls.data.storage.part_file import PartFile
from agecls.data.storage.records import FOLDER, Records
from agecls.data.storage.retry import GaveUpError, Say, patiently
from agecls.data.storage.store import ChangedError, Store, Stored
from agecls.data.storage.transfer import Manner, Transfer, place_in
from agecls.errors import StorageError

VERSIONS: Final = 3
"""Versions of an object that are begun with at most, where it becomes another one on the way."""


@dataclass(frozen=True)
class Wanted:
    """One object, and the file it becomes.

    Attributes:
        stored: the object as it was found.
        name: path of the file within the folder, POSIX.
        expected: what it must hash to beyond what its store says, such as ``--sha256``.
        kept: whether it stays there once it is unpacked.
    """

    stored: Stored
    name: str
    expected: tuple[Checksum, ...] = ()
    kept: bool = True


@dataclass(frozen=True)
class Fetched:
    """A file that is there and right.

    Attributes:
        path: of the file.
        size: in bytes.
        values: its checksums in hex.
        verified_by: who said what it must be, such as ``--sha256``; empty where nobody did.
        fresh: whether it had to be fetched.
        stored: the object it was made from.
    """

    path: Path
    size: int
    values: dict[Algorithm, str]
    verified_by: tuple[str, ...]
    fresh: bool
    stored: Stored


class Fetcher:
    """Fetches objects of one store into one folder. Any thread may call it.

    Args:
        store: where they are.
        records: what is known of the folder.
        manner: connections and patience.
        say: is told of new attempts.
        advance: is told of bytes that came or were there already; of fewer than none where they are taken back.
        keep_on: is called now and then, and may raise to stop.
    """

    def __init__(
        self,
        store: Store,
        records: Records,
        manner: Manner,
        say: Say,
        advance: Callable[[int], None],
        keep_on: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._records, self._manner = store, records, manner
        self._say, self._advance, self._keep_on = say, advance, keep_on

    def fetch(self, wanted: Wanted) -> Fetched:
        """Make the file be there and right.

        Raises:
            StorageError: it cannot be read, does not hash to what it must, keeps changing, or there is no room.
        """
        stored = wanted.stored
        for _ in range(VERSIONS - 1):
            try:
                return self._fetch_version(stored, wanted)
            except ChangedError as error:
                self._say(f"{error.what}; beginning anew")
            found = self.find(stored.key)
            if found is None:
                raise StorageError(f"{self._place(stored)} has gone while it was read", remedy="look at what is there")
            stored = found
        return self._fetch_version(stored, wanted)

    def find(self, key: str) -> Stored | None:
        """The object of this name; None where there is none."""
        return patiently(
            lambda: self._store.find(key), f"asking for {place_in(self._store, key)}", self._manner.patience, self._say
        )

    def beside(self, key: str, name: str) -> tuple[Checksum, ...]:
        """What the ``.sha256`` file beside an object says of it; nothing where there is none that can be read."""
        try:
            found = self.find(key + SUFFIX)
        except GaveUpError:
            raise
        except StorageError:
            # A signed address fits one name alone, and some servers show a page for people where nothing is.
            return ()
        if found is None or (found.size is not None and found.size > LONGEST_LIST):
            return ()
        text = patiently(
            lambda: b"".join(self._store.read(found)),
            f"reading {self._place(found)}",
            self._manner.patience,
            self._say,
        ).decode("utf-8", "replace")
        value = read_list(text, name)
        if not value:
            self._say(f"{self._place(found)} says nothing of {name}: it is not used")
            return ()
        return (Checksum("sha256", value, self._place(found)),)

    def _fetch_version(self, stored: Stored, wanted: Wanted) -> Fetched:
        """Fetch one version of the object; what does not hash as it must is fetched once more."""
        source, records = self._place(stored), self._records
        expected = [*wanted.expected, *known_checksums(stored, self._store.name)]
        refuse_contradiction(expected, source)
        values = records.recognise(wanted.name, source, stored, expected, self._say)
        target = records.folder / wanted.name
        said_by = tuple(dict.fromkeys(each.said_by for each in expected))
        if values is not None:
            self._advance(stored.size or 0)
            return Fetched(target, target.stat().st_size, values, said_by, False, stored)
        if target.exists() or target.is_symlink():
            self._say(f"{target} is there and is not {source}: it is replaced")
        values, part = self._bring(stored, wanted.name, expected)
        if wrong := first_wrong(expected, values):
            self._give_back(part)
            self._say(f"{source} came with other bytes than {wrong.said_by} says; fetching all of it anew")
            values, part = self._bring(stored, wanted.name, expected)
        if wrong := first_wrong(expected, values):
            self._give_back(part)
            raise StorageError(
                f"{source} does not hash to what {wrong.said_by} says",
                got=f"{wrong.algorithm} {values[wrong.algorithm]} instead of {wrong.value}, twice; nothing was kept",
                remedy="look whether the checksum belongs to this very file; if so, the file is damaged where it lies",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        part.finish(target)
        records.note(wanted.name, source, stored, values, kept=wanted.kept)
        return Fetched(target, target.stat().st_size, values, said_by, True, stored)

    def _bring(self, stored: Stored, name: str, expected: Sequence[Checksum]) -> tuple[dict[Algorithm, str], PartFile]:
        """All bytes of one version, in a part file, and what they hash to."""
        records, source = self._records, self._place(stored)
        # Parts that may be of different versions are put together only where a checksum judges the whole.
        parted = stored.ranges and stored.size is not None and bool(stored.version or expected)
        label = label_of(name)

        def transfer() -> tuple[dict[Algorithm, str], PartFile]:
            part = PartFile(
                records.folder / FOLDER / f"{label}.part",
                source,
                stored,
                part=self._manner.part if parted else None,
                boot=records.boot,
                checked=bool(expected),
            )
            if part.held:
                self._say(f"{source}: {part.held:,} of {stored.size:,} bytes are here already")
                self._advance(part.held)
            try:
                refuse_if_full(records.folder, source, (stored.size or 0) - part.held)
                move = Transfer(self._store, stored, part, self._manner, self._say, self._advance)
                return move.run(algorithms_for(expected), self._keep_on), part
            except BaseException as error:
                if not parted or not part.held or isinstance(error, ChangedError):
                    self._give_back(part)
                raise

        return patiently(transfer, f"reading {source}", self._manner.patience, self._say)

    def _give_back(self, part: PartFile) -> None:
        self._advance(-part.held)
        part.discard()

    def _place(self, stored: Stored) -> str:
        return place_in(self._store, stored.key)


def label_of(name: str) -> str:
    """What the files are called that go with a file of this name within the folder."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def refuse_contradiction(expected: Sequence[Checksum], source: str) -> None:
    """Raise where two checksums of one kind cannot both be met.

    Raises:
        StorageError: that is so; nothing is fetched then.
    """
    said: dict[Algorithm, Checksum] = {}
    for each in expected:
        other = said.setdefault(each.algorithm, each)
        if other.value != each.value:
            raise StorageError(
                f"two checksums of {source} contradict each other",
                got=f"{each.algorithm} {other.value} says {other.said_by}, {each.value} says {each.said_by}",
                remedy="find out which one is meant; what was published is another file than what is stored",
            )


def refuse_if_full(folder: Path, source: str, needed: int) -> None:
    """Raise where a folder has no room for so many bytes.

    Raises:
        StorageError: with both sizes.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"there is no room for {source} in {folder}",
            got=f"{needed / 1e6:,.1f} MB are still to come, {free / 1e6:,.1f} MB are free",
            remedy="make room, or name another folder by --to",
        )
