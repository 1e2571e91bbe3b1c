"""Cross-validation: the scores of the folds, their mean and deviation, and one report of all their predictions."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.text import Text

from agecls.report.report import Origin, Report
from agecls.report.table import new_table, percent, print_leak

SHARES: Final = {
    "macro_f1": "macro-F1",
    "majority_macro_f1": "majority",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "off_by_one_accuracy": "within one bin",
    "cs5": "within 5 years",
}
"""Scores in 0..1 that are told of each fold, and their headings."""

NUMBERS: Final = {"kappa": "kappa", "mae_years": "MAE (years)", "r2": "R2"}
"""Other scores."""

OVERLAP: Final = (
    "the folds share most of their training images, so their scores depend on each other: the standard deviation is of "
    "the scores and is no confidence interval (Bengio and Grandvalet 2004)"
)


def pool(reports: Sequence[Report], origin: Origin) -> Report:
    """Put the predictions of several runs for different images into one report.

    Args:
        reports: of one task and the same classes, at least one.
        origin: where all of them come from.
    """
    first = reports[0]
    years = [report.predicted_years for report in reports if report.predicted_years is not None]
    return Report(
        task=first.task,
        classes=first.classes,
        paths=tuple(path for report in reports for path in report.paths),
        truth=np.concatenate([report.truth for report in reports]),
        probabilities=np.concatenate([report.probabilities for report in reports]),
        years=np.concatenate([report.years for report in reports]),
        groups={kind: tuple(name for report in reports for name in report.groups[kind]) for kind in first.groups},
        origin=origin,
        predicted_years=np.concatenate(years) if len(years) == len(reports) else None,
    )


def summarise(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores of each fold, their mean, and their standard deviation (of a sample, so divided by K - 1).

    Args:
        measured: what ``measure`` returns for each of K folds, K >= 2.

    Returns:
        ``folds`` (a list: ``n`` and the scores), ``mean`` and ``std``. A score that a fold lacks has no mean.
    """
    names = [name for name in (*SHARES, *NUMBERS) if any(each.get(name) is not None for each in measured)]
    whole = [name for name in names if all(each.get(name) is not None for each in measured)]
    return {
        "folds": [{"n": each["n"], **{name: each.get(name) for name in names}} for each in measured],
        "mean": {name: statistics.fmean(each[name] for each in measured) for name in whole},
        "std": {name: statistics.stdev(each[name] for each in measured) for name in whole},
    }


def print_folds(told: Mapping[str, Any], console: Console) -> None:
    """Print the scores of each fold, mean and deviation, and the scores of all predictions together.

    Args:
        told: content of ``cv.json``.
        console: where to print.
    """
    for number, (task, scores) in enumerate(told["tasks"].items()):
        pooled = scores["pooled"]
        if number:
            console.print()
        print_leak(pooled, console)
        head = f"{task}: {told['folds']} folds of {told['split']}, {told['part']}, {pooled['n']:,} images"
        console.print(Text(head, style="bold"))
        shown = [name for name in (*SHARES, *NUMBERS) if name in scores["folds"][0]]
        table = new_table("fold", "images", *({**SHARES, **NUMBERS}[name] for name in shown))
        for fold, each in enumerate(scores["folds"], start=1):
            table.add_row(str(fold), f"{each['n']:,}", *(_cell(name, each[name]) for name in shown))
        for heading, row in (("mean", scores["mean"]), ("SD", scores["std"])):
            table.add_row(Text(heading, style="bold"), "", *(_cell(name, row.get(name)) for name in shown))
        table.add_row("together", f"{pooled['n']:,}", *(_cell(name, pooled.get(name)) for name in shown))
        console.print(table)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return percent(value, 2) if name in SHARES else f"{value:.3f}"
