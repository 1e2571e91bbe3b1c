"""``cv.json``: what a cross-validation is of, from its beginning, and what it has shown, at its end."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from agecls.errors import RunError, UsageError
from agecls.files import write_whole
from agecls.learn.run_folder import prepare_folder

SCHEMA: Final = 1
FILE: Final = "cv.json"


def open_folder(out: Path | None, stem: str, begun: Mapping[str, Any], *, resume: bool) -> Path:
    """The folder of a cross-validation, with a ``cv.json`` that says what it is of.

    Args:
        out: where; None takes the next free ``runs/STEM-cv-N``.
        stem: of that name.
        begun: what it is of.
        resume: whether to go on in a folder that is there.

    Raises:
        UsageError: there is nothing to resume.
        RunError: the folder is there already, or what is to be resumed is of something else.
    """
    if not resume:
        folder, _ = prepare_folder(out, f"{stem}-cv", resume=False)
        save(folder, {**begun, "status": "training"})
        return folder
    if out is None:
        raise UsageError("--resume needs the cross-validation to go on with", remedy="name it with --out runs/NAME")
    path = out / FILE
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        differing = [name for name, value in begun.items() if old.get(name) != value]
    except FileNotFoundError:
        raise UsageError(
            f"there is no cross-validation to resume at {out}", remedy="leave --resume out to start one"
        ) from None
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(f"cannot read {path}", got=str(error), remedy="start another one with --out") from None
    if differing:
        raise RunError(
            f"{out} was started with other {differing[0]}",
            got=f"{old.get(differing[0])}, now {begun[differing[0]]}",
            remedy="resume it as it was started, or start another one with --out",
        )
    return out


def save(folder: Path, told: Mapping[str, Any]) -> None:
    """Write ``cv.json``, atomically."""
    text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(folder / FILE, text.encode("utf-8", "backslashreplace"))
