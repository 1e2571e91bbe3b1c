"""Pulls an object, or all below a prefix, from a bucket, a web server or a folder: verified, then unpacked."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

from agecls.data.storage.checksums import SUFFIX, Checksum, known_checksums
from agecls.data.storage.crew import Crew
from agecls.data.storage.fetch import Fetched, Fetcher, Wanted, label_of, refuse_if_full
from agecls.data.storage.keys import name_for, refuse_clashes, refuse_leaving
from agecls.data.storage.places import Place, open_store, parse_place
from agecls.data.storage.records import FOLDER, Records, alone
from agecls.data.storage.retry import Say, patience_of_environment, patiently
from agecls.data.storage.store import Store, Stored
from agecls.data.storage.transfer import Manner, place_in
from agecls.data.storage.unpacked import count_unpacked, note_unpacked
from agecls.errors import AgeclsError, StorageError, UsageError
from agecls.progress import progress_bytes

SAVING: Final = 10.0
"""Seconds between two writings of the records while many files are fetched."""


@dataclass(frozen=True)
class PullRequest:
    """What ``agecls pull`` is asked for."""

    source: str
    """``b2://BUCKET/KEY``, ``b2://BUCKET/PREFIX/``, ``https://...`` or a path."""

    to: Path
    """Folder that the files go to; made where it is missing."""

    sha256: str | None = None
    """What the one object must hash to, in hex."""

    unpack: bool = True
    """Whether archives are unpacked."""

    keep: bool = False
    """Whether archives stay once they are unpacked."""

    manner: Manner | None = None
    """Connections, size of a part and patience; None for the usual ones and what the environment says."""


@dataclass(frozen=True)
class Unpacking:
    """An archive and how many files are there of it; ``fresh`` where they were unpacked just now."""

    archive: str
    files: int
    fresh: bool


@dataclass(frozen=True)
class Pulled:
    """What is there after a pull.

    Attributes:
        source: where it came from, without what is secret.
        folder: where it is.
        files: the files that are there and right, those deleted after unpacking included.
        unpacked: the archives unpacked now or before.
        seconds: it took, unpacking included.
        seconds_fetching: it took until all was verified.
    """

    source: str
    folder: Path
    files: tuple[Fetched, ...]
    unpacked: tuple[Unpacking, ...]
    seconds: float
    seconds_fetching: float

    @property
    def bytes_fetched(self) -> int:
        """Size of the files that had to be fetched."""
        return sum(each.size for each in self.files if each.fresh)


@dataclass
class _Task:
    """One pull under way."""

    request: PullRequest
    store: Store
    records: Records
    manner: Manner
    say: Say
    wanted: list[Wanted] = field(default_factory=list)
    unpacked: list[Unpacking] = field(default_factory=list)
    files: list[Fetched] = field(default_factory=list)


def pull(request: PullRequest, say: Say) -> Pulled:
    """Make all that is asked for be in the folder: fetched where it is not there and right, verified, unpacked.

    A pull that was interrupted goes on where it broke off when it is given again.

    Args:
        request: what, and where to.
        say: takes lines of talk.

    Raises:
        UsageError: the source or the checksum cannot be read, or source and target are one folder.
        StorageError: see ``errors.StorageError``; nothing wrong is there under its final name.
    """
    begun = time.monotonic()
    checksum = () if request.sha256 is None else (Checksum("sha256", _read_sha256(request.sha256), "--sha256"),)
    place = parse_place(request.source, checked=bool(checksum))
    manner = request.manner or Manner(patience=patience_of_environment())
    store = open_store(place, checked=bool(checksum), silence=manner.patience.silence, connections=manner.connections)
    _refuse_own_folder(place, request.to)
    with alone(request.to, say):
        task = _Task(request, store, Records(request.to), manner, say)
        try:
            _find(task, place, checksum)
            _fetch(task, str(place))
        except BaseException:
            with suppress(AgeclsError):  # the first error is the one to tell
                task.records.save()
            raise
        task.records.save()  # before anything is unpacked: whoever comes after a kill shall know whose the archives are
        fetched = time.monotonic()
        _unpack(task)
    ended = time.monotonic()
    return Pulled(str(place), request.to, tuple(task.files), tuple(task.unpacked), ended - begun, fetched - begun)


def _read_sha256(text: str) -> str:
    value = text.strip().lower()
    if len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise UsageError("--sha256 takes 64 hex digits", got=f"{len(value)} characters: {text[:80]}")
    return value


def _refuse_own_folder(place: Place, to: Path) -> None:
    """Raise where the files would be pulled onto themselves; the archive of the user would then be deleted."""
    if place.kind != "folder":
        return
    source, target = Path(place.base, place.key).resolve(), to.resolve()
    if source == target or source.parent == target or target.is_relative_to(source):
        raise UsageError(f"{place} lies where it is pulled to", got=str(to), remedy="name another folder by --to")


