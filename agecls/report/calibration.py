"""How far a classifier's probabilities can be believed: calibration, likelihood, and what answering less would save.

Confidence is the probability of the most probable class. It is calibrated where, of the answers given with confidence
c, the share c is right.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from agecls.errors import UsageError
from agecls.report.report import Report

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Binning = Literal["equal-width", "equal-mass"]

BINS: Final = 15
"""Bins of confidence, as in Guo et al. 2017."""

COVERAGES: Final = tuple(place / 20 for place in range(1, 21))
"""Shares of images answered at which the risk is written down."""

_FINER: Final = 32
"""Cells of each bin within which the bootstrap takes confidence as one number."""

_TEMPERATURES: Final = (0.02, 50.0)
_LEAST: Final = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Images by confidence.

    Attributes:
        edges: ascending, shape (B + 1,).
        counts: images in each bin, shape (B,).
        confidence: their mean confidence, shape (B,), 0 where there is none.
        accuracy: share of them answered rightly, shape (B,), 0 where there is none.
    """

    edges: Floats
    counts: Ints
    confidence: Floats
    accuracy: Floats

    @property
    def error(self) -> float:
        """Expected calibration error: mean gap of confidence and accuracy, weighted by images, 0..1."""
        return float((self.counts * np.abs(self.confidence - self.accuracy)).sum() / self.counts.sum())


def measure_calibration(
    report: Report, *, temperature: float | None = None, seed: int = 0, resamples: int = 2000
) -> dict[str, Any] | None:
    """Return ``calibration`` of ``evaluate --json``: plain Python values, finite or None.

    None where every probability is 0 or 1, as of an answer in years: nothing is said there of doubt.

    ``ece`` is the expected calibration error of the confidence in 15 bins of equal width (Naeini 2015; Guo 2017), and
    ``ece_equal_mass`` the same in bins of equally many images, which is less at the mercy of nearly empty bins.
    ``nll`` is the mean negative log-likelihood of the label in nats; ``brier`` the mean squared distance between
    probabilities and label, summed over the classes, 0..2 (Brier 1950). ``aurc`` is the area under the risk-coverage
    curve: the mean error rate of the n most confident images, over all n (Geifman and El-Yaniv 2017).

    Args:
        report: predictions with labels.
        temperature: by which the probabilities have been divided already; None for none.
        seed: seed of the bootstrap.
        resamples: number of bootstrap resamples, at least 1.

    Raises:
        UsageError: fewer than one resample.
    """
    if is_certain(report):
        return None
    confidence, right = report.probabilities.max(axis=1), report.predicted == report.truth
    bins = reliability(confidence, right)
    return {
        "ece": bins.error,
        "ece_ci95": ece_interval(confidence, right, seed=seed, resamples=resamples),
        "ece_equal_mass": reliability(confidence, right, "equal-mass").error,
        "nll": negative_log_likelihood(report.probabilities, report.truth),
        "brier": brier_score(report.probabilities, report.truth),
        "aurc": area_under_risk(confidence, right),
        "temperature": temperature,
        "mean_confidence": float(confidence.mean()),
        "reliability": [
            {"low": float(low), "high": float(high), "n": int(n), "confidence": float(told), "accuracy": float(found)}
            for low, high, n, told, found in zip(
                bins.edges[:-1], bins.edges[1:], bins.counts, bins.confidence, bins.accuracy, strict=True
            )
            if n
        ],
        "risk_coverage": [
            {"coverage": coverage, "risk": risk}
            for coverage, risk in zip(COVERAGES, risk_at(confidence, right, COVERAGES), strict=True)
        ],
    }


def is_certain(report: Report) -> bool:
    """Whether every probability is 0 or 1, as of an answer in years."""
    return bool(np.isin(report.probabilities, (0, 1)).all())


def reliability(
    confidence: Floats, right: npt.NDArray[np.bool_], binning: Binning = "equal-width", bins: int = BINS
) -> ReliabilityBins:
    """Sort images into bins of confidence; equal confidences always share one.

    Args:
        confidence: of N images, 0..1, shape (N,), N >= 1.
        right: whether each was answered rightly, shape (N,).
        binning: bins of equal width over 0..1, or between the quantiles of the confidences.
        bins: how many, at least 1.
    """
    match binning:
        case "equal-width":
            edges = np.linspace(0, 1, bins + 1)
        case "equal-mass":
            edges = np.quantile(confidence, np.linspace(0, 1, bins + 1))
    place = _place(confidence, edges)
    counts = np.bincount(place, minlength=bins)
    filled = np.maximum(counts, 1)
    return ReliabilityBins(
        edges,
        counts,
        np.bincount(place, confidence, bins) / filled,
        np.bincount(place, right.astype(np.float64), bins) / filled,
    )


