"""RAR archives, read with rarfile and, where they are compressed, one of the programs it knows."""

import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from agecls.data.archives.refusals import damaged, encrypted, refused
from agecls.data.archives.staging import CHUNK, Staging

_HOW: str = "apt install unrar (or libarchive-tools, unar, 7zip), or pack it again as .tar.zst"


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
        with rarfile.RarFile(archive, errors="strict") as held:
            if held.needs_password():
                raise encrypted(archive)
            if len(held.volumelist()) > 1:
                raise refused(archive, "it is one of several volumes", remedy="unpack them together by hand")
            entries = held.infolist()
            _check(entries, staging)
            if all(each.is_dir() or each.compress_type == rarfile.RAR_M0 for each in entries):
                for each in entries:
                    _add(each, staging, None if each.is_dir() else held.open(each))
            else:
                command = rarfile.tool_setup(force=True).open_cmdline(None, str(archive.resolve()))
                _read_from(command, entries, staging)
    except rarfile.PasswordRequired:
        raise encrypted(archive) from None
    except rarfile.RarCannotExec:
        raise refused(archive, "reading compressed RAR needs a program, and none is here", remedy=_HOW) from None
    except rarfile.NeedFirstVolume:
        raise refused(archive, "it is one of several volumes", remedy="unpack them together by hand") from None


def _check(entries: Sequence[Any], staging: Staging) -> None:
    staging.budget.expect(len(entries), sum(each.file_size for each in entries))
    for each in entries:
        staging.place(each.filename)
        if each.is_symlink() or each.file_redir is not None:
            raise staging.refuse(each.filename, "it holds a link, and those are not unpacked")
        if not (each.is_dir() or each.is_file()):
            raise staging.refuse(each.filename, "it holds neither a file nor a folder")


def _read_from(command: list[str], entries: Sequence[Any], staging: Staging) -> None:
    archive = staging.budget.archive
    with subprocess.Popen(  # noqa: S603 - the program is one of those rarfile knows
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as program:
        try:
            for each in entries:
                _add(each, staging, None if each.is_dir() else program.stdout)
            more = program.stdout.read(1) if program.stdout else b""
        except BaseException:
            program.kill()
            raise
    if more or program.returncode:
        raise damaged(archive, f"{Path(command[0]).name} ended with {program.returncode}")


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
        raise damaged(staging.budget.archive, "bytes are missing or its checksum is another one", entry.filename)
    staging.show(entry.header_offset)
