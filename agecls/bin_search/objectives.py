"""What a partition is judged by, and what each of these scores rewards.

Merging bins flatters every raw score: a mistake between two years is none once they share a bin. So raw scores compare
partitions of one number of bins, never of two numbers; ``width-aware`` and the corrected macro-F1 are for that, and are
no cure-all either. With mass m (hits), row sum r (labelled), column sum c (answered) and width w (years) of a block, n
images and k bins:

- ``macro-f1``, the mean of 2 m / (r + c): every bin counts alike, few images or many. Gamed by cutting where labels are
  easy (babies, the old) and leaving one wide bin where they are hard.
- ``balanced-accuracy``, the mean of m / r: as macro-F1, but a bin answered too often costs its neighbours alone.
- ``accuracy``, the sum of m / n: rewards one bin as large as the constraints allow; the smaller ones may all be wrong.
- ``kappa``, (accuracy - chance) / (1 - chance), chance being the sum of r c / n^2 (Cohen 1960): takes off what answers
  drawn blindly with the same frequencies would hit. Each image counts alike, so it still takes one very wide bin with
  thin ones beside it where the labels at its ends are easy.
- ``width-aware``, the mean of F1 times log(117 / w) / log 117: the share of the information about the year that an
  answer in this bin gives, were all years alike. One bin of all ages scores 0, single years keep their F1. Ages are not
  uniform: the last bin, open to 116, counts as very wide though few images are above 90.

All but kappa are sums over blocks; kappa is a ratio of two such sums.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from agecls.bin_search.matrix import Counts, Floats
from agecls.labels import AGE_MAX

Objective = Literal["macro-f1", "balanced-accuracy", "accuracy", "kappa", "width-aware"]
OBJECTIVES: Final[tuple[Objective, ...]] = get_args(Objective)

_ALL_YEARS: Final = AGE_MAX + 1


@dataclass(frozen=True, eq=False)
class Blocks:
    """Mass and sums of every block of neighbouring fine bins i..j-1, for one matrix or a stack of B.

    Attributes:
        mass: images labelled and answered within the block, shape (B, K + 1, K + 1).
        rows: images labelled within it, same shape.
        columns: images answered within it, same shape.
        widths: years of the block, shape (K + 1, K + 1); 0 where i >= j.
        n: images of each matrix, shape (B, 1, 1).
    """

    mass: Floats
    rows: Floats
    columns: Floats
    widths: Floats
    n: Floats

    @classmethod
    def of(cls, counts: Counts, years: npt.NDArray[np.int64]) -> "Blocks":
        """Add up every block by prefix sums.

        Args:
            counts: shape (B, K, K).
            years: first year of each fine bin, then 117, shape (K + 1,).
        """
        prefix = np.pad(counts.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
        corner = np.diagonal(prefix, axis1=1, axis2=2)  # (B, K + 1): mass of the first j fine bins
        mass = corner[:, None, :] - prefix - prefix.swapaxes(1, 2) + corner[:, :, None]
        rows, columns = prefix[:, :, -1], prefix[:, -1, :]
        return cls(
            mass.astype(np.float64),
            (rows[:, None, :] - rows[:, :, None]).astype(np.float64),
            (columns[:, None, :] - columns[:, :, None]).astype(np.float64),
            np.maximum(years[None, :] - years[:, None], 0).astype(np.float64),
            np.maximum(prefix[:, -1:, -1:], 1).astype(np.float64),
        )


def gains(objective: Objective, blocks: Blocks) -> tuple[Floats, Floats | None]:
    """What each block adds to the score of a partition: mean over blocks, or sum, as ``finish`` has it.

    Returns:
        Shape (B, K + 1, K + 1) each; the second is the divisor's for kappa and None for all others.
    """
    match objective:
        case "macro-f1":
            return _f1(blocks.mass, blocks.rows, blocks.columns), None
        case "balanced-accuracy":
            return _share(blocks.mass, blocks.rows), None
        case "accuracy":
            return blocks.mass / blocks.n, None
        case "width-aware":
            return _f1(blocks.mass, blocks.rows, blocks.columns) * information(blocks.widths), None
        case "kappa":
            chance = (blocks.rows / blocks.n) * (blocks.columns / blocks.n)
            # The rows of a partition add up to n, so 1 - chance is a sum over blocks as well.
            return blocks.mass / blocks.n - chance, blocks.rows / blocks.n - chance


def finish(objective: Objective, total: Floats, bins: int) -> Floats:
    """The score of a partition whose blocks' gains add up to ``total``, for all objectives but kappa."""
    return total if objective == "accuracy" else total / bins


def information(widths: Floats) -> Floats:
    """Share of the information about the year that an answer of this width gives: 1 for one year, 0 for all 117."""
    return np.asarray(np.log(_ALL_YEARS / np.maximum(widths, 1.0)) / math.log(_ALL_YEARS))


def score(objective: Objective, confusion: Counts, widths: Floats) -> Floats:
    """The score of merged matrices.

    Args:
        objective: which one.
        confusion: shape (..., k, k), rows labelled, columns answered.
        widths: years of each bin, shape (k,).

    Returns:
        Shape (...); a bin that nothing is labelled or answered counts as 0.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    mass = np.diagonal(counts, axis1=-2, axis2=-1)
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    n = np.maximum(rows.sum(axis=-1), 1.0)
    match objective:
        case "macro-f1":
            return np.asarray(_f1(mass, rows, columns).mean(axis=-1))
        case "balanced-accuracy":
            return np.asarray(_share(mass, rows).mean(axis=-1))
        case "accuracy":
            return np.asarray(mass.sum(axis=-1) / n)
        case "width-aware":
            return np.asarray((_f1(mass, rows, columns) * information(widths)).mean(axis=-1))
        case "kappa":
            chance = (rows * columns).sum(axis=-1) / n**2
            return _share(mass.sum(axis=-1) / n - chance, 1 - chance)


def scores(confusion: Counts, widths: Floats) -> Mapping[Objective, float]:
    """All five scores of one merged matrix."""
    return {each: float(score(each, confusion, widths)) for each in OBJECTIVES}


def majority_macro_f1(confusion: Counts) -> float:
    """Macro-F1 of answering every image with the most frequent labelled bin of a matrix (k, k)."""
    support = confusion.sum(axis=1)
    most, n = int(support.max()), int(support.sum())
    return 2 * most / (most + n) / len(support)


def corrected_macro_f1(confusion: Counts, widths: Floats) -> float:
    """Macro-F1 above that of the majority answer, as a share of what lies above it; 0 is the majority, 1 is perfect."""
    majority = majority_macro_f1(confusion)
    return (float(score("macro-f1", confusion, widths)) - majority) / (1 - majority)


def _f1(mass: Floats, rows: Floats, columns: Floats) -> Floats:
    return _share(2 * mass, rows + columns)


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
