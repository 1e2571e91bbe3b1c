"""Scores are those of scikit-learn on the expanded labels, and what each rewards is so."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, f1_score
from small import random_matrix

from agecls.bin_search.objectives import (
    OBJECTIVES,
    Blocks,
    Objective,
    corrected_macro_f1,
    gains,
    information,
    majority_macro_f1,
    score,
    scores,
)


@given(arrays(np.int64, st.integers(2, 6).map(lambda k: (k, k)), elements=st.integers(0, 9)))
@settings(max_examples=150, deadline=None)
def test_scores_equal_those_of_sklearn(counts: np.ndarray) -> None:
    counts = counts + np.eye(len(counts), dtype=np.int64)  # every bin has labelled images, as any found bin has
    k = len(counts)
    truth, answered = np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)
    found = scores(counts, np.full(k, 3.0))
    labels = list(range(k))
    f1 = f1_score(truth, answered, labels=labels, average="macro", zero_division=0)
    assert found["macro-f1"] == pytest.approx(f1)
    assert found["balanced-accuracy"] == pytest.approx(balanced_accuracy_score(truth, answered))
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, answered))
    assert found["kappa"] == pytest.approx(cohen_kappa_score(truth, answered))
    assert found["width-aware"] == pytest.approx(f1 * math.log(117 / 3) / math.log(117))
    most = np.full_like(truth, np.bincount(truth).argmax())
    majority = f1_score(truth, most, labels=labels, average="macro", zero_division=0)
    assert majority_macro_f1(counts) == pytest.approx(majority)
    assert corrected_macro_f1(counts, np.full(k, 3.0)) == pytest.approx((f1 - majority) / (1 - majority))


def test_empty_bins_count_as_nothing() -> None:
    counts = np.array([[4, 0, 0], [0, 0, 0], [0, 0, 6]])
    found = scores(counts, np.ones(3))
    assert found["macro-f1"] == pytest.approx(2 / 3)
    assert found["balanced-accuracy"] == pytest.approx(2 / 3)
    assert scores(np.array([[5, 0], [0, 0]]), np.ones(2))["kappa"] == 0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gains_of_blocks_add_up_to_the_score(objective: Objective) -> None:
    chance = np.random.default_rng(3)
    for _ in range(50):
        matrix = random_matrix(chance)
        starts = (0, *sorted(chance.choice(np.arange(1, len(matrix)), chance.integers(0, len(matrix)), replace=False)))
        gain, divisor = gains(objective, Blocks.of(matrix.counts[None], matrix.years))
        ends = [*starts[1:], len(matrix)]
        total = gain[0, starts, ends].sum()
        if divisor is not None:
            below = divisor[0, starts, ends].sum()
            total = total / below if below > 1e-15 else 0.0
        elif objective != "accuracy":
            total /= len(starts)
        assert total == pytest.approx(float(score(objective, matrix.merge(starts), matrix.widths(starts))))


def test_information_is_nothing_for_all_ages_and_all_for_one_year() -> None:
    widths = np.array([117.0, 1.0, math.sqrt(117)])
    assert information(widths) == pytest.approx([0, 1, 0.5])


def test_merging_raises_accuracy_and_may_lower_the_width_aware_score() -> None:
    counts = np.diag([30, 30, 30]) + 5
    merged = np.array([[counts[:2, :2].sum(), counts[:2, 2].sum()], [counts[2, :2].sum(), counts[2, 2]]])
    fine, coarse = scores(counts, np.array([10.0, 10.0, 97.0])), scores(merged, np.array([20.0, 97.0]))
    assert coarse["accuracy"] > fine["accuracy"]
    assert coarse["width-aware"] < fine["width-aware"]
