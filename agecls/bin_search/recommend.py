"""Which number of bins to take: raw scores cannot say, for they rise as bins merge."""

from collections.abc import Mapping, Sequence
from typing import Final

RULE: Final = (
    "the smallest number of bins whose width-aware score is within one standard error (bootstrap) of the highest "
    "(Breiman's one-standard-error rule)"
)
ASKED: Final = "the number of bins that was asked for"


def recommend(scores: Mapping[int, float], errors: Mapping[int, float]) -> int:
    """Apply the rule (Breiman, Friedman, Olshen and Stone 1984, section 3.4.3).

    Args:
        scores: width-aware score by number of bins.
        errors: its standard error.
    """
    best = max(sorted(scores), key=lambda number: scores[number])  # the smallest of equals
    return min(number for number in scores if scores[number] >= scores[best] - errors[best])


def at_the_end(numbers: Sequence[int], scores: Mapping[int, float]) -> bool:
    """Whether the highest score is that of the largest number searched, so that more bins might score higher."""
    return len(numbers) > 1 and scores[max(numbers)] == max(scores.values())
