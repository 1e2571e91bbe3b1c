"""What the labels of a source say, before any image is opened."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Label(NamedTuple):
    """One labelled image.

    Attributes:
        path: image file relative to the root, POSIX separators.
        age_low: youngest possible age in years, 0..116.
        age_high: oldest possible age in years; equal to ``age_low`` where the source knows the age exactly.
        gender: one of ``labels.GENDERS``, or "" where the source does not know.
        ethnicity: one of ``labels.ETHNICITIES``, or "" where the source does not know.
        keys: images that share any key belong into one group, such as ``stamp:20170112213500903``.
    """

    path: str
    age_low: int
    age_high: int
    gender: str
    ethnicity: str
    keys: tuple[str, ...] = ()


class Rejected(NamedTuple):
    """One file or table row that cannot be used, and why. The reason is the same on every machine."""

    path: str
    reason: str


@dataclass
class Listing:
    """Labels and rejects of one source, in any order; filled by a reader, sorted by whoever uses it."""

    labels: list[Label] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def reject(self, path: str, reason: str) -> None:
        """Note that ``path`` cannot be used."""
        self.rejected.append(Rejected(path, reason))

    def reject_all(self, paths: Sequence[str], reason: str) -> None:
        """Note that none of ``paths`` can be used, all for one reason."""
        self.rejected.extend(Rejected(path, reason) for path in paths)
