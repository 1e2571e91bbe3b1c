"""Which kind of archive a file is, told by its first bytes."""

import bz2
import gzip
import lzma
import re
import tarfile
import zlib
from pathlib import Path
from typing import IO, Final, Literal

import zstandard

Kind = Literal["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst", "7z", "rar"]

Squeezed = Literal["gz", "bz2", "xz", "zst"]
"""One stream of bytes, made smaller; a tar or anything else."""

HEAD: Final = 512
"""So many bytes tell the kind: the length of a tar's header."""

_MAGIC: Final[dict[bytes, Kind | Squeezed]] = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # without entries
    b"PK\x07\x08": "zip",  # in several volumes
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07\x00": "rar",
    b"Rar!\x1a\x07\x01\x00": "rar",  # RAR 5
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}

_ZIPPED_FORMATS: Final = (
    ".ckpt", ".docx", ".epub", ".jar", ".keras", ".npz", ".odp", ".ods", ".odt", ".pptx", ".pt", ".pth", ".whl",
    ".xlsx",
)  # fmt: skip
"""Files of these names are zips inside and are never meant to be unpacked."""

_TAR_NAMES: Final[dict[Squeezed, tuple[str, ...]]] = {
    "gz": (".tar.gz", ".tgz", ".taz"),
    "bz2": (".tar.bz2", ".tbz", ".tbz2"),
    "xz": (".tar.xz", ".txz"),
    "zst": (".tar.zst", ".tzst"),
}

_OCTAL: Final = re.compile(rb"[ \0]*[0-7]+[ \0]*")

BROKEN: Final = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
"""What the decompressors raise on damaged bytes."""


def kind_of(file: Path) -> Kind | None:
    """The kind of an archive; None for a file that is none, or that holds weights, arrays or a document in a zip.

    The content decides. The name is asked in two cases: where a compressed stream is so damaged that it does not show
    whether a tar is in it, and for formats which are zips inside, such as ``.pt``, ``.npz`` and ``.docx``.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        found = kind_of_head(stream.read(HEAD))
    match found:
        case "gz" | "bz2" | "xz" | "zst":
            return _tar_in(file, found)
        case "zip" if file.name.lower().endswith(_ZIPPED_FORMATS):
            return None
        case _:
            return found


def kind_of_head(head: bytes) -> Kind | Squeezed | None:
    """What the first ``HEAD`` bytes of a file show; None for anything else than an archive or a compressed stream."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    return "tar" if _begins_tar(head) else None


def is_archive(name: str, head: bytes) -> bool:
    """Whether a file is an archive, judged by its name and its first ``HEAD`` bytes alone."""
    match found := kind_of_head(head):
        case "gz" | "bz2" | "xz" | "zst":
            return name.lower().endswith(_TAR_NAMES[found])
        case "zip":
            return not name.lower().endswith(_ZIPPED_FORMATS)
        case _:
            return found is not None


def open_squeezed(file: IO[bytes], squeezed: Squeezed) -> IO[bytes]:
    """A compressed stream, opened; it reads on over streams that were put one behind the other."""
    match squeezed:
        case "gz":
            return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]  # it is an IO[bytes] in all that is used
        case "bz2":
            return bz2.BZ2File(file)
        case "xz":
            return lzma.LZMAFile(file)
        case "zst":
            # zstd's own default refuses windows above 128 MB, which keeps a hostile file from asking for gigabytes.
            return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)


def _tar_in(file: Path, squeezed: Squeezed) -> Kind | None:
    kind: dict[Squeezed, Kind] = {"gz": "tar.gz", "bz2": "tar.bz2", "xz": "tar.xz", "zst": "tar.zst"}
    try:
        with file.open("rb") as raw, open_squeezed(raw, squeezed) as stream:
            head = stream.read(HEAD)
    except BROKEN:
        head = b""
    return kind[squeezed] if _begins_tar(head) or file.name.lower().endswith(_TAR_NAMES[squeezed]) else None


def _begins_tar(head: bytes) -> bool:
    """Whether a tar's header stands here: its checksum is right, which covers tars older than their magic bytes."""
    # A quick look first at where the checksum's octal digits would be; JPEGs have 456789 there, in their tables.
    if not _OCTAL.fullmatch(head[148:156]):
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
