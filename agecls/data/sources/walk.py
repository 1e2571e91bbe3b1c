"""Find the image files below a folder; name everything else, and why it was left out."""

import os
import re
from pathlib import Path
from typing import Final

from agecls.data.sources.listing import Rejected
from agecls.data.storage.records import FOLDER as PULLED

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters, and the two separators that many programs read as line ends."""


def walk_images(root: Path, start: str = "") -> tuple[list[str], list[Rejected]]:
    """List every file below ``root/start``; no file is opened.

    Links to image files inside the root are listed like any file. Links that leave the root are not: what stands
    behind them is not part of the folder that is being frozen, nor is what ``agecls pull`` keeps there for itself.

    Args:
        root: an existing folder.
        start: folder below it to begin at, relative with POSIX separators; "" for the root itself.

    Returns:
        The image files and the rejects, each sorted by path. Paths are relative to ``root``, with POSIX separators.
    """
    real_root = root.resolve()
    images: list[str] = []
    rejected: list[Rejected] = []
    folders = [start]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as scan:
                entries = list(scan)
        except OSError:
            rejected.append(Rejected(printable(folder or "."), "folder cannot be read"))
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name == PULLED:  # what pulling keeps there for itself
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif reason := _problem(entry, path, real_root):
                rejected.append(Rejected(printable(path), reason))
            else:
                images.append(path)
    return sorted(images), sorted(rejected)


def printable(path: str) -> str:
    r"""Return ``path`` as one line of UTF-8: control characters and stray bytes written as ``\x0a`` or ``\udcff``."""
    one_line = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), path)
    return one_line.encode("utf-8", "backslashreplace").decode()


def _problem(entry: os.DirEntry[str], path: str, real_root: Path) -> str:
    if _CONTROL.search(path):
        return "control character in the file name"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "file name is not UTF-8"
    if entry.is_symlink():
        target = Path(entry.path)
        if not target.exists():
            return "dangling symbolic link"
        if target.is_dir():
            return "symbolic link to a folder is not followed"
        if not target.resolve().is_relative_to(real_root):
            return "symbolic link out of the root"
    if not entry.is_file():
        return "not a regular file"
    if os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES:  # noqa: PTH122, four times as fast as Path.suffix
        return "not an image file"
    return ""