def _find(task: _Task, place: Place, checksum: tuple[Checksum, ...]) -> None:
    """Fill ``task.wanted`` with the objects that the place stands for."""
    fetcher = _fetcher(task)
    one = None if place.is_prefix else fetcher.find(place.key)
    if one is not None:
        beside = () if checksum or one.sha256 else fetcher.beside(place.key, place.file_name)
        task.wanted = [_wanted(task, one, name_for(place.file_name), (*checksum, *beside))]
        return
    if place.kind == "web" and not place.is_prefix:
        raise StorageError(f"{place} is not there", got="the server answers 404", remedy="look at the spelling")
    prefix = place.key if place.is_prefix else f"{place.key}/"
    found = patiently(
        lambda: [each for each in task.store.under(prefix) if not each.key.endswith("/")],
        f"listing {place_in(task.store, prefix)}",
        task.manner.patience,
        task.say,
    )
    found = [each for each in found if FOLDER not in PurePosixPath(each.key).parts]
    if not found:
        raise StorageError(
            f"{place} is not there", got="no object of this name or below it", remedy="look at the spelling"
        )
    if checksum:
        raise UsageError(
            "--sha256 judges one object", got=f"{len(found):,} objects below {place}", remedy="leave it out"
        )
    keys = {each.key for each in found}
    for each in found:
        name = name_for(each.key[len(prefix) :])
        beside = fetcher.beside(each.key, PurePosixPath(name).name) if each.key + SUFFIX in keys else ()
        task.wanted.append(_wanted(task, each, name, beside))
    refuse_clashes([each.name for each in task.wanted], task.request.to)


def _wanted(task: _Task, stored: Stored, name: str, expected: tuple[Checksum, ...]) -> Wanted:
    refuse_leaving(task.request.to, name)
    return Wanted(stored, name, expected, kept=task.request.keep or not task.request.unpack)


def _fetch(task: _Task, source: str) -> None:
    """Fill ``task.files``: large objects one after the other in parts, small ones several at a time."""
    wanted = [each for each in task.wanted if not _is_unpacked(task, each)]
    sizes = [each.stored.size for each in wanted]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    small: list[Wanted] = []
    large: list[Wanted] = []
    for each in wanted:
        (small if len(wanted) > 1 and (each.stored.size or 0) <= task.manner.part else large).append(each)
    new = (each for each in wanted if not (task.request.to / each.name).exists())
    refuse_if_full(task.request.to, source, sum(each.stored.size or 0 for each in new) if len(wanted) > 1 else 0)
    with progress_bytes(f"pulling {PurePosixPath(source).name or source}", total) as advance:
        waiting = deque(small)

        def work(crew: Crew) -> None:
            alone = replace(task.manner, connections=1)
            fetcher = Fetcher(task.store, task.records, alone, task.say, advance, crew.keep_on)
            while waiting:
                crew.keep_on()
                try:
                    each = waiting.popleft()
                except IndexError:  # another thread was quicker
                    return
                task.files.append(fetcher.fetch(each))

        with Crew(work, min(task.manner.connections, len(small))) as crew:
            while crew.wait(SAVING):
                task.records.save()
        for each in large:
            task.files.append(_fetcher(task, advance).fetch(each))


def _is_unpacked(task: _Task, wanted: Wanted) -> bool:
    """Whether an archive that need not stay has been unpacked before, and all that came out of it is still there."""
    if wanted.kept:
        return False
    source = place_in(task.store, wanted.stored.key)
    expected = [*wanted.expected, *known_checksums(wanted.stored, task.store.name)]
    folder, label = task.request.to, label_of(wanted.name)
    count = count_unpacked(folder, label, source, wanted.stored, expected)
    if count is None:
        return False
    task.unpacked.append(Unpacking(wanted.name, count, fresh=False))
    return True


def _unpack(task: _Task) -> None:
    """Unpack the archives among the files, each where it lies, and delete those that need not stay."""
    if not task.request.unpack:
        return
    from agecls.data.archives import kind_of, unpack

    folder = task.request.to
    files = {each.path: each for each in task.files}
    for wanted in task.wanted:
        file = files.get(folder / wanted.name)
        if file is None or kind_of(file.path) is None:
            continue
        label = label_of(wanted.name)
        source = place_in(task.store, wanted.stored.key)
        expected = [Checksum(algorithm, value, "") for algorithm, value in file.values.items()]
        count = count_unpacked(folder, label, source, file.stored, expected)
        if count is None:
            out = unpack(file.path, file.path.parent, task.say)
            note_unpacked(folder, label, source, file.stored, file.values, out.top)
            count = out.files
            task.unpacked.append(Unpacking(wanted.name, count, fresh=True))
        else:
            task.unpacked.append(Unpacking(wanted.name, count, fresh=False))
        record = task.records.get(wanted.name)
        if not task.request.keep and record is not None and not record.kept:
            file.path.unlink()


def _fetcher(task: _Task, advance: Callable[[int], None] = lambda count: None) -> Fetcher:
    return Fetcher(task.store, task.records, task.manner, task.say, advance)
