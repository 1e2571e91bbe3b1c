"""What a partition must obey, and which wish stands in the way where none can."""

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from agecls.bin_search.matrix import FineMatrix
from agecls.errors import BinsError
from agecls.labels import AGE_MAX

NO_LIMIT: Final = AGE_MAX + 1


@dataclass(frozen=True)
class Constraints:
    """Which bins may be made.

    Attributes:
        min_support: labelled images that each bin must have, at least 1.
        min_width: years that each bin must span, at least 1.
        max_width: years that a bin may span. The last bin is free of it: it is open to 116, where hardly anyone is.
        required: years at which a bin must begin.
        forbidden: years at which none may.

    Raises:
        BinsError: a number out of its range, or an edge both required and forbidden.
    """

    min_support: int = 1
    min_width: int = 1
    max_width: int = NO_LIMIT
    required: frozenset[int] = frozenset()
    forbidden: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for name, value in (("support", self.min_support), ("width", self.min_width)):
            if value < 1:
                raise BinsError(f"the minimum {name} of a bin must be 1 or more", got=str(value))
        if self.max_width < self.min_width:
            raise BinsError(
                "the maximum width of a bin is below its minimum", got=f"{self.max_width} and {self.min_width} years"
            )
        for edge in sorted(self.required | self.forbidden):
            if not 1 <= edge <= AGE_MAX:
                raise BinsError(f"an edge is a year of 1..{AGE_MAX} at which a bin begins", got=str(edge))
        both = sorted(self.required & self.forbidden)
        if both:
            raise BinsError("an edge is both required and forbidden", got=", ".join(map(str, both)))

    def allowed(self, matrix: FineMatrix) -> npt.NDArray[np.bool_]:
        """Which blocks i..j-1 may be a bin, shape (K + 1, K + 1).

        Raises:
            BinsError: a required edge is no boundary of the fine bins.
        """
        years, last = matrix.years, len(matrix)
        self._refuse_edges_between(years)
        rows = np.concatenate([[0], matrix.counts.sum(axis=1).cumsum()])
        start, end = np.arange(last + 1)[:, None], np.arange(last + 1)[None, :]
        widths = years[None, :] - years[:, None]
        fits = (start < end) & (rows[None, :] - rows[:, None] >= self.min_support) & (widths >= self.min_width)
        fits &= (widths <= self.max_width) | (end == last)
        for edge in self.required:
            fits &= ~((years[:, None] < edge) & (edge < years[None, :]))
        barred = np.isin(years, sorted(self.forbidden))
        fits[barred, :] = False
        fits[:, barred] = False
        return np.asarray(fits)

    def _refuse_edges_between(self, years: npt.NDArray[np.int64]) -> None:
        for edge in sorted(self.required):
            if edge not in years:
                place = int(np.searchsorted(years, edge))
                raise BinsError(
                    f"the required edge {edge} is no boundary of the fine bins",
                    got=f"the fine bin {years[place - 1]}-{years[place] - 1} holds it inside",
                    remedy=f"require {years[place - 1]} or {years[place]}, or search in finer bins",
                )

    def numbers(self, matrix: FineMatrix, most: int) -> frozenset[int]:
        """Numbers of bins, up to ``most``, into which the fine bins can be parted at all."""
        allowed = self.allowed(matrix)
        reached = np.zeros(len(matrix) + 1, dtype=np.bool_)
        reached[0] = True
        found = set()
        for number in range(1, most + 1):
            reached = np.asarray((reached[:, None] & allowed).any(axis=0))
            if reached[-1]:
                found.add(number)
        return frozenset(found)

    def refuse(self, matrix: FineMatrix, number: int) -> None:
        """Raise ``BinsError`` for a number of bins that cannot be had, naming what stands in the way."""
        if number > len(matrix):
            raise BinsError(
                f"{len(matrix)} fine bins cannot be merged into {number}",
                got=f"{matrix.bins.names[0]}, {matrix.bins.names[1]} ... {matrix.bins.names[-1]}",
                remedy="ask for fewer bins, or search in a run of finer ones",
            )
        wishes = {
            f"--min-support {self.min_support}": dataclasses.replace(self, min_support=1),
            f"--min-width {self.min_width}": dataclasses.replace(self, min_width=1),
            f"--max-width {self.max_width}": dataclasses.replace(self, max_width=NO_LIMIT),
            f"the required edges {_listed(self.required)}": dataclasses.replace(self, required=frozenset()),
            f"the forbidden edges {_listed(self.forbidden)}": dataclasses.replace(self, forbidden=frozenset()),
        }
        made = {wish: weaker for wish, weaker in wishes.items() if weaker != self}
        tight = [wish for wish, weaker in made.items() if number in weaker.numbers(matrix, number)]
        tightest = " or ".join(tight)
        if len(made) > 1:
            tightest = f"{tightest} alone" if tight else "several of them at once"
        raise BinsError(
            f"no partition into {number} bins satisfies {' and '.join(made) or 'that every bin has a labelled image'}",
            got=f"in the way: {tightest}" if made else f"{int((matrix.counts.sum(axis=1) > 0).sum())} such fine bins",
            remedy="loosen it, or ask for another number of bins",
        )


def _listed(edges: frozenset[int]) -> str:
    return ",".join(map(str, sorted(edges)))
