"""Prediction sets: coverage by simulation, and what must hold of any answers."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agecls.errors import UsageError
from agecls.report.calibration import apply_temperature
from agecls.report.conformal import Conformal, Score, class_scores, finite_quantile, fit_thresholds, measure_conformal
from agecls.report.metrics import measure
from agecls.report.page import write_page
from agecls.report.report import Origin, Report

CLASSES = ("white", "black", "asian", "indian", "others")


def draw(n: int, seed: int, *, hard: float = 1.0, part: str = "test") -> Report:
    """Answers that are too sure; those of women are ``hard`` times as spread about the truth."""
    rng = np.random.default_rng(seed)
    female = rng.random(n) < 0.3
    logits = rng.normal(size=(n, 5)) * np.where(female, 2 / hard, 2)[:, None]
    true = apply_temperature(np.exp(logits), 1.0)
    truth = (rng.random((n, 1)) > true.cumsum(axis=1)[:, :-1]).sum(axis=1)
    told = apply_temperature(np.exp(logits * np.where(female, hard, 1)[:, None]), 0.6)
    genders = tuple(np.where(female, "female", "male").tolist())
    return Report(
        "ethnicity", CLASSES, tuple(f"{row}.jpg" for row in range(n)), truth, told, np.full(n, np.nan),
        {"gender": genders, "ethnicity": ("",) * n}, Origin("run", "split", part, leaked=False),
    )  # fmt: skip


@pytest.mark.parametrize("score", ["aps", "lac"])
@pytest.mark.parametrize("coverage", [0.6, 0.9])
def test_coverage_holds_on_exchangeable_images(score: Score, coverage: float) -> None:
    # The mean over drawings of both parts, which is what is guaranteed; with 200 images each.
    asked = Conformal(coverage, score)
    covered = []
    for seed in range(80):
        thresholds = fit_thresholds(draw(200, 2 * seed), asked)
        covered.append(measure_conformal(draw(200, 2 * seed + 1), thresholds, "valid")["covered"])
    assert np.mean(covered) >= coverage - 0.01
    if score == "lac" and coverage > 0.8:  # at lower coverage, and with aps, the answer itself is added to empty sets
        assert np.mean(covered) <= coverage + 0.02


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["aps", "lac"]), st.floats(0.05, 0.9), st.floats(0.01, 0.09))
def test_sets_grow_with_coverage_and_are_never_empty(seed: int, score: Any, coverage: float, more: float) -> None:
    valid, scored = draw(60, seed), draw(40, seed + 1)
    small = fit_thresholds(valid, Conformal(coverage, score)).sets(scored)
    large = fit_thresholds(valid, Conformal(coverage + more, score)).sets(scored)
    assert (small <= large).all()
    assert small[np.arange(len(scored)), scored.predicted].all()


def test_each_group_is_covered_by_its_own_threshold() -> None:
    valid, scored = draw(6000, 1, hard=3), draw(6000, 2, hard=3)
    one = measure_conformal(scored, fit_thresholds(valid, Conformal(0.9, "lac")), "valid")
    own = measure_conformal(scored, fit_thresholds(valid, Conformal(0.9, "lac", "gender")), "valid")
    assert one["covered"] == pytest.approx(0.9, abs=0.02)
    assert one["by_group"]["gender"]["female"]["covered"] < 0.85
    assert own["by_group"]["gender"]["female"]["covered"] == pytest.approx(0.9, abs=0.03)
    assert own["by_group"]["gender"]["male"]["covered"] == pytest.approx(0.9, abs=0.02)
    assert own["group_thresholds"].keys() == {"female", "male"}
    assert "ethnicity" not in own["by_group"]
    assert sum(own["sizes"].values()) == own["n"] == 6000
    low, high = own["covered_ci95"]
    assert low < own["covered"] < high


def test_unknown_group_takes_the_threshold_of_all() -> None:
    thresholds = fit_thresholds(draw(500, 1, hard=3), Conformal(0.9, "lac", "gender"))
    scored = draw(50, 2, hard=3)
    unknown = replace(scored, groups={"gender": ("",) * 50})
    of_all = replace(thresholds, asked=Conformal(0.9, "lac"))
    assert (thresholds.sets(unknown) == of_all.sets(scored)).all()
    assert not (thresholds.sets(scored) == of_all.sets(scored)).all()


def test_quantile_of_a_finite_sample() -> None:
    scores = np.arange(1.0, 10.0)
    assert finite_quantile(scores, 0.9) == 9
    assert finite_quantile(scores, 0.7) == 7
    assert finite_quantile(np.arange(1.0, 100.0), 0.55) == 55  # 0.55 * 100 is a little more in binary
    assert finite_quantile(scores, 0.71) == 8
    assert finite_quantile(scores, 0.91) == math.inf


def test_scores_add_up_from_the_most_probable_class() -> None:
    probabilities = np.tile([0.2, 0.5, 0.3], (2000, 1))
    assert class_scores(probabilities, "lac", 0)[0] == pytest.approx([0.8, 0.5, 0.7])
    scores = class_scores(probabilities, "aps", 0)
    for column, (low, high) in enumerate([(0.8, 1.0), (0.0, 0.5), (0.5, 0.8)]):
        assert ((scores[:, column] >= low) & (scores[:, column] <= high)).all()
        assert scores[:, column].mean() == pytest.approx((low + high) / 2, abs=0.02)


def test_too_few_images_give_sets_of_all_classes() -> None:
    measured = measure_conformal(draw(30, 2), fit_thresholds(draw(5, 1), Conformal(0.9)), "valid")
    assert measured["threshold"] is None
    assert measured["covered"] == 1
    assert measured["mean_size"] == 5


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, 90.0, math.nan])
def test_impossible_coverage_is_refused(coverage: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        Conformal(coverage)


def test_unknown_kind_of_group_is_refused() -> None:
    with pytest.raises(UsageError, match="no groups by height"):
        fit_thresholds(draw(9, 1), Conformal(0.5, by="height"))


def test_page_holds_the_sets(tmp_path: Path) -> None:
    scored = draw(300, 2)
    measured = measure(scored, resamples=20)
    measured["conformal"] = measure_conformal(scored, fit_thresholds(draw(300, 1), Conformal(0.8)), "valid of split")
    text = write_page(scored, measured, tmp_path).read_text(encoding="utf-8")
    assert "Prediction sets" in text
    assert "valid of split" in text
    assert f"{measured['conformal']['mean_size']:.2f}" in text
