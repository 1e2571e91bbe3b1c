"""Metrics against scikit-learn, intervals against simulation, the JSON against a kept copy."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score

from agecls.errors import UsageError
from agecls.report.metrics import macro_f1, macro_f1_interval, measure
from agecls.report.report import Report

GOLDEN = Path(__file__).with_name("golden_evaluate.json")


def images(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labelled and predicted class of each image of a confusion matrix."""
    truth, predicted = np.indices(confusion.shape)
    return np.repeat(truth.ravel(), confusion.ravel()), np.repeat(predicted.ravel(), confusion.ravel())


def near(golden: Any) -> Any:
    if isinstance(golden, dict):
        return {
            key: pytest.approx(value, abs=0.03) if key.endswith("ci95") else near(value)
            for key, value in golden.items()
        }
    if isinstance(golden, list):
        return [near(value) for value in golden]
    if isinstance(golden, float):
        return pytest.approx(golden, abs=1e-12)
    return golden


def test_measured_report_equals_the_golden_file(age_report: Report) -> None:
    # Interval ends may move a little with numpy's random streams; everything else is exact.
    measured = json.loads(json.dumps(measure(age_report), allow_nan=False))
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert list(measured) == list(golden)
    assert measured == near(golden)


confusions = st.integers(2, 6).flatmap(lambda k: arrays(np.int64, (k, k), elements=st.integers(0, 9))).filter(np.any)


@settings(deadline=None, max_examples=60)
@given(confusions)
def test_macro_f1_equals_scikit_learn(confusion: np.ndarray) -> None:
    truth, predicted = images(confusion)
    for classes in (np.arange(len(confusion)), np.unique(truth)):
        expected = f1_score(truth, predicted, labels=classes, average="macro", zero_division=0)
        assert macro_f1(confusion, classes) == pytest.approx(expected, abs=1e-12)
        stacked = macro_f1(np.stack([confusion, 3 * confusion]), classes)
        assert stacked.tolist() == pytest.approx([expected, expected], abs=1e-12)


def test_interval_covers_the_true_value() -> None:
    shares = np.array([[0.30, 0.05, 0.01], [0.06, 0.20, 0.06], [0.02, 0.07, 0.23]])
    classes = np.arange(3)
    true = float(macro_f1(shares, classes))
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(400):
        confusion = rng.multinomial(300, shares.ravel()).reshape(3, 3)
        low, high = macro_f1_interval(confusion, classes, seed=seed, resamples=400)
        covered += low <= true <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_multinomial_bootstrap_agrees_with_resampled_images() -> None:
    confusion = np.array([[40, 6, 1], [9, 25, 7], [2, 5, 30]])
    truth, predicted = images(confusion)
    rng = np.random.default_rng(7)
    scores = []
    for _ in range(1500):
        rows = rng.integers(len(truth), size=len(truth))
        scores.append(f1_score(truth[rows], predicted[rows], labels=[0, 1, 2], average="macro", zero_division=0))
    naive = np.percentile(scores, [2.5, 97.5])
    interval = macro_f1_interval(confusion, np.arange(3), seed=0, resamples=20_000)
    # The standard error of a 2.5 % quantile of 1500 draws with standard deviation 0.039 is about 0.0027.
    assert interval == pytest.approx(naive.tolist(), abs=0.009)


def test_interval_narrows_with_more_images_and_is_repeatable() -> None:
    confusion = np.array([[40, 6], [9, 25]])
    few = macro_f1_interval(confusion, np.arange(2), seed=3, resamples=500)
    many = macro_f1_interval(100 * confusion, np.arange(2), seed=3, resamples=500)
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(10, rel=0.15)
    assert few == macro_f1_interval(confusion, np.arange(2), seed=3, resamples=500)
    assert few != macro_f1_interval(confusion, np.arange(2), seed=4, resamples=500)


def test_no_resample_is_refused(age_report: Report) -> None:
    with pytest.raises(UsageError, match="at least one resample"):
        measure(age_report, resamples=0)


def test_balanced_accuracy_leaves_out_classes_without_labels(age_report: Report) -> None:
    measured = measure(age_report, resamples=10)
    assert measured["per_class"]["41-116"]["support"] == 0
    expected = balanced_accuracy_score(age_report.truth, age_report.predicted)
    assert measured["balanced_accuracy"] == pytest.approx(expected)


def test_majority_baseline_always_answers_the_most_frequent_label(age_report: Report) -> None:
    measured = measure(age_report, resamples=10)
    # Half of the 12 images are 15-40: precision 1/2, recall 1, F1 2/3, over four classes.
    assert measured["majority_class"] == "15-40"
    assert measured["majority_macro_f1"] == pytest.approx(2 / 3 / 4)


