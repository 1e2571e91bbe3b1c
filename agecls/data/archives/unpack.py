"""Unpacks an archive: whole or not at all, and never outside the folder it is meant for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from agecls.data.archives.budget import Budget
from agecls.data.archives.kind import Kind, kind_of
from agecls.data.archives.limits import Limits
from agecls.data.archives.moving import hidden_folder, move
from agecls.data.archives.names import printable
from agecls.data.archives.rars import read_rar
from agecls.data.archives.refusals import read_with_care
from agecls.data.archives.sevenzips import read_7z
from agecls.data.archives.staging import Staging
from agecls.data.archives.tars import read_tar
from agecls.data.archives.zips import read_zip
from agecls.errors import StorageError
from agecls.progress import progress


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive.

    Attributes:
        files: number of files now at their place, those included that were there already with the same content.
        bytes: their size together.
        top: files and folders directly in the target, sorted.
        skipped: entries left out, each with the reason.
        nested: archives that came out of it and were left as they are.
    """

    files: int
    bytes: int
    top: tuple[Path, ...]
    skipped: tuple[tuple[str, str], ...]
    nested: tuple[str, ...]


def unpack(archive: Path, into: Path, say: Callable[[str], None], limits: Limits | None = None) -> Unpacked:
    """Unpack an archive of any ``Kind`` into a folder, which is made where it is missing.

    Everything is unpacked in a hidden folder inside ``into`` and moved when all of it is there. Files get mode 0644 and
    folders 0755; neither owners nor bits such as setuid are taken over. Links, devices, pipes and sockets, names that
    lead elsewhere or break tables, two entries of one name and encrypted entries refuse the whole archive. What macOS
    adds to archives is left out. Archives inside it stay archives.

    Args:
        archive: the file.
        into: where its top entries go.
        say: takes lines about what was left out or left as it is.
        limits: how much it may unpack to; what the environment says where None.

    Raises:
        StorageError: it is refused or damaged, or it cannot be read or written here. Nothing has been moved then.
        UsageError: a limit in the environment is no number.
    """
    limits = limits or Limits.from_environment()
    try:
        kind = kind_of(archive)
        size = archive.stat().st_size
    except OSError as error:
        raise StorageError(
            f"the archive {printable(str(archive))} cannot be read", got=error.strerror or "", remedy="check the path"
        ) from None
    if kind is None:
        raise StorageError(
            f"{printable(archive.name)} is no archive that can be unpacked",
            got=f"a file of {size:,} bytes",
            remedy=f"name a {', '.join(get_args(Kind))}",
        )
    with hidden_folder(into, say) as folder, progress("unpacking", size) as advance:
        staging = Staging(folder, Budget(archive, folder, limits), advance)
        with read_with_care(archive):
            _read(archive, kind, staging)
        top = move(folder, into, archive)
    if staging.skipped:
        say(f"{archive.name}: left out {len(staging.skipped):,} files that macOS adds to archives")
    if staging.nested:
        say(f"{archive.name}: {len(staging.nested):,} archives in it are left as they are, such as {staging.nested[0]}")
    return Unpacked(staging.files, staging.bytes, top, tuple(staging.skipped), tuple(staging.nested))


def _read(archive: Path, kind: Kind, staging: Staging) -> None:
    match kind:
        case "zip":
            read_zip(archive, staging)
        case "7z":
            read_7z(archive, staging)
        case "rar":
            read_rar(archive, staging)
        case _:
            read_tar(archive, kind, staging)
