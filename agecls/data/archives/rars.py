"""RAR archives, read with rarfile and, where they are compressed, one of the programs it knows."""

import shutil
import subprocess
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, Final

from agecls.data.archives.refusals import damaged, encrypted, refused
from agecls.data.archives.staging import CHUNK, Staging
from agecls.errors import StorageError

_PROGRAMS: Final = (
    ("unrar", "p", "-inul", "-p-", "--"),
    ("bsdtar", "-x", "--to-stdout", "-f"),
    ("unar", "-q", "-o", "-", "-p", "", "--"),
    ("7zz", "e", "-so", "-bb0", "--"),
    ("7z", "e", "-so", "-bb0", "--"),
)
"""Programs that give the contents of a RAR one after another; those that read the most kinds come first.

Debian's 7-Zip comes without the part that reads RAR. rarfile's own choice of programs is not used: it starts one for
each file, and gives bsdtar, as of 4.5, an argument too many.
"""

_HOW: Final = "apt install unrar (or libarchive-tools, which brings bsdtar), or pack it again as .tar.zst"


class _IncompleteError(Exception):
    """An entry whose content is not what its header says."""

    def __init__(self, entry: str) -> None:
        self.entry = entry
        super().__init__(entry)


def read_rar(archive: Path, staging: Staging) -> None:
    """Unpack a RAR archive into ``staging``; every entry is looked at before the first is written.

    Entries that are stored as they are need no program. Compressed ones are unpacked by one, whichever is there: it
    runs once, over the whole archive, and gives the contents one after another. It never writes a file itself.

    Raises:
        StorageError: something in it is refused, it is damaged, or rarfile or a program is missing.
    """
    try:
        import rarfile
    except ImportError:
        remedy = f"pip install 'agecls[archives]' and {_HOW}"
        raise refused(archive, "reading RAR needs the package rarfile", remedy=remedy) from None
    try:
        blocks: list[int] = []
        with rarfile.RarFile(archive, errors="strict", info_callback=lambda block: blocks.append(block.type)) as held:
            if held.needs_password():
                raise encrypted(archive)
            if len(held.volumelist()) > 1:
                raise refused(archive, "it is one of several volumes", remedy="unpack them together by hand")
            entries = held.infolist()
            # rarfile takes an archive for whole without its last block, for those before RAR 2.9 have none.
            if rarfile.RAR_BLOCK_ENDARC not in blocks and any(each.extract_version >= 29 for each in entries):
                raise damaged(archive, f"no end after {len(entries):,} entries")
            _check(entries, staging)
            if all(each.is_dir() or each.compress_type == rarfile.RAR_M0 for each in entries):
                for each in entries:
                    with nullcontext() if each.is_dir() else held.open(each) as source:
                        _add(each, staging, source)
            else:
                _read_from(_command(archive), entries, staging)
    except _IncompleteError as error:
        raise damaged(archive, "bytes are missing or its checksum is another one", error.entry) from None
    except rarfile.RarCannotExec:
        # Raised for a compressed comment too, before any entry is asked for.
        raise _no_program(archive) from None
    except rarfile.PasswordRequired:
        raise encrypted(archive) from None
    except rarfile.NeedFirstVolume:
        raise refused(archive, "it is one of several volumes", remedy="unpack them together by hand") from None


def _check(entries: Sequence[Any], staging: Staging) -> None:
    staging.budget.expect(len(entries), sum(each.file_size for each in entries))
    # rarfile would read the last of several files for each of them.
    staging.foresee(each.filename for each in entries if not each.is_dir())
    for each in entries:
        staging.place(each.filename)
        if each.is_symlink() or each.file_redir is not None:
            raise staging.refuse(each.filename, "it holds a link, and those are not unpacked")
        if not (each.is_dir() or each.is_file()):
            raise staging.refuse(each.filename, "it holds neither a file nor a folder")


def _command(archive: Path) -> list[str]:
    for program, *arguments in _PROGRAMS:
        if found := shutil.which(program):
            return [found, *arguments, str(archive.resolve())]
    raise _no_program(archive)


def _no_program(archive: Path) -> StorageError:
    return refused(archive, "reading compressed RAR needs a program, and none is here", remedy=_HOW)


def _read_from(command: list[str], entries: Sequence[Any], staging: Staging) -> None:
    archive = staging.budget.archive
    name = Path(command[0]).name
    with subprocess.Popen(  # noqa: S603 - one of the programs above, and the archive as its last argument
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as program:
        try:
            for each in entries:
                _add(each, staging, None if each.is_dir() else program.stdout)
            more = program.stdout.read(1) if program.stdout else b""
            code = program.wait()
        except _IncompleteError as error:
            raise _unread(archive, name, error.entry) from None
        finally:
            program.kill()
    if more or code:
        raise _unread(archive, name)


def _unread(archive: Path, program: str, entry: str | None = None) -> StorageError:
    remedy = f"fetch it again and compare its checksum; if that is right, {_HOW}"
    return refused(archive, f"it is damaged, or {program} cannot read it", entry, remedy=remedy)


def _add(entry: Any, staging: Staging, source: IO[bytes] | None) -> None:
    """One entry, its content read from ``source``; its checksum must be right."""
    if source is None:
        staging.add_folder(entry.filename)
        return
    from rarfile import Blake2SP

    left, crc, blake = entry.file_size, 0, Blake2SP() if entry.CRC is None else None
    with staging.add_file(entry.filename, entry.mtime.timestamp() if entry.mtime else None) as file:
        while left > 0 and (piece := source.read(min(CHUNK, left))):
            file.write(piece)
            left -= len(piece)
            if blake is None:
                crc = zlib.crc32(piece, crc)
            else:
                blake.update(piece)
    expected = entry.CRC if blake is None else entry.blake2sp_hash
    if left or (expected is not None and expected != (crc if blake is None else blake.digest())):
        raise _IncompleteError(entry.filename)
    staging.show(entry.header_offset)