def test_corrected_macro_f1_runs_from_the_baseline_to_one(age_report: Report) -> None:
    measured = measure(age_report, resamples=10)
    # Macro-F1 13/24, baseline 1/6: of the 5/6 that are left, 3/8 are gained.
    assert measured["corrected_macro_f1"] == pytest.approx((13 / 24 - 1 / 6) / (5 / 6))
    always = replace(age_report, probabilities=np.tile([0.0, 0.0, 1.0, 0.0], (12, 1)))
    assert measure(always, resamples=10)["corrected_macro_f1"] == 0
    never = replace(age_report, probabilities=np.tile([0.0, 0.0, 0.0, 1.0], (12, 1)))
    assert measure(never, resamples=10)["corrected_macro_f1"] == pytest.approx(-1 / 5)


def test_kappa_is_cohens_and_none_where_chance_always_agrees(age_report: Report) -> None:
    # 9 of 12 right; labels 3, 3, 6 and answers 3, 3, 6 agree by chance in (9 + 9 + 36) / 144.
    assert measure(age_report, resamples=10)["kappa"] == pytest.approx((0.75 - 0.375) / (1 - 0.375))
    one = np.zeros(12, dtype=int)
    answered = np.tile([1.0, 0.0, 0.0, 0.0], (12, 1))
    assert measure(replace(age_report, truth=one, probabilities=answered), resamples=10)["kappa"] is None
    assert measure(replace(age_report, truth=one), resamples=10)["kappa"] == 0
    assert measure(replace(age_report, probabilities=answered), resamples=10)["kappa"] == 0
    assert cohen_kappa_score(age_report.truth, age_report.predicted) == pytest.approx(0.6)


def test_off_by_one_counts_neighbouring_bins(age_report: Report) -> None:
    # 9 of 12 are right, two are one bin away, one is two bins away.
    measured = measure(age_report, resamples=10)
    assert measured["accuracy"] == pytest.approx(9 / 12)
    assert measured["off_by_one_accuracy"] == pytest.approx(11 / 12)


def test_groups_are_scored_over_the_classes_they_hold(age_report: Report) -> None:
    groups = measure(age_report, resamples=50)["by_group"]
    assert list(groups) == ["gender", "ethnicity"]
    assert list(groups["ethnicity"]) == ["white", "asian", "others"]  # vocabulary order, unknown left out
    # Asian: rows 5..8, one 3-14 and three 15-40, all right; the two other classes do not count as 0.
    assert groups["ethnicity"]["asian"] == {"n": 4, "accuracy": 1.0, "macro_f1": 1.0, "macro_f1_ci95": [0.5, 1.0]}
    # Others: rows 9 and 10 are both 15-40, one of them predicted 0-2: F1 is 2/3 over the one class labelled.
    assert groups["ethnicity"]["others"]["macro_f1"] == pytest.approx(2 / 3)


def test_a_task_is_not_grouped_by_its_own_label(age_report: Report) -> None:
    genders = ("male", "female")
    two = np.array([[0.8, 0.2]] * 12)
    report = replace(age_report, task="gender", classes=genders, truth=age_report.truth % 2, probabilities=two)
    measured = measure(report, resamples=10)
    assert list(measured["by_group"]) == ["ethnicity"]
    assert "off_by_one_accuracy" not in measured
    assert "years_by_bin" not in measured


def test_years_are_described_by_labelled_and_by_predicted_bin(age_report: Report) -> None:
    measured = measure(age_report, resamples=10)
    # 15-40 holds 20, 25, 25, 30, 40 and one image without an exact age.
    described = measured["years_by_bin"]["15-40"]
    assert described == {"n": 5, "mean": 28.0, "mode": 25.0, "std": pytest.approx(np.std([20, 25, 25, 30, 40], ddof=1))}
    assert measured["years_by_bin"]["41-116"] == {"n": 0, "mean": None, "mode": None, "std": None}
    assert measured["years_by_predicted_bin"]["3-14"]["n"] == 3
    assert measured["years_by_predicted_bin"]["3-14"]["mode"] == 1.0  # 1, 3 and 9 once each: the youngest


def test_one_image_gives_finite_values(age_report: Report) -> None:
    one = replace(
        age_report,
        paths=age_report.paths[:1],
        truth=age_report.truth[:1],
        probabilities=age_report.probabilities[:1],
        years=age_report.years[:1],
        groups={"gender": ("male",)},
    )
    measured = measure(one, resamples=10)
    assert measured["macro_f1"] == 0.25
    assert measured["macro_f1_ci95"] == [0.25, 0.25]
    assert measured["years_by_bin"]["0-2"] == {"n": 1, "mean": 1.0, "mode": 1.0, "std": None}
    json.dumps(measured, allow_nan=False)
