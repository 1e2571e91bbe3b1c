"""What is to be sent of a file or a folder, under which names, and in which order."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agecls.errors import UsageError

LAST: Final = ("last.ckpt", "run.json", "cv.json", "manifest.json")
"""Files that vouch for others, in the order in which they are sent after all others; those of members come first."""

TEMPORARY: Final = (".part", ".lock", ".tmp")
"""Endings of names that are never sent, nor are those that begin with a dot."""


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
def keep_records(parcels: list[Parcel]) -> Iterator[list[Parcel]]:
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
