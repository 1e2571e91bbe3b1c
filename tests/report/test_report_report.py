"""What a report refuses, and what it keeps."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agecls.errors import DataError, UsageError
from agecls.report.report import Origin, Report


def test_predicted_is_the_most_probable_class(age_report: Report) -> None:
    assert age_report.predicted.tolist() == [0, 0, 1, 1, 2, 1, 2, 2, 2, 2, 0, 2]
    assert len(age_report) == 12


def test_arrays_are_copies_and_read_only(age_report: Report) -> None:
    truth = np.array(age_report.truth)
    report = replace(age_report, truth=truth)
    truth[0] = 3
    assert report.truth[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        report.probabilities[0, 0] = 1.0


def changed(array: np.ndarray, at: Any, value: float) -> np.ndarray:
    copy = array.copy()
    copy[at] = value
    return copy


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_impossible_probabilities_are_refused_by_image(age_report: Report, value: float) -> None:
    with pytest.raises(DataError, match=r"face_04\.jpg"):
        replace(age_report, probabilities=changed(age_report.probabilities, (4, 0), value))


def test_negative_probability_is_refused_although_the_row_sums_to_one(age_report: Report) -> None:
    probabilities = age_report.probabilities.copy()
    probabilities[3] = [1.2, -0.2, 0, 0]
    with pytest.raises(DataError, match=r"face_03\.jpg"):
        replace(age_report, probabilities=probabilities)


@pytest.mark.parametrize(("error", "refused"), [(0.9e-4, False), (1.2e-4, True)])
def test_probabilities_sum_to_one_within_the_tolerance(age_report: Report, error: float, refused: bool) -> None:
    probabilities = changed(age_report.probabilities, (5, 0), 0.1 + error)
    if refused:
        with pytest.raises(DataError, match=r"face_05\.jpg.* no distribution"):
            replace(age_report, probabilities=probabilities)
    else:
        assert len(replace(age_report, probabilities=probabilities)) == 12


@pytest.mark.parametrize("label", [-1, 4])
def test_labels_outside_the_classes_are_refused(age_report: Report, label: int) -> None:
    with pytest.raises(DataError, match=r"face_07\.jpg has no label in 0\.\.3"):
        replace(age_report, truth=changed(age_report.truth, 7, label))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("truth", np.zeros(11, dtype=int), "truth"),
        ("truth", np.zeros(12), "whole numbers"),
        ("probabilities", np.full((12, 3), 1 / 3), "probabilities"),
        ("probabilities", np.full((11, 4), 0.25), "probabilities"),
        ("years", np.zeros(13), "years"),
        ("years", np.full(12, -1.0), "impossible age"),
        ("years", np.full(12, np.inf), "impossible age"),
        ("groups", {"gender": ("male",) * 11}, "gender"),
        ("paths", (), "no labelled image"),
        ("classes", ("a", "b", "c", "a"), "different names"),
        ("classes", ("a",), "two classes"),
    ],
)
def test_what_does_not_fit_is_refused(age_report: Report, field: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(age_report, **{field: value})


def test_unknown_task_is_refused(age_report: Report) -> None:
    with pytest.raises(UsageError, match="one task"):
        replace(age_report, task="mood")  # type: ignore[arg-type]


def test_counted_leak_must_be_marked() -> None:
    with pytest.raises(DataError, match="marked as leaked"):
        Origin("run", "split", "test", leaked=False, leaked_count=3)
    assert Origin("run", "split", "test", leaked=True, leaked_count=3).leaked
