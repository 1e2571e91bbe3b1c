"""Small reports with everything a report can hold: groups, unknown groups, unknown years, an empty class."""

from typing import Any

import numpy as np
import pytest

from agecls.report.report import Origin, Report
from agecls.report.routed_report import RoutedReport

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


def _one_hot(predicted: str) -> np.ndarray:
    probabilities = np.full((len(predicted), len(CLASSES)), 0.1)
    probabilities[np.arange(len(predicted)), [int(digit) for digit in predicted]] = 0.7
    return probabilities


@pytest.fixture
def routed_report() -> RoutedReport:
    """24 images routed by gender: three sent astray, one of unknown gender, no image of the oldest bin."""
    true_group = np.array([0, 1] * 12)
    true_group[23] = -1
    routed_group = np.array([0, 1] * 12)
    routed_group[[4, 9, 14]] = [1, 0, 1]
    unsure = np.zeros(24, dtype=bool)
    unsure[[4, 9, 20]] = True
    genders = ("male", "female")
    return RoutedReport(
        classes=CLASSES,
        paths=tuple(f"face_{row:02}.jpg" for row in range(24)),
        truth=np.array([int(digit) for digit in "000000111111222222222222"]),
        years=np.array([1, 2, 1, 0, 2, 1, 3, 9, 9, 12, 14, 5, *range(16, 27), np.nan]),
        probabilities={
            "flat": _one_hot("001001112112222212223202"),
            "hard": _one_hot("000011111112221222122202"),
            "soft": _one_hot("000011111112222222122202"),
            "oracle": _one_hot("000001111112222222122202"),
            "abstain": _one_hot("000001111112221222123202"),
        },
        group_names=genders,
        true_group=true_group,
        routed_group=routed_group,
        to_flat={"abstain": unsure, "hard": np.zeros(24, dtype=bool)},
        groups={
            "gender": tuple(genders[group] if group >= 0 else "" for group in true_group),
            "ethnicity": ("white",) * 13 + ("asian",) * 11,
        },
        origin=Origin(run="runs/hierarchy-gender-4-1", split="utkface", part="test", leaked=False),
        routed_share=np.where(unsure, 0.55, 0.9),
    )


@pytest.fixture
def about_hierarchy() -> dict[str, Any]:
    """What is known of the hierarchy beside its predictions."""

    def member(run: str, role: str, group: str | None, images: int, *, reused: bool) -> dict[str, Any]:
        sizes = {"parameters": 412_000, "ms_per_image": 0.25, "train_images": images}
        return {"run": run, "role": role, "group": group, **sizes, "valid_macro_f1": 0.66, "reused": reused}

    return {
        "by": ["gender"],
        "routing": "soft",
        "threshold": 0.6,
        "fallback": {},
        "valid_macro_f1": {"flat": 0.6, "hard": 0.61, "soft": 0.63, "oracle": 0.64, "abstain": 0.62},
        "members": {
            "flat": member("runs/age-4-1", "flat", None, 240, reused=True),
            "router gender": member("runs/gender-1", "router", None, 240, reused=True),
            "expert male": member("runs/age-4-male-1", "expert", "male", 118, reused=False),
            "expert female": member("runs/age-4-female-1", "expert", "female", 122, reused=False),
        },
        "costs": {
            "flat": {"parameters": 412_000, "ms_per_image": 0.25},
            "hard": {"parameters": 1_236_000, "ms_per_image": 0.5},
            "soft": {"parameters": 1_236_000, "ms_per_image": 0.75},
            "oracle": {"parameters": 824_000, "ms_per_image": None},
            "abstain": {"parameters": 1_648_000, "ms_per_image": 0.5},
        },
    }
