"""What a search is asked for, and the defaults that hang on the matrix."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from agecls.bin_search.constraints import Constraints
from agecls.bin_search.matrix import FineMatrix
from agecls.bin_search.objectives import Objective
from agecls.errors import BinsError, UsageError

FEWEST: Final = 3
MOST: Final = 12
"""Numbers of bins that are searched by default."""

SHARE: Final = 0.01
"""Share of the images that each bin must have by default: a bin of a handful has no score to speak of."""


@dataclass(frozen=True)
class Asked:
    """What to search for.

    Attributes:
        objective: what to maximise.
        numbers: of bins, ascending.
        constraints: what each partition obeys.
        one: whether a single number was asked for by name, which is then the one recommended.
        resamples: of the images, at least 2.
        seed: of the resampling.
    """

    objective: Objective
    numbers: Sequence[int]
    constraints: Constraints
    one: bool = False
    resamples: int = 200
    seed: int = 0


def refuse_numbers(one: int | None, least: int | None, most: int | None) -> None:
    """Raise for numbers of bins that no matrix has, before anything is trained or predicted.

    Raises:
        UsageError: one number and a range at once.
        BinsError: fewer than two bins, or a range that runs backwards.
    """
    if one is not None and (least is not None or most is not None):
        raise UsageError(
            "--bins is one number of bins, and --min-bins and --max-bins a range", remedy="give one of them"
        )
    for flag, number in (("--bins", one), ("--min-bins", least), ("--max-bins", most)):
        if number is not None and number < 2:
            raise BinsError(f"{flag} must be 2 or more", got=str(number))
    if least is not None and most is not None and least > most:
        raise BinsError(
            "--min-bins is above --max-bins", got=f"{least} and {most}", remedy="give the smaller one first"
        )


def choose_numbers(
    one: int | None, least: int | None, most: int | None, matrix: FineMatrix, say: Callable[[str], None]
) -> range:
    """The numbers of bins to search: those given, else 3..12, as far as the fine bins go; defaults are said.

    Raises:
        BinsError: more bins than there are fine ones.
    """
    fine = len(matrix)
    for number in (one, least, most):
        if number is not None and number > fine:
            Constraints().refuse(matrix, number)
    if one is not None:
        return range(one, one + 1)
    # To merge nothing is no search, so the default leaves the fine bins themselves out.
    top = most if most is not None else max(min(MOST, fine - 1), 2, least or 2)
    low = least if least is not None else min(FEWEST, top)
    if least is None or most is None:
        why = f" ({fine} fine bins)" if most is None and top != MOST else ""
        say(f"--bins not given: searching {low} to {top} bins{why}")
    return range(low, top + 1)


def choose_support(given: int | None, matrix: FineMatrix, say: Callable[[str], None]) -> int:
    """The least number of labelled images of a bin: the one given, else one in a hundred, which is then said."""
    if given is not None:
        return given
    support = math.ceil(SHARE * matrix.n)
    say(f"--min-support not given: using {support}, one in a hundred of the images")
    return support
