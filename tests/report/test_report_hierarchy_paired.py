"""Paired gains: exact where they can be, against scikit-learn and drawn images where they cannot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from agecls.errors import DataError, UsageError
from agecls.report.metrics import macro_f1_interval
from agecls.report.paired import paired_gain, paired_gains

K = 4
CLASSES = np.arange(K)

answers = st.integers(1, 40).flatmap(lambda n: arrays(np.int64, (3, n), elements=st.integers(0, K - 1)))


def correlated(n: int, seed: int, helped: float = 0.15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, a model, and a second one that answers most images alike and some better."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(K, n, p=[0.1, 0.2, 0.3, 0.4])
    base = np.where(rng.random(n) < 0.7, truth, rng.integers(K, size=n))
    return truth, np.where(rng.random(n) < helped, truth, base), base


@settings(deadline=None, max_examples=50)
@given(answers, st.integers(0, 5))
def test_the_same_predictions_gain_exactly_nothing(drawn: np.ndarray, seed: int) -> None:
    gain = paired_gain(drawn[0], drawn[1], drawn[1].copy(), CLASSES, seed=seed, resamples=30)
    assert gain.macro_f1 == 0
    assert gain.macro_f1_ci95 == [0, 0]
    assert gain.f1 == dict.fromkeys(range(K), 0.0)
    assert gain.f1_ci95 == {k: [0.0, 0.0] for k in range(K)}


@settings(deadline=None, max_examples=50)
@given(answers, st.integers(0, 5))
def test_exchanging_the_models_gives_the_opposite_gain(drawn: np.ndarray, seed: int) -> None:
    truth, first, second = drawn
    one = paired_gain(truth, first, second, CLASSES, seed=seed, resamples=30)
    other = paired_gain(truth, second, first, CLASSES, seed=seed, resamples=30)
    assert one.macro_f1 == -other.macro_f1
    assert one.macro_f1_ci95 == pytest.approx([-end for end in reversed(other.macro_f1_ci95)], abs=1e-12)
    assert one.f1 == {k: -value for k, value in other.f1.items()}


@settings(deadline=None, max_examples=50)
@given(answers)
def test_values_equal_scikit_learn(drawn: np.ndarray) -> None:
    truth, first, second = drawn
    for classes in (CLASSES, np.unique(truth)):
        gain = paired_gain(truth, first, second, classes, seed=0, resamples=5)
        for_each = [f1_score(truth, each, labels=classes, average=None, zero_division=0) for each in (first, second)]
        assert gain.macro_f1 == pytest.approx(for_each[0].mean() - for_each[1].mean(), abs=1e-12)
        assert list(gain.f1) == classes.tolist()
        assert list(gain.f1.values()) == pytest.approx((for_each[0] - for_each[1]).tolist(), abs=1e-12)


def test_interval_agrees_with_images_drawn_one_by_one() -> None:
    truth, first, second = correlated(150, 1)
    rng = np.random.default_rng(2)
    drawn = []
    for _ in range(800):
        rows = rng.integers(len(truth), size=len(truth))
        scores = [
            f1_score(truth[rows], each[rows], labels=CLASSES, average="macro", zero_division=0)
            for each in (first, second)
        ]
        drawn.append(scores[0] - scores[1])
    gain = paired_gain(truth, first, second, CLASSES, seed=0, resamples=8000)
    # The standard error of a 2.5 % quantile of 800 draws with standard deviation 0.018 is about 0.0017.
    assert gain.macro_f1_ci95 == pytest.approx(np.percentile(drawn, [2.5, 97.5]).tolist(), abs=0.007)


def test_interval_holds_the_value_and_the_truth() -> None:
    whole = correlated(200_000, 0)
    true = paired_gain(*whole, CLASSES, seed=0, resamples=1).macro_f1
    covered = 0
    for seed in range(200):
        gain = paired_gain(*correlated(400, seed + 1), CLASSES, seed=seed, resamples=300)
        low, high = gain.macro_f1_ci95
        assert low < gain.macro_f1 < high
        covered += low <= true <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_pairing_narrows_the_interval() -> None:
    truth, first, second = correlated(2000, 5)
    low, high = paired_gain(truth, first, second, CLASSES, seed=0, resamples=1000).macro_f1_ci95
    confusion = np.zeros((K, K), dtype=np.int64)
    np.add.at(confusion, (truth, second), 1)
    alone = macro_f1_interval(confusion, CLASSES, seed=0, resamples=1000)
    assert high - low < 0.5 * (alone[1] - alone[0])


def test_all_models_are_scored_on_the_same_images() -> None:
    truth, better, base = correlated(300, 3)
    gains = paired_gains(truth, base, {"a": better, "b": better.copy(), "c": base}, CLASSES, seed=0, resamples=50)
    assert list(gains) == ["a", "b", "c"]
    assert gains["a"] == gains["b"] == paired_gain(truth, better, base, CLASSES, seed=0, resamples=50)
    assert gains["c"].macro_f1_ci95 == [0, 0]


def test_seed_decides() -> None:
    images = correlated(300, 4)
    one = paired_gain(*images, CLASSES, seed=0, resamples=100)
    assert one == paired_gain(*images, CLASSES, seed=0, resamples=100)
    assert one != paired_gain(*images, CLASSES, seed=1, resamples=100)


def test_many_different_rows_are_drawn_in_blocks() -> None:
    rng = np.random.default_rng(0)
    truth, first, second = (rng.integers(200, size=9000) for _ in range(3))  # hardly any two images are alike
    low, high = paired_gain(truth, first, second, np.arange(3), seed=0, resamples=600).macro_f1_ci95
    assert -0.05 < low < high < 0.05
    # The first block holds 444 resamples; with 500 the same ones are drawn, and a hundred fewer.
    fewer = paired_gain(truth, first, second, np.arange(3), seed=0, resamples=500).macro_f1_ci95
    assert fewer != [low, high]
    assert fewer == pytest.approx([low, high], abs=0.002)


@pytest.mark.parametrize(
    ("truth", "first", "message"),
    [([0, 1, 2], [0, 1], "3, 2, 2"), ([], [], "0, 0, 0"), ([0, -1], [0, 1], "negative"), ([0, 1], [-1, 1], "negative")],
)
def test_what_cannot_be_compared_is_refused(truth: list[int], first: list[int], message: str) -> None:
    given_ = np.array(first, dtype=np.int64)
    with pytest.raises(DataError, match=message):
        paired_gain(np.array(truth, dtype=np.int64), given_, given_, CLASSES, seed=0, resamples=5)


def test_no_resample_is_refused() -> None:
    zero = np.zeros(3, dtype=np.int64)
    with pytest.raises(UsageError, match="at least one resample"):
        paired_gain(zero, zero, zero, CLASSES, seed=0, resamples=0)
