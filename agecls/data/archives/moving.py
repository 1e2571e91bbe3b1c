"""The hidden folder an archive is unpacked in, and the step from there to its place."""

import filecmp
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from agecls.data.archives.names import HIDDEN, printable
from agecls.errors import StorageError


@contextmanager
def hidden_folder(into: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """Yield an empty folder inside ``into``, on the same disk, that is gone when the block ends.

    What a killed process left behind is removed first; the folder of one that is still at work is left alone, which the
    lock in it tells.

    Raises:
        StorageError: nothing can be written there.
    """
    try:
        into.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(into, say)
        hidden = Path(tempfile.mkdtemp(prefix=HIDDEN, dir=into))
        lock = FileLock(hidden / "lock")
        lock.acquire()
        staged = hidden / "staged"
        staged.mkdir()
    # NotImplementedError: a disk of the network on which nothing can be locked.
    except (OSError, NotImplementedError) as error:
        raise _unwritable(into, error) from None
    try:
        yield staged
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        lock.release()


def move(staged: Path, into: Path, archive: Path) -> tuple[Path, ...]:
    """Give everything its place, once nothing there stands in the way; return the top entries there.

    A new folder is moved as one, by one rename. Where a folder of that name is there, its new content is moved into it.
    A file that is there with the same content stays. Links are never followed.

    Raises:
        StorageError: a file there has another content, or is of another type; then nothing has been moved.
    """
    moves: list[tuple[Path, Path]] = []
    standing: list[Path] = []
    try:
        _compare(staged, into, moves, standing)
        if standing:
            more = f" and {len(standing) - 3:,} more" if len(standing) > 3 else ""
            raise StorageError(
                f"{printable(archive.name)} is not unpacked: other files of the same names stand in {into}",
                got=", ".join(printable(str(each.relative_to(into))) for each in standing[:3]) + more,
                remedy="move them away, or choose another folder",
            )
        top = tuple(into / name for name in _names(staged))
        for source, target in moves:
            source.rename(target)
    except OSError as error:
        raise _unwritable(into, error) from None
    return top


def _compare(staged: Path, into: Path, moves: list[tuple[Path, Path]], standing: list[Path]) -> None:
    for name in _names(staged):
        source, target = staged / name, into / name
        try:
            there = target.lstat()
        except FileNotFoundError:
            moves.append((source, target))
            continue
        if source.is_dir() and stat.S_ISDIR(there.st_mode):
            if there.st_dev != source.stat().st_dev:
                # A rename does not reach another disk, and a copy is not there all at once.
                raise StorageError(
                    f"nothing can be moved to {target}",
                    got="another disk than that of the folder it lies in",
                    remedy="unpack into a folder that is wholly on one disk",
                )
            _compare(source, target, moves, standing)
        elif source.is_dir() or not stat.S_ISREG(there.st_mode) or not filecmp.cmp(source, target, shallow=False):
            standing.append(target)


def _names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def _remove_leftovers(into: Path, say: Callable[[str], None]) -> None:
    for left in into.glob(f"{HIDDEN}*"):
        if left.is_symlink() or not left.is_dir():
            continue
        try:
            with FileLock(left / "lock", timeout=0):
                shutil.rmtree(left, ignore_errors=True)
        except Timeout:
            continue
        say(f"removed {left}, left behind by an unpacking that was stopped")


def _unwritable(into: Path, error: OSError | NotImplementedError) -> StorageError:
    return StorageError(
        f"nothing can be unpacked in {into}",
        got=getattr(error, "strerror", None) or str(error),
        remedy="choose a folder you may write to, with room",
    )
