"""How often a run has opened a test part: a score looked at many times is no longer an honest one."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from filelock import FileLock

from agecls.errors import RunError
from agecls.files import write_whole

FILE: Final = "ledger.json"


def note_opening(folder: Path, part: str, fingerprint: str, images: int) -> int:
    """Note in a run's folder that a part was scored, and return how often it has been, this time included.

    Args:
        folder: the run's folder.
        part: ``valid`` or ``test``.
        fingerprint: of the split.
        images: how many were scored.

    Raises:
        RunError: the ledger is damaged.
        UsageError: it cannot be written.
    """
    path = folder / FILE
    with FileLock(folder / f".{FILE}.lock"):
        openings = _read(path)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        openings.append({"part": part, "split": fingerprint, "images": images, "at": when})
        write_whole(path, (json.dumps({"schema": 1, "openings": openings}, indent=1) + "\n").encode())
    return sum(entry["part"] == part and entry["split"] == fingerprint for entry in openings)


def _read(path: Path) -> list[dict[str, object]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        openings = content["openings"]
        if all({"part", "split"} <= entry.keys() for entry in openings):
            return list(openings)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise RunError(f"the ledger {path} is damaged", remedy="restore it; it says how often the test part was opened")
