"""Packs archives of every kind, well-meaning and hostile ones, for the tests beside it."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import py7zr
import zstandard

from agecls.data.archives import Kind

KINDS: tuple[Kind, ...] = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "7z", "rar")
FAMILIES: tuple[Kind, ...] = ("zip", "tar", "7z", "rar")
"""One of each reader."""

MODIFIED = 1_600_000_000
"""Every entry's time, in seconds since 1970; even, since zip counts in steps of two."""

Special = Literal["symlink", "hard link", "character device", "block device", "fifo", "socket"]


@dataclass(frozen=True)
class Item:
    """One entry: a file with content, a folder (``data`` is None), or something special that points to ``target``."""

    name: str
    data: bytes | None = b"face"
    mode: int = 0o644
    special: Special | None = None
    target: str = ""


def pack(path: Path, kind: Kind, items: Sequence[Item]) -> Path:
    """Write an archive of this kind; names are taken as they are."""
    match kind:
        case "zip":
            _pack_zip(path, items)
        case "7z":
            _pack_7z(path, items)
        case "rar":
            path.write_bytes(rar5(items))
        case _:
            path.write_bytes(squeeze(tar_bytes(items), kind))
    return path


def tar_bytes(items: Sequence[Item], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar; what stands for a surrogate in a name becomes a raw byte."""
    buffer = io.BytesIO()
    types = {
        "symlink": tarfile.SYMTYPE,
        "hard link": tarfile.LNKTYPE,
        "character device": tarfile.CHRTYPE,
        "block device": tarfile.BLKTYPE,
        "fifo": tarfile.FIFOTYPE,
        "socket": b"s",
    }
    with tarfile.open(fileobj=buffer, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as tar:
        for item in items:
            info = tarfile.TarInfo(item.name)
            info.mtime, info.mode = MODIFIED, item.mode
            if item.special:
                info.type, info.linkname = types[item.special], item.target
                tar.addfile(info)
            elif item.data is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(item.data)
                tar.addfile(info, io.BytesIO(item.data))
    return buffer.getvalue()


def squeeze(tar: bytes, kind: Kind) -> bytes:
    """A tar, compressed or not."""
    match kind:
        case "tar.gz":
            return gzip.compress(tar)
        case "tar.bz2":
            return bz2.compress(tar)
        case "tar.xz":
            return lzma.compress(tar, preset=1)
        case "tar.zst":
            return zstandard.ZstdCompressor(write_checksum=True).compress(tar)
        case _:
            return tar


_MODES = {
    "symlink": stat.S_IFLNK,
    "character device": stat.S_IFCHR,
    "block device": stat.S_IFBLK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
}


def _pack_zip(path: Path, items: Sequence[Item]) -> None:
    from time import localtime

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as held, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name", UserWarning)
        for item in items:
            name = item.name + "/" if item.data is None and not item.special else item.name
            info = zipfile.ZipInfo("x", localtime(MODIFIED)[:6])
            info.filename = info.orig_filename = name
            info.compress_type = zipfile.ZIP_DEFLATED
            kind = _MODES[item.special] if item.special else stat.S_IFDIR if item.data is None else stat.S_IFREG
            info.external_attr = (kind | item.mode) << 16
            held.writestr(info, item.target.encode() if item.special else item.data or b"")


def _pack_7z(path: Path, items: Sequence[Item]) -> None:
    """py7zr refuses to write hostile names, so each is given to an entry that has another one until then."""
    from py7zr.helpers import ArchiveTimestamp

    if not items:
        with py7zr.SevenZipFile(path, "w"):
            return
    with py7zr.SevenZipFile(path, "w", filters=[{"id": py7zr.FILTER_LZMA2, "preset": 1}]) as held:
        folder = path.parent / "folder-of-7z"
        folder.mkdir(exist_ok=True)
        for number, item in enumerate(items):
            if item.data is None and not item.special:
                held.write(folder, f"entry-{number}")
            else:
                held.writestr(item.target.encode() if item.special else item.data or b"", f"entry-{number}")
            entry = held.files.files_list[-1]
            entry["filename"] = item.name
            entry["lastwritetime"] = ArchiveTimestamp.from_datetime(MODIFIED)
            if item.special:
                entry["attributes"] = 0x8000 | (_MODES[item.special] | item.mode) << 16
        folder.rmdir()


def rar5(items: Sequence[Item], *, method: int = 0, claimed: int | None = None, encrypted: bool = False) -> bytes:
    """A RAR 5 archive of stored entries, after the format's technical note.

    Args:
        items: its entries.
        method: 0 for stored; another one is a claim, for no compressor stands behind it.
        claimed: unpacked size every header gives, in bytes; the true one where None.
        encrypted: mark entries as encrypted.
    """
    redirections = {"symlink": 1, "hard link": 4}
    out = [b"Rar!\x1a\x07\x01\x00", _block(b"\x01" + b"\x00" + b"\x00")]
    for item in items:
        data = item.data or b""
        name = item.name.encode("utf-8", "surrogateescape")
        flags = 0x02 | (0x01 if item.data is None else 0x04)
        extra = b""
        if item.special:
            if item.special not in redirections:
                raise ValueError(f"RAR has no {item.special}")
            target = item.target.encode()
            extra += _sized(b"\x05" + _vint(redirections[item.special]) + b"\x00" + _vint(len(target)) + target)
        if encrypted:
            extra += _sized(b"\x01\x00\x00\x0f" + bytes(32))
        head = b"\x02" + _vint(0x02 | (0x01 if extra else 0))
        head += _vint(len(extra)) if extra else b""
        head += _vint(len(data)) + _vint(flags) + _vint(len(data) if claimed is None else claimed) + _vint(item.mode)
        head += struct.pack("<I", MODIFIED) + (b"" if item.data is None else struct.pack("<I", zlib.crc32(data)))
        head += _vint(method << 7) + b"\x01" + _vint(len(name)) + name
        out += [_block(head + extra), data]
    out.append(_block(b"\x05\x00\x00"))
    return b"".join(out)


def _vint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _sized(content: bytes) -> bytes:
    return _vint(len(content)) + content


def _block(content: bytes) -> bytes:
    sized = _sized(content)
    return struct.pack("<I", zlib.crc32(sized)) + sized


def rar3(items: Sequence[Item], *, method: int = 0x30) -> bytes:
    """A RAR 3 archive of stored files, as it was written before 2013."""

    def block(kind: int, flags: int, body: bytes) -> bytes:
        head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head

    out = [b"Rar!\x1a\x07\x00", block(0x73, 0, bytes(6))]
    for item in items:
        data, name = item.data or b"", item.name.encode()
        stamp = 41 << 25 | 9 << 21 | 13 << 16  # 13 September 2021
        sizes = struct.pack("<II", len(data), len(data))
        rest = struct.pack("<BIIBBHI", 3, zlib.crc32(data), stamp, 29, method, len(name), 0o100644)
        out += [block(0x74, 0x8000, sizes + rest + name), data]
    return b"".join([*out, block(0x7B, 0x4000, b"")])
