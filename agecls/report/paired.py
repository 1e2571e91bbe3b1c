"""Two or more models on the same images: what one gains over another, with a paired bootstrap interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from agecls.errors import DataError, UsageError
from agecls.report.metrics import PERCENTILES

_BLOCK: Final = 4_000_000
"""Most counts drawn at a time: 32 MB."""


@dataclass(frozen=True)
class Gain:
    """How much better one model scores than another on the same images; every value in -1..1.

    Attributes:
        macro_f1: difference of macro-F1.
        macro_f1_ci95: ends of its 95 % interval.
        f1: difference of F1 by class index, of the classes asked for.
        f1_ci95: ends of the 95 % interval of each.
    """

    macro_f1: float
    macro_f1_ci95: list[float]
    f1: dict[int, float]
    f1_ci95: dict[int, list[float]]


def paired_gain(
    truth: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    classes: npt.NDArray[np.int64],
    *,
    seed: int,
    resamples: int,
) -> Gain:
    """Return what the first model gains over the second on the same images, first minus second.

    Args:
        truth: labelled class of each image, shape (N,), N >= 1, integers from 0.
        first: class predicted by the first model, shape (N,).
        second: class predicted by the second model, shape (N,).
        classes: the classes to average over, at least one.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples, at least 1.

    Raises:
        DataError: lengths differ, there is no image or a class is negative.
        UsageError: fewer than one resample.
    """
    return paired_gains(truth, second, {"": first}, classes, seed=seed, resamples=resamples)[""]


def paired_gains(
    truth: npt.NDArray[np.int64],
    base: npt.NDArray[np.int64],
    others: Mapping[str, npt.NDArray[np.int64]],
    classes: npt.NDArray[np.int64],
    *,
    seed: int,
    resamples: int,
) -> dict[str, Gain]:
    """Return what each of several models gains over one of them, all on the same resampled images.

    Every resample draws images with replacement and scores all models on the images drawn (Efron and Tibshirani 1993,
    chapter 13), so what makes an image hard for all of them cancels out of the difference; comparing two separate
    intervals would not see that. ``classes`` stay the same in each resample; F1 of a class that falls out of one is 0
    there. The interval covers the drawing of images, taken as independent, not training again with another seed.

    Args:
        truth: labelled class of each image, shape (N,), N >= 1, integers from 0.
        base: class predicted by the model that is compared with, shape (N,).
        others: class predicted by each other model, shape (N,) each.
        classes: the classes to average over, at least one.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples, at least 1.

    Raises:
        DataError: lengths differ, there is no image or a class is negative.
        UsageError: fewer than one resample.
    """
    models = [base, *others.values()]
    _check(truth, models, resamples)
    cells, counts = _cells(truth, models)
    scored = np.asarray(classes, dtype=np.int64)
    n = int(counts.sum())
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(counts))
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    drawn = np.concatenate([_f1(rng.multinomial(n, counts / n, size=size), cells, scored) for size in sizes])
    point = _f1(counts[None], cells, scored)  # (1, models, classes)
    gains = {}
    for place, name in enumerate(others, start=1):
        f1 = point[0, place] - point[0, 0]
        resampled = drawn[:, place] - drawn[:, 0]  # (resamples, classes)
        ends = np.percentile(resampled, PERCENTILES, axis=0).T
        gains[name] = Gain(
            macro_f1=float(point[0, place].mean() - point[0, 0].mean()),
            macro_f1_ci95=[
                float(end)
                for end in np.percentile(drawn[:, place].mean(axis=-1) - drawn[:, 0].mean(axis=-1), PERCENTILES)
            ],
            f1={int(k): float(value) for k, value in zip(scored, f1, strict=True)},
            f1_ci95={int(k): [float(low), float(high)] for k, (low, high) in zip(scored, ends, strict=True)},
        )
    return gains


def _check(truth: npt.NDArray[np.int64], models: Sequence[npt.NDArray[np.int64]], resamples: int) -> None:
    if resamples < 1:
        raise UsageError("a bootstrap interval needs at least one resample", got=str(resamples), remedy="use 2000")
    if not len(truth) or any(model.shape != truth.shape for model in models):
        got = ", ".join(str(len(column)) for column in (truth, *models))
        raise DataError("models are compared on the same images, at least one", got=f"{got} images")
    if any(column.min() < 0 for column in (truth, *models)):
        raise DataError("a class is an index from 0", got="a negative one", remedy="leave out images without a label")


def _cells(
    truth: npt.NDArray[np.int64], models: Sequence[npt.NDArray[np.int64]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the different rows of (truth, prediction of each model), and how many images each has.

    Images of one row count alike in every score, so to draw images and count their rows is one multinomial draw. The
    rows stand in the order in which the images first show them, whatever the order of the models, so that exchanging
    two models draws the same images and gives the opposite gain.
    """
    rows, first, counts = np.unique(np.stack([truth, *models], axis=1), axis=0, return_index=True, return_counts=True)
    order = np.argsort(first)
    return rows[order], counts[order]


def _f1(
    counts: npt.NDArray[np.int64], cells: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return F1 as in ``metrics.macro_f1``, shape (draws, models, classes), of counts of shape (draws, cells)."""
    drawn = counts.astype(np.float64)  # whole numbers below 2**53: every sum is exact
    labelled = cells[:, :1] == classes  # (cells, classes)
    scores = []
    for predictions in cells.T[1:]:
        predicted = predictions[:, None] == classes
        hits = drawn @ (labelled & predicted).astype(np.float64)
        total = drawn @ (labelled.astype(np.float64) + predicted)
        scores.append(np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0))
    return np.stack(scores, axis=1)
