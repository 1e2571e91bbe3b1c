"""Everything agecls refuses, as one tree.

    AgeclsError                 exit 2: wrong usage or bad input
    ├── UsageError              a flag, a path or a combination of them cannot be used
    ├── BinsError               age bins that overlap, leave gaps or cannot be read
    ├── ConfigError             a setting that does not exist or has an impossible value
    ├── DataError               images or label tables that cannot be used as asked
    │   └── SplitError          a split directory that is missing, damaged or already there
    ├── RunError                a run directory that is missing, damaged or does not fit
    ├── StorageError            a bucket, a server or an archive that does not give or take what is asked
    └── LeakageError            exit 3: one image would stand on both sides of a measurement

Each error says what was wrong, what was found, and what to do about it.
"""

from functools import partial
from typing import Any, ClassVar


class AgeclsError(Exception):
    """Base of all errors a user can cause.

    Args:
        what: what cannot be done, as one sentence without a full stop.
        got: what was found instead; left out when ``what`` says it already.
        remedy: what to do now.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, got: str = "", remedy: str = "") -> None:
        self.what = what
        self.got = got
        self.remedy = remedy
        super().__init__(what, got, remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error cross from a worker process with all it has to say."""
        return partial(type(self), got=self.got, remedy=self.remedy), (self.what,)

    def __str__(self) -> str:
        lines = [self.what]
        if self.got:
            lines.append(f"  found: {self.got}")
        if self.remedy:
            lines.append(f"  do:    {self.remedy}")
        return "\n".join(lines)


class UsageError(AgeclsError):
    """A flag, a path or a combination of them cannot be used."""


class BinsError(AgeclsError):
    """Age bins that overlap, leave gaps, are out of order or cannot be read."""


class ConfigError(AgeclsError):
    """A setting that does not exist or has an impossible value."""


class DataError(AgeclsError):
    """Images or label tables that cannot be used as asked."""


class SplitError(DataError):
    """A split directory that is missing, damaged or already there."""


class RunError(AgeclsError):
    """A run directory that is missing, damaged or does not fit what is asked."""


class StorageError(AgeclsError):
    """A bucket, a server or an archive that does not give or take what is asked."""


class LeakageError(AgeclsError):
    """One image would stand on both sides of a measurement."""

    exit_code: ClassVar[int] = 3
