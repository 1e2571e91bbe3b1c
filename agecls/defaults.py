"""What a bare command means: each default is said when it is used."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

ROOT_VARIABLE: Final = "AGECLS_ROOT"

Say = Callable[[str], None]
_T = TypeVar("_T")


def default_roots(given: Sequence[Path], say: Say) -> list[Path]:
    """The image folders given; else those of ``AGECLS_ROOT`` (several joined as in ``PATH``); else ``data/``."""
    if given:
        return list(given)
    named = os.environ.get(ROOT_VARIABLE, "")
    roots = [Path(each) for each in named.split(os.pathsep) if each]
    if roots:
        say(f"--root not given: using {ROOT_VARIABLE}={named}")
        return roots
    say(f"--root not given and {ROOT_VARIABLE} not set: using data/")
    return [Path("data")]


def default_split(given: Path | None, say: Say) -> Path:
    """The split given, else ``splits/utkface``."""
    return default(given, Path("splits/utkface"), "--split", say)


def default(given: _T | None, value: _T, flag: str, say: Say) -> _T:
    """``given``, else ``value``, which is then said."""
    if given is not None:
        return given
    say(f"{flag} not given: using {value}")
    return value
