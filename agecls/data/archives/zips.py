"""Zips, read with the standard library."""

import stat
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agecls.data.archives.refusals import damaged, encrypted, refused
from agecls.data.archives.staging import CHUNK, Staging

_ENCRYPTED: Final = 0x1 | 0x40
_UTF8: Final = 0x800
_LOCAL_HEADER: Final = 30
"""Bytes of an entry before its name."""


def read_zip(archive: Path, staging: Staging) -> None:
    """Unpack a zip into ``staging``; every entry is looked at before the first is written.

    Raises:
        StorageError: something in it is refused, or it is damaged.
    """
    with zipfile.ZipFile(archive) as zipped:
        entries = zipped.infolist()
        staging.budget.expect(len(entries), sum(each.file_size for each in entries))
        _refuse_overlaps(archive, entries)
        for each in entries:
            _check(each, staging)
        for each in entries:
            name = _name(each)
            if name.endswith(("/", "\\")) or (stat.S_ISDIR(each.external_attr >> 16) and not each.file_size):
                staging.add_folder(name)
                continue
            with zipped.open(each) as packed, staging.add_file(name, _modified(each)) as file:
                while piece := packed.read(CHUNK):
                    file.write(piece)
            if file.written != each.file_size:
                raise damaged(archive, f"{file.written:,} bytes instead of {each.file_size:,}", name)
            staging.show(each.header_offset)


def _check(entry: zipfile.ZipInfo, staging: Staging) -> None:
    name = _name(entry)
    staging.place(name)
    # What the upper half holds is a mode of Unix, or nothing.
    match stat.S_IFMT(entry.external_attr >> 16):
        case 0 | stat.S_IFREG | stat.S_IFDIR:
            pass
        case stat.S_IFLNK:
            raise staging.refuse(name, "it holds a symbolic link, and those are not unpacked")
        case _:
            raise staging.refuse(name, "it holds a device, a pipe or a socket, and those are not unpacked")
    if entry.flag_bits & _ENCRYPTED:
        raise encrypted(staging.budget.archive, name)


def _refuse_overlaps(archive: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse entries that share bytes of the archive: a small file of them unpacks to petabytes."""
    end, before = 0, ""
    for each in sorted(entries, key=lambda each: each.header_offset):
        if each.header_offset < end:
            raise refused(archive, f"its entries overlap, such as {before!r} with the next", each.orig_filename)
        end = (
            each.header_offset + _LOCAL_HEADER + len(each.orig_filename.encode("cp437", "replace")) + each.compress_size
        )
        before = each.orig_filename


def _name(entry: zipfile.ZipInfo) -> str:
    """Its name, uncut; read as UTF-8 where it is that, also where the zip does not say so, as with those of macOS."""
    if entry.flag_bits & _UTF8:
        return entry.orig_filename
    try:
        return entry.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.orig_filename


def _modified(entry: zipfile.ZipInfo) -> float | None:
    """Seconds since 1970; a zip has the local time of whoever packed it, taken here for that of this machine."""
    try:
        return time.mktime((*entry.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return None
