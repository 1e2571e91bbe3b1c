"""What is said of an archive that is not unpacked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agecls.data.archives.names import printable
from agecls.errors import AgeclsError, StorageError

BY_HAND: Final = "ask whoever made the archive for a clean one, or unpack it by hand where it can do no harm"


def refused(archive: Path, why: str, entry: str | None = None, remedy: str = BY_HAND) -> StorageError:
    """The error for an archive that holds what is not unpacked.

    Args:
        archive: named in the message.
        why: what is wrong, such as ``its name is absolute``.
        entry: name of the entry in question as the archive has it; made printable here.
        remedy: what to do.
    """
    found = "" if entry is None else f"the entry '{printable(entry)}'"
    return StorageError(f"{printable(archive.name)} is not unpacked: {why}", got=found, remedy=remedy)


def damaged(archive: Path, how: str, entry: str | None = None) -> StorageError:
    """The error for an archive that is cut short or has changed on its way."""
    return refused(
        archive,
        f"it is damaged or cut short ({printable(how)})",
        entry,
        remedy="fetch it again and compare its checksum",
    )


def encrypted(archive: Path, entry: str | None = None) -> StorageError:
    """The error for an archive that asks for a password."""
    return refused(archive, "it is encrypted", entry, remedy="decrypt it, and pack it without a password")


@contextmanager
def read_with_care(archive: Path) -> Iterator[None]:
    """Turn whatever a library raises over the bytes of an archive into one error that says it is damaged.

    Raises:
        StorageError: always in place of another exception of the block.
    """
    try:
        yield
    except AgeclsError:
        raise
    except NotImplementedError as error:
        raise refused(
            archive,
            f"it is packed in a way that cannot be read here ({printable(str(error))})",
            remedy="pack it again as .tar.zst or as a zip with deflate",
        ) from None
    # Hostile bytes bring parsers to raise nearly anything: struct.error, IndexError, MemoryError and more.
    except Exception as error:
        raise damaged(archive, str(error) or type(error).__name__) from None
