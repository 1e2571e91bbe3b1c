"""7z archives, read with py7zr, which the extra ``archives`` brings."""

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agecls.data.archives.refusals import encrypted, refused
from agecls.data.archives.staging import Staging

if TYPE_CHECKING:
    from agecls.data.archives.staging import Entry


def read_7z(archive: Path, staging: Staging) -> None:
    """Unpack a 7z archive into ``staging``; every entry is looked at before the first is written.

    Raises:
        StorageError: something in it is refused, it is damaged, or py7zr is not installed.
    """
    try:
        import py7zr
        from py7zr.exceptions import CrcError, UnsupportedCompressionMethodError
        from py7zr.io import Py7zIO, WriterFactory
    except ImportError:
        raise refused(archive, "reading 7z needs the package py7zr", remedy="pip install 'agecls[archives]'") from None

    class Writer(Py7zIO):
        """Passes what py7zr unpacks on to an entry; py7zr reads nothing back."""

        def __init__(self, entry: "Entry") -> None:
            self.entry = entry

        def write(self, s: bytes | bytearray) -> int:
            self.entry.write(bytes(s))
            staging.show(raw.tell())
            return len(s)

        def close(self) -> None:
            self.entry.close()

        def read(self, size: int | None = None) -> bytes:
            return b""

        def seek(self, offset: int, whence: int = 0) -> int:
            return 0

        def flush(self) -> None:
            pass

        def size(self) -> int:
            return self.entry.written

    class Writers(WriterFactory):
        """Begins an entry for each file that py7zr comes to."""

        def __init__(self) -> None:
            self.open: Writer | None = None

        def create(self, filename: str) -> Writer:
            name = filename.removeprefix(f"{root}/")
            self.open = Writer(staging.add_file(name, times.get(str(staging.place(name)))))
            return self.open

    writers, root = Writers(), staging.folder.absolute()
    # A file object instead of a path keeps py7zr to one thread, and so to one file at a time.
    with archive.open("rb") as raw:
        try:
            with py7zr.SevenZipFile(raw, max_extract_size=staging.budget.limits.bytes) as held:
                if held.needs_password():
                    raise encrypted(archive)
                times = _check(list(held.files), staging)
                held.extractall(root, factory=writers)
        except py7zr.PasswordRequired:
            raise encrypted(archive) from None
        except UnsupportedCompressionMethodError as error:
            raise NotImplementedError(error.message) from None
        except CrcError as error:
            raise ValueError(f"the checksum of {error.filename} is another one") from None
        finally:
            if writers.open is not None:
                writers.open.close()


def _check(entries: list[Any], staging: Staging) -> dict[str, float]:
    """Look at every entry, make the folders, and return the times of the files by their paths in ``staging``."""
    staging.budget.expect(len(entries), sum(max(each.uncompressed, 0) for each in entries))
    # py7zr would give the second of two files a name of its own making.
    staging.foresee(each.filename for each in entries if not each.is_directory)
    times: dict[str, float] = {}
    for each in entries:
        place = staging.place(each.filename)
        kind = each.st_fmt
        if each.is_symlink or each.is_junction:
            raise staging.refuse(each.filename, "it holds a link, and those are not unpacked")
        if kind not in (None, 0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR and not each.is_directory):
            raise staging.refuse(each.filename, "it holds a device, a pipe or a socket, and those are not unpacked")
        if each.is_directory:
            staging.add_folder(each.filename)
            continue
        if each.lastwritetime is not None:
            times[str(place)] = each.lastwritetime.totimestamp()
    return times
