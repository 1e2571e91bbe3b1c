"""Which files came out of an archive, so that one which is unpacked already is neither fetched nor unpacked again."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from agecls.data.storage.checksums import Algorithm, Checksum, first_wrong
from agecls.data.storage.records import FOLDER
from agecls.data.storage.store import Stored
from agecls.files import write_whole

SCHEMA: Final = 1


def note_unpacked(
    folder: Path, label: str, source: str, stored: Stored, values: dict[Algorithm, str], top: Iterable[Path]
) -> None:
    """Remember an archive and every file that came out of it.

    Args:
        folder: the pull's target.
        label: of the archive, from ``fetch.label_of``.
        source: what its store calls it.
        stored: the archive as it was found.
        values: its checksums.
        top: the files and folders that came out of it.
    """
    os.sync()  # the archive is about to be deleted: its files must outlive the machine going down, as this note does
    files = [
        [str(path.relative_to(folder)), status.st_size, status.st_mtime_ns]
        for path in _files_below(top)
        for status in [path.lstat()]
    ]
    content = {"schema": SCHEMA, "source": source, "version": stored.version, "values": values, "files": files}
    text = json.dumps(content, separators=(",", ":"))
    write_whole(_path(folder, label), text.encode("utf-8", "backslashreplace"))


def count_unpacked(folder: Path, label: str, source: str, stored: Stored, expected: Sequence[Checksum]) -> int | None:
    """How many files are there of this very archive; None where it is not known, or one of them is gone or changed."""
    try:
        noted: Any = json.loads(_path(folder, label).read_text(encoding="utf-8"))
        if (noted["schema"], noted["source"]) != (SCHEMA, source):
            return None
        if expected:
            if first_wrong(expected, noted["values"]) is not None:
                return None
        elif not stored.version or noted["version"] != stored.version:
            return None
        for name, size, changed in noted["files"]:
            status = (folder / name).lstat()
            if (status.st_size, status.st_mtime_ns) != (size, changed):
                return None
        return len(noted["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(folder: Path, label: str) -> Path:
    return folder / FOLDER / f"{label}.unpacked.json"


def _files_below(top: Iterable[Path]) -> Iterable[Path]:
    for each in top:
        if each.is_dir() and not each.is_symlink():
            for folder, _, names in os.walk(each):
                yield from (Path(folder) / name for name in names)
        else:
            yield each
