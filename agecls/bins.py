"""Age bins: closed ranges of whole years such as ``15-30``, in ascending order, covering 0..116.

Two presets (``8``, ``adience``) leave gaps on purpose, as the Adience protocol does: ages in a gap have no label.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agecls.errors import BinsError
from agecls.labels import AGE_MAX, AGE_MIN

UNLABELLED: Final = -1
"""The bin index of an age (or a range of ages) that no single bin holds."""

PRESETS: Final[dict[str, str]] = {
    "3": "0-14,15-40,41-116",
    "4": "0-12,13-19,20-59,60-116",
    "7": "0-2,3-6,7-14,15-30,31-40,41-65,66-116",
    "7-first": "0-2,3-9,10-16,17-25,26-45,46-60,61-116",
    "8": "0-2,4-6,8-13,15-20,25-32,38-43,48-53,60-116",
    "adience": "0-2,4-6,8-13,15-20,25-32,38-43,48-53,60-116",
    "2y": ",".join(["0-2", *(f"{low}-{low + 1}" for low in range(3, 60, 2)), "61-116"]),
}
"""Named partitions: the study's seven, its first seven, Adience's eight, and two-year steps for bin search."""

WITH_GAPS: Final = frozenset({"8", "adience"})

_REMEDY = f"give a preset ({', '.join(PRESETS)}), a list such as 0-2,3-6,7-116, or a bins.json"


@dataclass(frozen=True)
class Bins:
    """Closed age ranges in years, ascending.

    Attributes:
        ranges: ``(low, high)`` pairs, both ends inside the bin, 0 <= low <= high <= 116.
        gaps: whether ages may stand between two bins (those ages are unlabelled).

    Raises:
        BinsError: fewer than two bins, an age outside 0..116, an overlap, a disorder, or a gap where ``gaps`` is False.
    """

    ranges: tuple[tuple[int, int], ...]
    gaps: bool = False

    def __post_init__(self) -> None:
        if len(self.ranges) < 2:
            raise BinsError("age bins need at least two ranges", got=self.text or "none", remedy=_REMEDY)
        for low, high in self.ranges:
            if not AGE_MIN <= low <= high <= AGE_MAX:
                problem = "runs backwards" if low > high else f"leaves {AGE_MIN}..{AGE_MAX} years"
                raise BinsError(f"age bin {low}-{high} {problem}", got=self.text, remedy=_REMEDY)
        for (_, before), (low, high) in zip(self.ranges, self.ranges[1:], strict=False):
            if low <= before:
                problem = "overlaps the bin before it" if high > before else "is out of order"
                raise BinsError(
                    f"age bin {low}-{high} {problem}, which ends at {before}", got=self.text, remedy=_REMEDY
                )
            if low > before + 1 and not self.gaps:
                self._refuse_gap(before + 1, low - 1, f"between the bins that end at {before} and begin at {low}")
        if not self.gaps and self.ranges[0][0] != AGE_MIN:
            self._refuse_gap(AGE_MIN, self.ranges[0][0] - 1, f"before the first bin {self.names[0]}")
        if not self.gaps and self.ranges[-1][1] != AGE_MAX:
            self._refuse_gap(self.ranges[-1][1] + 1, AGE_MAX, f"after the last bin {self.names[-1]}")

    def _refuse_gap(self, low: int, high: int, where: str) -> None:
        ages, are = (f"age {low}", "is") if low == high else (f"ages {low}-{high}", "are")
        raise BinsError(
            f"{ages} {where} {are} in no bin",
            got=self.text,
            remedy='cover 0..116; only a bins.json with "gaps": true may leave ages unlabelled, as preset adience does',
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the bins, such as ``15-30``."""
        return tuple(f"{low}-{high}" for low, high in self.ranges)

    @property
    def text(self) -> str:
        """The bins as one list, such as ``0-2,3-6,7-116``; what ``parse`` reads back."""
        return ",".join(self.names)

    def __len__(self) -> int:
        return len(self.ranges)

    def index(self, ages: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the bin index of each age, shape as ``ages``; ``UNLABELLED`` (-1) in a gap or for NaN."""
        return self.index_of_range(ages, ages)

    def index_of_range(self, low: npt.ArrayLike, high: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the index of the one bin that holds all of ``low..high``, else ``UNLABELLED`` (-1).

        Args:
            low: youngest possible age in years, any shape.
            high: oldest possible age in years, same shape.
        """
        starts = np.array([start for start, _ in self.ranges], dtype=np.float64)
        ends = np.array([end for _, end in self.ranges], dtype=np.float64)
        low_years, high_years = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        found = np.searchsorted(starts, low_years, side="right") - 1
        inside = (found >= 0) & (low_years <= high_years) & (high_years <= ends[np.clip(found, 0, None)])
        return np.where(inside, found, UNLABELLED).astype(np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return the content of a ``bins.json``."""
        return {"schema": 1, "names": list(self.names), "edges": [low for low, _ in self.ranges], "gaps": self.gaps}

    @classmethod
    def from_names(cls, names: Sequence[str], *, gaps: bool = False) -> "Bins":
        """Make bins from names such as ``["0-2", "3-116"]``."""
        return cls(tuple(_parse_range(name, ",".join(names)) for name in names), gaps=gaps)

    @classmethod
    def parse(cls, text: str) -> "Bins":
        """Read a preset name, a list such as ``0-2,3-6,7-116``, or the path of a ``bins.json``.

        Raises:
            BinsError: with the offending piece named.
        """
        text = text.strip()
        if text in PRESETS:
            return cls.from_names(PRESETS[text].split(","), gaps=text in WITH_GAPS)
        if text.endswith(".json"):
            return cls._load(Path(text))
        if re.fullmatch(r"[0-9]+", text):
            raise BinsError(f"there is no preset of {text} bins", got=text, remedy=_REMEDY)
        if not text:
            raise BinsError("no age bins were given", remedy=_REMEDY)
        return cls.from_names([piece.strip() for piece in text.split(",")])

    @classmethod
    def _load(cls, path: Path) -> "Bins":
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BinsError(f"cannot read the bins file {path}", got=error.strerror or "", remedy=_REMEDY) from None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise BinsError(f"{path} is not JSON", got=str(error), remedy=_REMEDY) from None
        names = content.get("names") if isinstance(content, dict) else content
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BinsError(
                f'{path} has no list of bin names under "names"',
                got=json.dumps(content)[:80],
                remedy='write {"names": ["0-2", "3-116"]}',
            )
        bins = cls.from_names(names, gaps=isinstance(content, dict) and content.get("gaps") is True)
        edges = content.get("edges") if isinstance(content, dict) else None
        if edges not in (None, [low for low, _ in bins.ranges]):
            raise BinsError(
                f'in {path} "edges" and "names" are different bins',
                got=f"{json.dumps(edges)[:80]} and {bins.text}",
                remedy='correct one of them, or leave out "edges"',
            )
        return bins


def _parse_range(piece: str, whole: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,3})\s*-\s*([0-9]{1,3})", piece.strip())
    if not found:
        raise BinsError(
            f"{piece!r} is not a range of ages", got=whole, remedy="write each bin as LOW-HIGH, such as 15-30"
        )
    return int(found[1]), int(found[2])
