"""Calibration: against torchmetrics and simulation, and what must hold of any probabilities."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.text import Text
from torchmetrics.functional.classification import multiclass_calibration_error

from agecls.errors import UsageError
from agecls.report import calibration as c
from agecls.report import calibration_pictures, pictures
from agecls.report.metrics import measure
from agecls.report.page import write_page
from agecls.report.report import Origin, Report

Drawn = tuple[np.ndarray, np.ndarray]


def draw(n: int, classes: int = 4, seed: int = 0, spread: float = 2.0) -> Drawn:
    """Probabilities, and labels drawn from just these: calibrated by construction."""
    rng = np.random.default_rng(seed)
    probabilities = c.apply_temperature(np.exp(rng.normal(size=(n, classes)) * spread), 1.0)
    truth = (rng.random((n, 1)) > probabilities.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return probabilities, truth


def said(probabilities: np.ndarray, truth: np.ndarray) -> Drawn:
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == truth


@st.composite
def answers(draw_from: Any) -> Drawn:
    n, classes = draw_from(st.integers(1, 40)), draw_from(st.integers(2, 5))
    logits = draw_from(arrays(np.float64, (n, classes), elements=st.floats(-30, 30)))
    truth = draw_from(arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    return c.apply_temperature(np.exp(logits), 1.0), truth


def test_calibrated_answers_have_little_error_and_sharpened_ones_have_much() -> None:
    probabilities, truth = draw(20_000)
    for binning in ("equal-width", "equal-mass"):
        assert c.reliability(*said(probabilities, truth), binning).error < 0.015
        sharp = c.apply_temperature(probabilities, 0.4)
        assert c.reliability(*said(sharp, truth), binning).error > 0.08


@settings(deadline=None, max_examples=50)
@given(answers())
def test_error_equals_torchmetrics(drawn: Drawn) -> None:
    # Its bins are of float32, and 1 has one of its own, so confidences on an edge are left out.
    probabilities, truth = drawn
    kept = np.abs(probabilities.max(axis=1) * c.BINS - np.round(probabilities.max(axis=1) * c.BINS)) > 1e-4
    if not kept.any():
        return
    probabilities, truth = probabilities[kept], truth[kept]
    expected = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(truth), probabilities.shape[1], c.BINS
    )
    assert c.reliability(*said(probabilities, truth)).error == pytest.approx(float(expected), abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(answers(), st.randoms(use_true_random=False))
def test_order_of_images_says_nothing(drawn: Drawn, random: Any) -> None:
    probabilities, truth = drawn
    order = list(range(len(truth)))
    random.shuffle(order)
    one, other = said(probabilities, truth), said(probabilities[order], truth[order])
    assert c.area_under_risk(*one) == pytest.approx(c.area_under_risk(*other), abs=1e-12)
    for binning in ("equal-width", "equal-mass"):
        assert c.reliability(*one, binning).error == pytest.approx(c.reliability(*other, binning).error, abs=1e-12)


def test_equal_mass_bins_hold_equally_many() -> None:
    confidence = np.random.default_rng(0).random(1500)
    counts = c.reliability(confidence, confidence > 0.5, "equal-mass").counts
    assert counts.sum() == 1500
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.15])
def test_interval_covers_the_true_error(shift: float) -> None:
    rng = np.random.default_rng(3)

    def sample(n: int) -> tuple[np.ndarray, np.ndarray]:
        confidence = rng.beta(4, 2, n)
        return confidence, rng.random(n) < np.clip(confidence - shift, 0, 1)

    true = c.reliability(*sample(2_000_000)).error if shift else 0.0
    covered = 0
    for seed in range(60):
        low, high = c.ece_interval(*sample(800), seed=seed, resamples=300)
        covered += low <= true <= high
    assert covered >= 56


def test_interval_needs_a_resample(age_report: Report) -> None:
    with pytest.raises(UsageError, match="at least one resample"):
        c.measure_calibration(age_report, resamples=0)


def test_likelihood_and_brier_by_hand() -> None:
    probabilities, truth = np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([0, 1])
    assert c.negative_log_likelihood(probabilities, truth) == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)
    assert c.brier_score(probabilities, truth) == pytest.approx((0.5 + 0.08) / 2)
    assert np.isfinite(c.negative_log_likelihood(np.array([[0.0, 1.0]]), np.array([0])))


def test_risk_rises_with_coverage_and_ends_at_the_error_rate() -> None:
    right = np.array([True, True, False, True, False])
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert c.risks(confidence, right) == pytest.approx([0, 0, 1 / 3, 1 / 4, 2 / 5])
    assert c.area_under_risk(confidence, right) == pytest.approx((1 / 3 + 1 / 4 + 2 / 5) / 5)
    assert c.risks(np.full(5, 0.5), right) == pytest.approx([0.4] * 5)
    assert c.risk_at(confidence, right, (0.01, 0.6, 1.0)) == pytest.approx([0, 1 / 3, 0.4])


@settings(deadline=None, max_examples=60)
@given(answers())
def test_temperature_never_raises_the_likelihoods_loss_where_it_was_fitted(drawn: Drawn) -> None:
    probabilities, truth = drawn
    temperature = c.fit_temperature(probabilities, truth)
    before = c.negative_log_likelihood(probabilities, truth)
    tempered = c.apply_temperature(probabilities, temperature)
    assert c.negative_log_likelihood(tempered, truth) <= before + 1e-9
    assert tempered.sum(axis=1) == pytest.approx(np.ones(len(truth)))
    assert (
        np.take_along_axis(tempered, probabilities.argmax(axis=1)[:, None], 1)[:, 0] >= tempered.max(1) - 1e-12
    ).all()


@pytest.mark.parametrize("applied", [0.3, 1.0, 3.0])
def test_temperature_undoes_one_that_was_applied(applied: float) -> None:
    probabilities, truth = draw(20_000, seed=5)
    found = c.fit_temperature(c.apply_temperature(probabilities, applied), truth)
    assert found == pytest.approx(1 / applied, rel=0.05)


def test_temperature_stays_where_nothing_is_better() -> None:
    assert c.fit_temperature(np.full((4, 2), 0.5), np.array([0, 1, 0, 0])) == 1


def test_certain_answers_have_no_calibration(age_report: Report, tmp_path: Path) -> None:
    certain = replace(age_report, probabilities=np.eye(4)[age_report.predicted])
    measured = measure(certain, resamples=20)
    assert measured["calibration"] is None
    assert "Calibration" not in write_page(certain, measured, tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "draw_it", [calibration_pictures.reliability_picture, calibration_pictures.risk_coverage_picture]
)
def test_pictures_name_the_temperature_and_carry_the_mark(draw_it: Callable[..., Any], age_report: Report) -> None:
    leaked = replace(age_report, origin=Origin("run", "split", "test", leaked=True))
    plain, marked = draw_it(measure(age_report, resamples=20)), draw_it(measure(leaked, temperature=1.5, resamples=20))
    one, other = (" ".join(text.get_text() for text in figure.findobj(Text)) for figure in (plain, marked))
    assert "temperature" not in one
    assert "LEAKED" not in one
    assert "temperature 1.50" in other
    assert "LEAKED" in other
    assert pictures.png(plain).startswith(b"\x89PNG")
