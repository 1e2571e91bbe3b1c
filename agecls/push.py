"""Push a run, a split, any folder or file to a bucket or another folder, once or as long as it changes."""

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agecls.data.storage.other_runs import RECORD
from agecls.data.storage.parcels import gather
from agecls.data.storage.places import Place, open_store, parse_place
from agecls.data.storage.retry import patience_of_environment, patiently
from agecls.data.storage.send import Sender, Sent
from agecls.errors import AgeclsError, UsageError
from agecls.progress import progress_bytes

EVERY: Final = 60.0
"""Seconds between two looks at what has changed, where nothing else is said."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class PushRequest:
    """What ``agecls push`` was asked for.

    Attributes:
        path: file or folder.
        to: ``b2://BUCKET/PREFIX`` or a folder; ``path`` gets its own name below it.
        watch: go on until the run at ``path`` is finished.
        every: seconds between two looks, above 0.
    """

    path: Path
    to: str
    watch: bool = False
    every: float = EVERY


def push(request: PushRequest, say: Say) -> tuple[str, Sent]:
    """Push once, or with ``watch`` until the run is finished; return where to, and what was sent in all.

    Raises:
        UsageError: nothing is at the path, or the target cannot be pushed to.
        StorageError: the store does not take it. While watching it is said instead, and tried again later.
    """
    sender = _sender(request.path, request.to, say)
    if request.watch:
        return sender.target, _watch(request, sender, say)
    size = sum(parcel.path.stat().st_size for parcel in gather(request.path, sender.prefix)[0])
    with progress_bytes("pushing", size) as advance:
        return sender.target, sender.send(request.path, advance)


def describe(sent: Sent) -> str:
    """What was sent, in words."""
    parts = [f"{len(sent.keys):,} files sent ({sent.size / 1e6:.1f} MB)", f"{sent.same:,} were there already"]
    return ", ".join(parts + ([f"{sent.left_out:,} hidden or temporary left out"] if sent.left_out else []))


class Courier:
    """Pushes a run's folder from a thread of its own while it is trained.

    A push that fails never ends the training: it is said, and tried again at the next look.

    Args:
        to: as in ``PushRequest``.
        every: seconds between two looks.
        out: the folder, as far as it is known.
        resume: whether the run may be there already.
        say: told of what was sent, and of what went wrong.

    Raises:
        UsageError: the target cannot be pushed to.
        StorageError: it cannot be asked for, or another run is there; better known before a training than after it.
    """

    def __init__(self, to: str, every: float, out: Path | None, resume: bool, say: Say) -> None:
        self._to, self._every, self._resume, self._say = to, every, resume, say
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        probe = _sender(out or Path("run"), to, say)
        if out and not resume:
            probe.refuse_present()
        elif out and out.is_dir():
            probe.check(out)
        else:
            name = f"{probe.prefix}/{RECORD}"
            patiently(lambda: probe.store.find(name), f"asking {probe.store.name}", probe.patience, say)

    def start(self, folder: Path) -> None:
        """Begin to push a folder.

        Raises:
            StorageError: another run is there under its name.
        """
        self._folder, self._sender = folder, _sender(folder, self._to, self._say)
        if not self._resume:
            self._sender.refuse_present()
        self._say(f"pushing    to {self._sender.target} every {self._every:g} s")
        self._thread = threading.Thread(target=self._go_on, name="push", daemon=True)
        self._thread.start()

    def finish(self) -> bool:
        """Push what is left, and return whether the store has all of it now; True where nothing was begun."""
        if self._thread is None:
            return True
        self._over.set()
        self._sender.interrupt()
        self._thread.join()
        return _try(self._sender, self._folder, self._say) is not None

    def _go_on(self) -> None:
        while not self._over.is_set():
            _try(self._sender, self._folder, lambda line: None if self._over.is_set() else self._say(line))
            self._over.wait(self._every)


def _watch(request: PushRequest, sender: Sender, say: Say) -> Sent:
    total = Sent()
    if not request.path.exists():
        say(f"waiting for {request.path}")
    while True:
        finished = _finished(request.path)
        sent = _try(sender, request.path, say) if request.path.exists() else None
        if sent is not None:
            total.keys += sent.keys
            total.size += sent.size
            total.same, total.left_out = sent.same, sent.left_out
        if finished and sent is not None:
            return total
        time.sleep(request.every)


def _try(sender: Sender, folder: Path, say: Say) -> Sent | None:
    """Push; None where it went wrong, which is said."""
    try:
        sent = sender.send(folder)
    except (AgeclsError, OSError) as error:
        say("not pushed: " + " ".join(str(error).split()))
        return None
    if sent.keys:
        say(f"pushed     {len(sent.keys):,} files ({sent.size / 1e6:.1f} MB) to {sender.target}")
    return sent


def _finished(folder: Path) -> bool:
    """Whether a folder holds a run that is finished. Looked at before a push, so that the push has all of it."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("status") == "finished"


def _sender(path: Path, to: str, say: Say) -> Sender:
    place = _place(to)
    source = Path(os.path.abspath(path))  # noqa: PTH100 - resolve would give the name of what a link leads to
    prefix = _joined(place, source.name)
    if place.kind == "folder" and (Path(place.base) / prefix).resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{path} would be pushed into itself", got=to, remedy="name a folder outside of it")
    return Sender(open_store(place), prefix, patience_of_environment(), say)


def _place(to: str) -> Place:
    place = parse_place(to)
    if place.kind == "web":
        raise UsageError("nothing can be pushed to a web address", remedy="b2://BUCKET/PREFIX, or a folder")
    return place


def _joined(place: Place, name: str) -> str:
    return "/".join([*(part for part in place.key.split("/") if part), name])
