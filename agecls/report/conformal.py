"""Sets of classes that hold the label with a stated probability: split conformal prediction.

Scores of calibration images give a threshold; a set is every class of no higher score. Where the calibration and the
scored images are exchangeable, a set holds its label with at least the stated probability, over the drawing of both
(Vovk, Gammerman and Shafer 2005). Over all images, that is: a group may be covered less, unless it has a threshold of
its own.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from agecls.errors import UsageError
from agecls.labels import UNKNOWN
from agecls.report.metrics import vocabulary_order
from agecls.report.report import Report

Floats = npt.NDArray[np.float64]
Score = Literal["aps", "lac"]
"""aps adds up the classes from the most probable one, so that hard images get large sets (Romano, Sesia and Candes
2020); lac asks each class for a least probability: the smallest sets on average (Sadinle, Lei and Wasserman 2019)."""


@dataclass(frozen=True)
class Conformal:
    """What is asked of prediction sets.

    Attributes:
        coverage: probability with which a set shall hold its label, between 0 and 1.
        score: how sets are made.
        by: kind of group, such as ``gender``, each of which has a threshold of its own; "" for one threshold.

    Raises:
        UsageError: the coverage is not between 0 and 1.
    """

    coverage: float
    score: Score = "aps"
    by: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.coverage < 1:
            raise UsageError(
                "a coverage lies between 0 and 1", got=str(self.coverage), remedy="such as --conformal 0.9"
            )


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Largest score of a class that is in a set.

    Attributes:
        asked: what they are for.
        of_all: of images whose group is unknown or has none of its own; infinite where every class must be in.
        of_group: of each group that has its own, with the number of images behind it.
        n: number of calibration images.
    """

    asked: Conformal
    of_all: float
    of_group: dict[str, tuple[float, int]]
    n: int

    def sets(self, report: Report, *, seed: int = 1) -> npt.NDArray[np.bool_]:
        """Which classes are in each image's set, shape (N, K); the most probable one always is.

        Args:
            report: probabilities and groups; its labels are not looked at.
            seed: of the draws of ``aps``.
        """
        scores = class_scores(report.probabilities, self.asked.score, seed)
        limits = np.full(len(report), self.of_all)
        for row, group in enumerate(report.groups[self.asked.by]) if self.asked.by else ():
            limits[row] = self.of_group.get(group, (self.of_all, 0))[0]
        inside = np.asarray(scores <= limits[:, None])
        inside[np.arange(len(report)), report.predicted] = True
        return inside


def fit_thresholds(report: Report, asked: Conformal, *, seed: int = 0) -> Thresholds:
    """Take thresholds from images that no part of the training was fitted on.

    Args:
        report: labelled calibration images.
        asked: coverage, score and groups.
        seed: of the draws of ``aps``.

    Raises:
        UsageError: the report does not know the groups.
    """
    scores = class_scores(report.probabilities, asked.score, seed)[np.arange(len(report)), report.truth]
    of_group = {}
    if asked.by:
        if asked.by not in report.groups:
            raise UsageError(f"there are no groups by {asked.by}", remedy=f"one of {', '.join(report.groups)}")
        names = np.array(report.groups[asked.by], dtype=object)
        for name in sorted(set(names) - {UNKNOWN}):
            own = scores[names == name]
            of_group[name] = (finite_quantile(own, asked.coverage), len(own))
    return Thresholds(asked, finite_quantile(scores, asked.coverage), of_group, len(report))


def finite_quantile(scores: Floats, coverage: float) -> float:
    """The ceil((n + 1) * coverage)-th smallest score; infinite where there are fewer scores than that.

    Args:
        scores: shape (n,).
        coverage: between 0 and 1.
    """
    # Without the allowance 0.55 * 100 would be the 56th.
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def class_scores(probabilities: Floats, score: Score, seed: int) -> Floats:
    """Score of each class of each image, the lower the likelier, shape (N, K).

    Args:
        probabilities: shape (N, K), rows sum to 1.
        score: which one.
        seed: of the uniform draw by which ``aps`` counts a part of the class itself, one for each image.
    """
    match score:
        case "lac":
            return 1 - probabilities
        case "aps":
            order = np.argsort(-probabilities, axis=1, kind="stable")
            ranked = np.take_along_axis(probabilities, order, axis=1)
            drawn = np.random.default_rng(seed).random((len(probabilities), 1))
            scores = np.empty_like(probabilities)
            np.put_along_axis(scores, order, np.cumsum(ranked, axis=1) - ranked * drawn, axis=1)
            return scores


def measure_conformal(report: Report, thresholds: Thresholds, calibrated_on: str) -> dict[str, Any]:
    """Return ``conformal`` of ``evaluate --json``: plain Python values, finite or None.

    ``covered`` is the share of sets that hold the label, with its exact binomial 95 % interval (Clopper and Pearson
    1934); ``by_group`` and ``per_class`` say the same of the images of a group and of a class. A threshold of None
    stands for sets of all classes.

    Args:
        report: labelled images other than those of the thresholds.
        thresholds: what ``fit_thresholds`` gives.
        calibrated_on: what the thresholds were taken from, in words.
    """
    sets = thresholds.sets(report)
    sizes, covered = sets.sum(axis=1), sets[np.arange(len(report)), report.truth]

    def of(rows: npt.NDArray[np.bool_]) -> dict[str, Any]:
        return _share(covered[rows], sizes[rows])

    asked = thresholds.asked
    return {
        "coverage": asked.coverage,
        "score": asked.score,
        "by": asked.by or None,
        "calibrated_on": calibrated_on,
        "calibration_n": thresholds.n,
        "threshold": _finite(thresholds.of_all),
        "group_thresholds": {
            name: {"threshold": _finite(limit), "n": n} for name, (limit, n) in thresholds.of_group.items()
        },
        **_share(covered, sizes),
        "sizes": {str(size): int((sizes == size).sum()) for size in range(1, len(report.classes) + 1)},
        "by_group": {
            kind: {
                name: of(np.array(names, dtype=object) == name)
                for name in sorted(set(names) - {UNKNOWN}, key=vocabulary_order)
            }
            for kind, names in report.groups.items()
            if kind != report.task
        },
        "per_class": {
            name: of(report.truth == number) for number, name in enumerate(report.classes) if number in report.truth
        },
    }


def _share(covered: npt.NDArray[np.bool_], sizes: npt.NDArray[np.int64]) -> dict[str, Any]:
    n, hits = len(covered), int(covered.sum())
    ends = binomtest(hits, n).proportion_ci(0.95, method="exact")
    return {
        "n": n,
        "covered": hits / n,
        "covered_ci95": [float(ends.low), float(ends.high)],
        "mean_size": float(sizes.mean()),
    }


def _finite(limit: float) -> float | None:
    return limit if math.isfinite(limit) else None