def ece_interval(
    confidence: Floats, right: npt.NDArray[np.bool_], *, seed: int = 0, resamples: int = 2000
) -> list[float]:
    """Return the ends of a 95 % bootstrap interval of the expected calibration error in bins of equal width.

    Chance gaps of bins never cancel, so that the error of a sample lies above the true one: by the mean chance gap
    where all is calibrated, by less otherwise. The interval allows for all of it: it reaches below the estimate by the
    spread of the resamples and that bias, and above by the spread. (A percentile interval of the resamples, which
    have that bias twice, never held 0 on calibrated drawings.) It covers the drawing of images, not training again.

    Args:
        confidence: shape (N,), 0..1.
        right: shape (N,).
        seed: seed of the draw.
        resamples: number of draws, at least 1.

    Raises:
        UsageError: fewer than one resample.
    """
    if resamples < 1:
        raise UsageError("a bootstrap interval needs at least one resample", got=str(resamples), remedy="use 2000")
    n = len(confidence)
    estimate = reliability(confidence, right).error
    # Drawing n images is one multinomial draw over cells of images alike, so its cost does not grow with n.
    fine = _place(confidence, np.linspace(0, 1, BINS * _FINER + 1)) * 2 + right
    cells, cell, counts = np.unique(fine, return_inverse=True, return_counts=True)
    gap = np.bincount(cell, confidence - right) / counts
    draws = np.random.default_rng(seed).multinomial(n, counts / n, size=resamples)
    inside = (cells // (2 * _FINER) == np.arange(BINS)[:, None]).T.astype(np.float64)
    gaps, drawn = (counts * gap) @ inside / n, (draws * gap) @ inside / n
    errors = np.abs(drawn).sum(axis=1)
    chance = float(np.abs(drawn - gaps).sum(axis=1).mean())
    low, high = np.percentile(errors - errors.mean(), (2.5, 97.5))
    return [max(0.0, float(estimate - chance - high)), min(1.0, float(estimate - low))]


def negative_log_likelihood(probabilities: Floats, truth: Ints) -> float:
    """Mean of -log of the label's probability, nats; a probability of 0 counts as 2.2e-308, the least number above."""
    told = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(told, _LEAST)).mean())


def brier_score(probabilities: Floats, truth: Ints) -> float:
    """Mean squared distance of probabilities and labels, summed over the classes, 0..2."""
    return float(((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1).mean())


def risks(confidence: Floats, right: npt.NDArray[np.bool_]) -> Floats:
    """Error rate of the n most confident images for n of 1..N, shape (N,).

    Among equal confidences it is the expectation over their order, so that the order of the images says nothing.
    """
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~right[order])
    ends = np.append(np.flatnonzero(np.diff(confidence[order])), len(order) - 1)
    answered = np.arange(1, len(order) + 1)
    return np.asarray(np.interp(answered, [0, *ends + 1], [0, *wrong[ends]]) / answered)


def area_under_risk(confidence: Floats, right: npt.NDArray[np.bool_]) -> float:
    """Mean of ``risks`` over all coverages: 0 where all is right, the error rate where confidence says nothing."""
    return float(risks(confidence, right).mean())


def risk_at(confidence: Floats, right: npt.NDArray[np.bool_], coverages: tuple[float, ...] = COVERAGES) -> list[float]:
    """Error rate of the most confident images, at these shares of all, at least one image."""
    found = risks(confidence, right)
    return [float(found[max(1, round(coverage * len(found))) - 1]) for coverage in coverages]


def fit_temperature(probabilities: Floats, truth: Ints) -> float:
    """Temperature by which these labels become most likely (Guo et al. 2017), 0.02..50; above 1 it dampens.

    The negative log-likelihood is convex in 1 / T, so there is one minimum; T = 1 stays where nothing is better.

    Args:
        probabilities: shape (N, K), rows sum to 1.
        truth: labels, shape (N,).
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(apply_temperature(probabilities, math.exp(log_temperature)), truth)

    found = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x) if found.fun < loss(0.0) else 1.0


def apply_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Softmax of the logits over T, which is the probabilities to the power 1 / T, scaled to sum to 1.

    Args:
        probabilities: shape (N, K), rows sum to 1.
        temperature: above 0.
    """
    logs = np.log(np.maximum(probabilities, _LEAST)) / temperature
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _place(confidence: Floats, edges: Floats) -> Ints:
    """Bin of each confidence; one that stands on an edge belongs below it, as in Guo et al."""
    return np.searchsorted(edges[1:-1], confidence, side="left").astype(np.int64)
