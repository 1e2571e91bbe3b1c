"""A small age report with everything a report can hold: groups, unknown groups, unknown years, an empty class."""

import numpy as np
import pytest

from agecls.report.report import Origin, Report

CLASSES = ("0-2", "3-14", "15-40", "41-116")


@pytest.fixture
def age_report() -> Report:
    truth = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    predicted = np.array([0, 0, 1, 1, 2, 1, 2, 2, 2, 2, 0, 2])
    probabilities = np.full((len(truth), len(CLASSES)), 0.1)
    probabilities[np.arange(len(truth)), predicted] = 0.7
    return Report(
        task="age",
        classes=CLASSES,
        paths=tuple(f"face_{row:02}.jpg" for row in range(len(truth))),
        truth=truth,
        probabilities=probabilities,
        years=np.array([1, 2, 1, 3, 9, 9, 20, 25, 25, 30, np.nan, 40], dtype=float),
        groups={
            "gender": tuple("male" if row % 2 else "female" for row in range(len(truth))),
            "ethnicity": ("white",) * 5 + ("asian",) * 4 + ("others",) * 2 + ("",),
        },
        origin=Origin(run="runs/age-4-1", split="utkface", part="test", leaked=False),
    )
