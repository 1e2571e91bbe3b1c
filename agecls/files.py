"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from agecls.errors import UsageError


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path``, then give it its name; a killed process leaves the old file or the new one.

    A link keeps pointing where it points. A device or a pipe, such as ``/dev/stdout``, is written to and stays one.

    Raises:
        UsageError: the file cannot be written.
    """
    unfinished = None
    try:
        if path.parts[:2] == ("/", "dev") or (path.exists() and not (path.is_file() or path.is_dir())):
            with path.open("ab") as stream:
                stream.write(content)
            return
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).chmod(0o644)
        Path(unfinished).replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}",
            got=error.strerror or str(error),
            remedy="choose a folder you may write to, with room",
        ) from None
    finally:
        if unfinished is not None:
            Path(unfinished).unlink(missing_ok=True)
