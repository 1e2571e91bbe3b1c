"""File names for the keys of a bucket: never outside the folder, and no two for one file."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from agecls.data.archives.limits import Limits
from agecls.data.archives.names import NameRefusedError, place_of, printable
from agecls.data.storage.records import FOLDER
from agecls.errors import StorageError


def name_for(key: str) -> str:
    """The path of the file that a key becomes, relative and POSIX.

    Raises:
        StorageError: it leads out of the folder, holds control characters, names a drive, or is one of agecls's own.
    """
    try:
        place = place_of(key, Limits())
        why = "it names no file" if place is None else ""
    except NameRefusedError as refused:
        place, why = None, str(refused)
    if place is not None and place.parts[0] == FOLDER:
        why = "it is the name of a folder that pulling uses itself"
    if why:
        raise StorageError(
            f"{printable(key)!r} is no name that a file is made under",
            got=why,
            remedy="give the object another name where it is stored, or pull others by their own keys",
        )
    return str(place)


def refuse_clashes(names: Sequence[str], folder: Path) -> None:
    """Raise where two objects would become one file, or one a file that another needs as a folder.

    Args:
        names: of the files to be, from ``name_for``.
        folder: where they go; an existing one. Whether it tells capitals from small letters is tried where it matters.

    Raises:
        StorageError: naming the two.
    """
    seen: dict[str, str] = {}
    folded: dict[str, str] = {}
    for name in names:
        if name in seen:
            _refuse(name, seen[name])
        seen[name] = name
        alike = unicodedata.normalize("NFC", name).casefold()
        other = folded.setdefault(alike, name)
        if other != name and _same_file(folder, name, other):
            _refuse(name, other)
    for name in names:
        for above in PurePosixPath(name).parents:
            if str(above) in seen:
                _refuse(name, str(above))


def refuse_leaving(folder: Path, name: str) -> None:
    """Raise where a link in the folder leads what is to be written out of it.

    Raises:
        StorageError: that is so, or a file or a folder stands where the other should be.
    """
    target = folder / name
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise StorageError(
            f"{target} would be written outside of {folder}",
            got=f"a link leads to {target.parent.resolve()}",
            remedy="pull to that folder itself, or remove the link",
        )
    if target.is_dir() and not target.is_symlink():
        raise StorageError(f"{target} is a folder, and a file should go there", remedy="rename one of them")
    file = next((each for each in target.parents if each.is_file() and each.is_relative_to(folder)), None)
    if file is not None:
        raise StorageError(f"{file} is a file, and a folder should go there", remedy="rename one of them")


def _same_file(folder: Path, name: str, other: str) -> bool:
    """Whether the file system takes two names, alike but for case or accents, for one."""
    probe, twin = (folder / FOLDER / each.replace("/", "_")[-80:] for each in (name, other))
    if probe == twin:
        return False
    probe.parent.mkdir(parents=True, exist_ok=True)
    probe.touch()
    try:
        return twin.exists()
    finally:
        probe.unlink()


def _refuse(name: str, other: str) -> None:
    raise StorageError(
        "two objects cannot both become files here",
        got=f"{printable(name)!r} and {printable(other)!r}",
        remedy="give one of them another name where it is stored, or pull them to two folders",
    )
