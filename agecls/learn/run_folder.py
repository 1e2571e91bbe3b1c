"""The folder of a training: made once, held by one process, resumed only as it was started."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from agecls.errors import RunError, UsageError
from agecls.learn.lineage import Lineage
from agecls.learn.only import write_only
from agecls.learn.run import Run
from agecls.learn.run_record import CHECKPOINT, RECORD, WEIGHTS


def prepare_folder(out: Path | None, stem: str, *, resume: bool) -> tuple[Path, Path | None]:
    """Make the run's folder; with ``resume`` return its checkpoint as well."""
    if resume:
        if out is None:
            raise UsageError("--resume needs the run to go on with", remedy="name it with --out runs/NAME")
        if not (out / RECORD).is_file():
            raise UsageError(f"there is no run to resume at {out}", remedy="leave --resume out to start one")
        return out, out / CHECKPOINT if (out / CHECKPOINT).is_file() else None
    if out is None:
        return free_folder(Path("runs"), stem), None
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists already", remedy="go on with it by --resume, or name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    return out, None


def free_folder(parent: Path, stem: str) -> Path:
    """Make and return ``parent/stem-n`` with the lowest free n; two processes never get the same."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / f"{stem}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def newest_runs(*folders: Path) -> Iterator[Run]:
    """Every readable run that lies in some folders, newest first; what cannot be read is none."""
    shelves = {folder.resolve(): folder for folder in folders}.values()
    records = [path for shelf in shelves for path in shelf.glob(f"*/{RECORD}")]
    for record in sorted(records, key=lambda path: (-path.stat().st_mtime_ns, path)):
        try:
            yield Run.load(record.parent)
        except RunError:
            continue


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a run's folder for the whole training, so that no second process writes into it."""
    lock = FileLock(folder / ".training.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"another process is training {folder}", remedy="wait for it, or name another --out") from None
    try:
        # What a process that was killed in the middle of writing has left behind.
        for unfinished in (path for name in (RECORD, WEIGHTS, CHECKPOINT) for path in folder.glob(f".{name}.*")):
            unfinished.unlink(missing_ok=True)
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def refuse_other_run(old: Run, new: Run, init_from: Path | None) -> None:
    """Resume only what was asked in the same words; ``init_from`` may be left out, not named differently."""
    if init_from is not None and [str(init_from.resolve())] != [parent.folder for parent in old.parents]:
        started = f"warm-started from {old.parents[0].folder}" if old.parents else "not warm-started"
        raise RunError(
            f"run {old.folder} was started otherwise than --init-from says",
            got=f"{started}, now {init_from}",
            remedy="leave --init-from out to resume it, or start another run with --out",
        )
    compared: tuple[tuple[str, object, object], ...] = (
        ("split", old.split.fingerprint, new.split.fingerprint),
        ("task", old.task, new.task),
        ("bins", old.bins.text, new.bins.text),
        ("--only", write_only(old.only) or "all images", write_only(new.only) or "all images"),
        ("images held out", old.held_out or "none", new.held_out or "none"),
        ("settings", old.config.model_dump(), new.config.model_dump()),
    )
    for name, was, now in compared:
        if was != now:
            differing = (
                _difference(was, now) if isinstance(was, dict) and isinstance(now, dict) else f"{was}, now {now}"
            )
            raise RunError(
                f"run {old.folder} was started with other {name}",
                got=str(differing),
                remedy="resume it as it was started, or start another run with --out",
            )


def resumed(old: Run, new: Run) -> Run:
    """The run to go on with: no mark of a leak and no parent is lost, whatever the new command says.

    Raises:
        RunError: its lineage is missing or damaged.
    """
    Lineage.load(old.folder)
    return dataclasses.replace(
        new,
        metrics=old.metrics,
        leaked=old.leaked or new.leaked,
        leaked_count=max(old.leaked_count, new.leaked_count),
        parents=old.parents,
        weights=old.weights,
        batches=old.batches,
    )


def _difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    old, new = flatten(was), flatten(now)
    return ", ".join(f"{key} was {old[key]}, now {new[key]}" for key in old if old[key] != new[key])


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as ``section.key``."""
    return {f"{section}.{key}": value for section, values in tree.items() for key, value in values.items()}
