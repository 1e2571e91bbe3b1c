"""Tars, plain and compressed, read from front to end in one pass."""

import tarfile
from pathlib import Path
from typing import IO, Final, Literal, cast, get_args

import zstandard

from agecls.data.archives.kind import Squeezed, open_squeezed
from agecls.data.archives.refusals import damaged, refused
from agecls.data.archives.staging import CHUNK, Staging

TarKind = Literal["tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"]

_SPECIAL: Final = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


def read_tar(archive: Path, kind: TarKind, staging: Staging) -> None:
    """Unpack a tar into ``staging``.

    Python's tarfile ends in silence where a header is broken or cut short. A tar is whole only if the empty block
    stands where it ends, so that is asked for. The stream is then read to its end, where its checksum is.

    Raises:
        StorageError: something in it is refused, or it is damaged.
    """
    squeezed = kind.partition(".")[2]
    with archive.open("rb") as raw:
        if squeezed in get_args(Squeezed):
            try:
                with open_squeezed(raw, squeezed) as stream:  # type: ignore[arg-type]
                    _read(archive, raw, _Forward(stream), staging)
            except zstandard.ZstdError as error:
                if "too much memory" in str(error):
                    raise NotImplementedError("zstd --long with a window above 128 MB") from None
                raise
        else:
            staging.budget.expect(0, archive.stat().st_size - tarfile.RECORDSIZE)
            _read(archive, raw, _Forward(raw), staging)


def _read(archive: Path, raw: IO[bytes], stream: "_Forward", staging: Staging) -> None:
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        while (member := tar.next()) is not None:
            # Else a million of them stay in memory.
            tar.members.clear()  # type: ignore[attr-defined]  # typeshed leaves it out
            if member.isdir():
                staging.add_folder(member.name)
            elif member.isreg():
                _copy(tar, member, stream, staging)
            else:
                what = _SPECIAL.get(member.type, "neither a file nor a folder")
                target = f" to {member.linkname}" if member.linkname else ""
                raise staging.refuse(f"{member.name}{target}", f"it holds {what}, and those are not unpacked")
            staging.show(raw.tell())
    if len(stream.last) != tarfile.BLOCKSIZE or any(stream.last):
        raise damaged(archive, f"no end after {staging.files:,} files, at byte {stream.tell():,} of the tar")
    more = False
    while piece := stream.read(CHUNK):
        staging.budget.spend(len(piece))
        more = more or any(piece)
    if more:
        raise refused(
            archive,
            "another tar or something else stands behind its end",
            remedy="unpack it by hand: tar --extract --ignore-zeros",
        )


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, stream: "_Forward", staging: Staging) -> None:
    source = (tar.extractfile(member) if member.issparse() else None) or stream
    left = member.size
    with staging.add_file(member.name, float(member.mtime)) as file:
        while left > 0:
            piece = source.read(min(CHUNK, left))
            if not piece:
                raise damaged(staging.budget.archive, f"{left:,} bytes are missing", member.name)
            file.write(piece)
            left -= len(piece)


class _Forward:
    """A stream that goes forward only and gives little at a time, whatever a header asks for.

    Attributes:
        last: what was read last; when tarfile stops, that is the block where it expected a header.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.last = b""
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= CHUNK:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self.last = self._stream.read(size)
        return self.last

    def seek(self, offset: int) -> int:
        if offset < self._stream.tell():
            raise tarfile.ReadError("a header leads backwards")
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()
