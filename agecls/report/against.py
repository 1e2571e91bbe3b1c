"""Several runs on the same images: their scores in one table and on one chart, with what each gains over the first."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.text import Text

from agecls.errors import DataError, UsageError
from agecls.report.paired import paired_gains
from agecls.report.pictures import BLUE, GOLD, MUTED, RED, TEXT_LIMIT, new_figure, plain, share_rows
from agecls.report.report import Report
from agecls.report.table import interval, new_table, percent

MOST: Final = 6
"""Runs that one chart can tell apart."""

RESAMPLES: Final = 2000

_MARKS: Final = (("o", BLUE), ("D", GOLD), ("s", MUTED), ("^", RED), ("v", "#3f8f6b"), ("P", "#7a4fa3"))


def compare(
    report: Report, measured: Mapping[str, Any], others: Mapping[str, tuple[Report, Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Lay other runs' answers to the same images beside those of a first one.

    Args:
        report: of the first run.
        measured: what ``measure`` returned for it.
        others: report and measures of each other run, by the name to be shown.

    Returns:
        One row a run, the first one's first: ``run, macro_f1, macro_f1_ci95, accuracy, f1`` (by class), for age
        ``off_by_one_accuracy`` and, where the run knows years, ``mae_years``; of the others also ``gain`` and
        ``gain_ci95``, the difference of macro-F1 with its paired bootstrap interval, in -1..1.

    Raises:
        DataError: another run was scored on other images or in other classes.
        UsageError: there are more runs than a chart can tell apart.
    """
    if len(others) >= MOST:
        raise UsageError(f"at most {MOST} runs can be compared", got=f"{len(others) + 1} runs")
    for name, (other, _) in others.items():
        if other.classes != report.classes:
            raise DataError(
                f"{name} answers in other classes than {report.origin.run}",
                got=f"{', '.join(other.classes)}, not {', '.join(report.classes)}",
                remedy="name bins that both can answer in with --bins",
            )
        if other.paths != report.paths or not np.array_equal(other.truth, report.truth):
            raise DataError(
                f"{name} is scored on other images than {report.origin.run}",
                got=f"{len(other):,} and {len(report):,} images",
                remedy="compare runs that take the same images",
            )
    gains = paired_gains(
        report.truth,
        report.predicted,
        {name: other.predicted for name, (other, _) in others.items()},
        np.arange(len(report.classes)),
        seed=0,
        resamples=RESAMPLES,
    )
    rows = [_row(report.origin.run, measured)]
    for name, (_, found) in others.items():
        rows.append(_row(name, found) | {"gain": gains[name].macro_f1, "gain_ci95": gains[name].macro_f1_ci95})
    return rows


def _row(name: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("macro_f1", "macro_f1_ci95", "accuracy", "off_by_one_accuracy", "mae_years")
    return {
        "run": name,
        "leaked": measured["leaked"],
        **{key: measured[key] for key in kept if measured.get(key) is not None},
        "f1": {each: row["f1"] for each, row in measured["per_class"].items()},
    }


def print_against(measured: Mapping[str, Any], console: Console) -> None:
    """Print the runs one below the other.

    Args:
        measured: what was measured of the first run, with the rows of ``compare`` as ``against``.
        console: where to print.
    """
    rows = measured["against"]
    years = any("mae_years" in row for row in rows)
    columns = ["macro-F1", "95 % interval", "gain", "accuracy"]
    table = new_table("run", *columns, *(["MAE"] if years else []))
    for row in rows:
        gain = "-"
        if "gain" in row:
            low, high = (100 * end for end in row["gain_ci95"])
            gain = f"{100 * row['gain']:+.1f} ({low:+.1f} to {high:+.1f})"
        cells = [percent(row["macro_f1"]), interval(row["macro_f1_ci95"]), gain, percent(row["accuracy"])]
        cells += [f"{row['mae_years']:.2f}" if "mae_years" in row else "-"] if years else []
        table.add_row(Text(f"{row['run']}{' LEAKED' if row['leaked'] else ''}"), *cells)
    console.print()
    console.print(table)
    told = "gain: points of macro-F1 over the first run, on the same images"
    console.print(Text(told + ("; MAE: in years" if years else "")))


def against_picture(measured: Mapping[str, Any]) -> Figure:
    """Draw F1 of each class, and macro-F1, of every run on one chart.

    Args:
        measured: as ``print_against`` takes it.
    """
    rows, classes = measured["against"], measured["classes"]
    height = (0.42 if len(classes) <= TEXT_LIMIT else 0.26) * (len(classes) + 1)  # inches
    figure, axes = new_figure(
        measured, f"{measured['task'].capitalize()}: F1 by class, of each run", (6.8, 2.1 + height)
    )
    places = np.arange(len(classes) + 1, dtype=float)
    spread = np.linspace(-0.24, 0.24, len(rows)) if len(rows) > 1 else np.zeros(1)
    for (marker, colour), row, off in zip(_MARKS, rows, spread, strict=False):
        scores = [*(row["f1"][name] for name in classes), row["macro_f1"]]
        label = f"{plain(row['run'], 40)}{' LEAKED' if row['leaked'] else ''}"
        axes.scatter(scores, places + off, marker=marker, s=30, color=colour, label=label, zorder=3, linewidths=0)
        axes.plot(row["macro_f1_ci95"], [places[-1] + off] * 2, color=colour, linewidth=1.6, zorder=2)
    axes.axhline(len(classes) - 0.5, color=MUTED, linewidth=0.8)
    axes.set_xlabel("F1; the bars about macro-F1 are its 95 % interval")
    share_rows(axes, [*(plain(name) for name in classes), "macro-F1"])
    axes.set_ylim(len(classes) + 0.6, -0.6)
    axes.set_xlim(0, 1)
    figure.legend(loc="outside lower center", ncols=1 if len(rows) > 4 else 2, fontsize=8, frameon=False)
    return figure
