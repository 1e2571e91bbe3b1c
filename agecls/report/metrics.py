"""From a report to the numbers of ``evaluate --json``: point metrics, bootstrap intervals, groups."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
)

from agecls.errors import UsageError
from agecls.labels import ETHNICITIES, GENDERS, UNKNOWN
from agecls.report.calibration import measure_calibration
from agecls.report.report import Report

SCHEMA: Final = 1
"""Version of the evaluate JSON; changes only with a note in the change log."""

PERCENTILES: Final = (2.5, 97.5)
"""Ends of a 95 % percentile interval."""

CUMULATIVE_YEARS: Final = 5
"""The cumulative score is the share of images whose age is predicted to within so many years."""

_VOCABULARY: Final = (*GENDERS, *ETHNICITIES)


def measure(
    report: Report, *, temperature: float | None = None, seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """Return the content of ``evaluate --json``: plain Python values, finite or None.

    Macro-F1 is the mean of F1 over all K classes; a class that is neither labelled nor predicted counts as 0, as in
    scikit-learn with ``labels=range(K), zero_division=0``. Balanced accuracy is the mean recall of the classes that
    have labelled images. The majority baseline answers every image with the most frequent class of the scored labels;
    ``corrected_macro_f1`` is the share of the way from its macro-F1 to 1 that the report goes, below 0 where the
    baseline is better. ``kappa`` is Cohen's (1960), agreement beyond chance; None where every image is both labelled
    and predicted as one class, for then chance agrees always.

    In ``by_group`` macro-F1 is the mean over the classes that have labelled images in the group, so that a group is
    not marked down for classes it does not contain. Images of unknown group are left out, and so is the grouping by
    the task's own label, of which ``per_class`` says all.

    ``years_by_bin`` and ``years_by_predicted_bin`` describe the exact ages in years of the images in each labelled and
    each predicted bin: number, mean, mode (the youngest of equals) and sample standard deviation; None where there
    are too few images. Where the report has predicted years, ``mae_years`` is their mean absolute error, ``r2`` the
    share of the variance they explain, and ``cs5`` the share of images within 5 years, over images of exactly known
    age.

    ``calibration`` is what ``measure_calibration`` says of the probabilities.

    Args:
        report: predictions with labels.
        temperature: by which its probabilities have been divided already; None for none.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples, at least 1.

    Raises:
        UsageError: fewer than one resample.
    """
    truth, predicted, labels = report.truth, report.predicted, list(range(len(report.classes)))
    confusion = confusion_matrix(truth, predicted, labels=labels)
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    present = np.flatnonzero(support)
    majority = int(support.argmax())
    baseline = float(f1_score(truth, np.full_like(truth, majority), labels=labels, average="macro", zero_division=0))
    measured: dict[str, Any] = {
        "schema": SCHEMA,
        "task": report.task,
        "classes": list(report.classes),
        "n": len(report),
        "accuracy": float((truth == predicted).mean()),
        "balanced_accuracy": float(recall_score(truth, predicted, labels=present, average="macro", zero_division=0)),
        "macro_f1": float(f1.mean()),
        "macro_f1_ci95": macro_f1_interval(confusion, np.array(labels), seed=seed, resamples=resamples),
        "majority_class": report.classes[majority],
        "majority_macro_f1": baseline,
        "corrected_macro_f1": (float(f1.mean()) - baseline) / (1 - baseline),
        "kappa": _kappa(truth, predicted),
        "per_class": {
            name: {
                "precision": float(precision[k]),
                "recall": float(recall[k]),
                "f1": float(f1[k]),
                "support": int(support[k]),
            }
            for k, name in enumerate(report.classes)
        },
        "confusion": confusion.tolist(),
        "by_group": {
            kind: _by_group(report, names, seed=seed, resamples=resamples)
            for kind, names in report.groups.items()
            if kind != report.task
        },
        "calibration": measure_calibration(report, temperature=temperature, seed=seed, resamples=resamples),
        "run": report.origin.run,
        "split": report.origin.split,
        "part": report.origin.part,
        "leaked": report.origin.leaked,
        "leaked_count": report.origin.leaked_count,
    }
    if report.task == "age":
        measured["off_by_one_accuracy"] = float((np.abs(truth - predicted) <= 1).mean())
        measured |= _errors_in_years(report)
        measured["years_by_bin"] = _years(report, truth)
        measured["years_by_predicted_bin"] = _years(report, predicted)
    return measured


def macro_f1(confusion: npt.ArrayLike, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return macro-F1 of one or many confusion matrices.

    F1 of class k is ``2 * hits / (labelled k + predicted k)``, and 0 where nothing is labelled or predicted k.

    Args:
        confusion: counts or shares, shape (..., K, K), rows truth, columns predicted.
        classes: the classes to average over, indices in 0..K-1, at least one.

    Returns:
        Shape (...), float64 in 0..1.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)[..., classes]
    total = (counts.sum(axis=-1) + counts.sum(axis=-2))[..., classes]
    f1 = np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(f1.mean(axis=-1))


def macro_f1_interval(
    confusion: npt.ArrayLike, classes: npt.NDArray[np.int64], *, seed: int, resamples: int
) -> list[float]:
    """Return the ends of the 95 % percentile bootstrap interval of macro-F1 (Efron and Tibshirani 1993, chapter 13).

    To draw n images with replacement and count their confusion cells is one multinomial draw over the K*K cells, so
    no image is ever drawn. ``classes`` stay the same in each resample; one that falls out of a resample counts as 0
    there, which makes the interval of a part with very rare classes reach lower. The interval covers the drawing of
    images, taken as independent; it does not cover training again with another seed.

    Args:
        confusion: counts, shape (K, K), rows truth, columns predicted, at least one image.
        classes: the classes to average over, indices in 0..K-1.
        seed: seed of the draw.
        resamples: number of draws, at least 1.

    Raises:
        UsageError: fewer than one resample.
    """
    if resamples < 1:
        raise UsageError("a bootstrap interval needs at least one resample", got=str(resamples), remedy="use 2000")
    counts = np.asarray(confusion, dtype=np.int64)
    n = int(counts.sum())
    draws = np.random.default_rng(seed).multinomial(n, counts.ravel() / n, size=resamples)
    scores = macro_f1(draws.reshape(resamples, *counts.shape), classes)
    return [float(end) for end in np.percentile(scores, PERCENTILES)]


def _errors_in_years(report: Report) -> dict[str, Any]:
    """``mae_years``, ``r2`` and ``cs5`` over the ``n_years`` images of exactly known age, where the run knows years."""
    if report.predicted_years is None:
        return {}
    known = ~np.isnan(report.years)
    found, wanted = report.predicted_years[known], report.years[known]
    errors, spread = np.abs(found - wanted), float(((wanted - wanted.mean()) ** 2).sum()) if known.any() else 0.0
    return {
        "n_years": int(known.sum()),
        "mae_years": float(errors.mean()) if known.any() else None,
        "r2": 1 - float((errors**2).sum()) / spread if spread else None,
        "cs5": float((errors <= CUMULATIVE_YEARS).mean()) if known.any() else None,
    }


def _kappa(truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64]) -> float | None:
    if (truth == truth[0]).all() and (predicted == truth[0]).all():
        return None
    return float(cohen_kappa_score(truth, predicted))


def _by_group(report: Report, names: tuple[str, ...], *, seed: int, resamples: int) -> dict[str, dict[str, Any]]:
    labels = list(range(len(report.classes)))
    values = np.array(names, dtype=object)
    measured = {}
    for name in sorted(set(names) - {UNKNOWN}, key=vocabulary_order):
        inside = np.flatnonzero(values == name)
        truth, predicted = report.truth[inside], report.predicted[inside]
        present = np.unique(truth)
        confusion = confusion_matrix(truth, predicted, labels=labels)
        measured[name] = {
            "n": len(inside),
            "accuracy": float((truth == predicted).mean()),
            "macro_f1": float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
            "macro_f1_ci95": macro_f1_interval(confusion, present, seed=seed, resamples=resamples),
        }
    return measured


def vocabulary_order(name: str) -> tuple[int, str]:
    """Sort groups as their vocabulary lists them, others after that by name."""
    return (_VOCABULARY.index(name) if name in _VOCABULARY else len(_VOCABULARY), name)


def _years(report: Report, bins: npt.NDArray[np.int64]) -> dict[str, dict[str, float | int | None]]:
    return {name: _describe(report.years[bins == k]) for k, name in enumerate(report.classes)}


def _describe(years: npt.NDArray[np.float64]) -> dict[str, float | int | None]:
    known = years[~np.isnan(years)]
    values, counts = np.unique(known, return_counts=True)
    return {
        "n": len(known),
        "mean": float(known.mean()) if len(known) else None,
        "mode": float(values[counts.argmax()]) if len(known) else None,
        "std": float(known.std(ddof=1)) if len(known) > 1 else None,
    }
