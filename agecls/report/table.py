"""A measured report on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_MOMENTS = (("mean", 1), ("mode", 0), ("std", 1))


def print_measured(measured: Mapping[str, Any], console: Console) -> None:
    """Print the headline, the classes, the groups and, for age, the years by bin.

    Args:
        measured: what ``measure`` returns.
        console: where to print; rich leaves colours out where it is no terminal.
    """
    _headline(measured, console)
    classes = new_table("class", "precision", "recall", "F1", "images")
    for name, row in measured["per_class"].items():
        shares = (percent(row[key]) for key in ("precision", "recall", "f1"))
        classes.add_row(Text(name), *shares, f"{row['support']:,}")
    console.print()
    console.print(classes)
    for kind, groups in measured["by_group"].items():
        if groups:
            table = new_table(kind, "images", "accuracy", "macro-F1", "95 % interval")
            for name, row in groups.items():
                scores = (percent(row["accuracy"]), percent(row["macro_f1"]), interval(row["macro_f1_ci95"]))
                table.add_row(Text(name), f"{row['n']:,}", *scores)
            console.print()
            console.print(table)
    if measured["task"] == "age":
        _years(measured, console)
    if "conformal" in measured:
        _conformal(measured["conformal"], console)


def print_leak(measured: Mapping[str, Any], console: Console) -> None:
    """Print the mark of a leak where there is one; it comes before everything else."""
    if measured["leaked"]:
        counted = f" ({measured['leaked_count']:,} images)" if measured["leaked_count"] else ""
        text = f"LEAKED{counted}: scored, or made, past a leakage guard; the scores do not hold for new faces"
        console.print(Text(text, style="bold white on red"))


def _headline(measured: Mapping[str, Any], console: Console) -> None:
    print_leak(measured, console)
    scored = (
        f"{measured['task']}: {measured['run']} on {measured['split']}, {measured['part']}, {measured['n']:,} images"
    )
    console.print(Text(scored, style="bold"))
    console.print(
        Text.assemble(
            "macro-F1 ",
            (percent(measured["macro_f1"], 2), "bold"),
            f" ({interval(measured['macro_f1_ci95'], 2)}, 95 % interval), ",
            f"majority baseline {percent(measured['majority_macro_f1'], 2)}, ",
            f"corrected {percent(measured['corrected_macro_f1'], 2)}",
        )
    )
    further = f"accuracy {percent(measured['accuracy'])}, balanced accuracy {percent(measured['balanced_accuracy'])}"
    if measured["task"] == "age":
        further += f", within one bin {percent(measured['off_by_one_accuracy'])}"
    if measured["kappa"] is not None:
        further += f", kappa {measured['kappa']:.3f}"
    console.print(Text(further))
    if measured.get("mae_years") is not None:
        explained = "-" if measured["r2"] is None else f"{measured['r2']:.3f}"
        years = f"years: mean absolute error {measured['mae_years']:.2f}, R2 {explained}, "
        console.print(Text(f"{years}within 5 years {percent(measured['cs5'])}"))
    if measured["calibration"] is not None:
        _calibration(measured["calibration"], console)


def _calibration(told: Mapping[str, Any], console: Console) -> None:
    line = f"calibration error {percent(told['ece'])} ({interval(told['ece_ci95'])}), NLL {told['nll']:.3f} nats, "
    line += f"Brier {told['brier']:.3f}, area under risk-coverage {told['aurc']:.4f}"
    if told["temperature"] is not None:
        line += f"; at temperature {told['temperature']:.3f}"
    console.print(Text(line))


def _conformal(told: Mapping[str, Any], console: Console) -> None:
    rows = [("all", told), *((name, row) for groups in told["by_group"].values() for name, row in groups.items())]
    rows += list(told["per_class"].items())
    table = new_table(f"sets of {percent(told['coverage'])}", "images", "covered", "95 % interval", "mean size")
    for name, row in rows:
        shares = (percent(row["covered"]), interval(row["covered_ci95"]))
        table.add_row(Text(name), f"{row['n']:,}", *shares, f"{row['mean_size']:.2f}")
    console.print()
    console.print(table)


def _years(measured: Mapping[str, Any], console: Console) -> None:
    labelled, predicted = measured["years_by_bin"], measured["years_by_predicted_bin"]
    if not any(row["n"] for row in labelled.values()):
        return
    table = new_table("years", "labelled: mean", "mode", "SD", "predicted: mean", "mode", "SD")
    for name in measured["classes"]:
        cells = (_number(row[name][key], digits) for row in (labelled, predicted) for key, digits in _MOMENTS)
        table.add_row(Text(name), *cells)
    console.print()
    console.print(table)


def new_table(first: str, *columns: str) -> Table:
    """Return an empty table: a column of names, then columns of numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(Text(first), overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def percent(share: float, digits: int = 1) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}f} %"


def interval(ends: list[float], digits: int = 1) -> str:
    """Return the ends of an interval of shares in percent."""
    return f"{100 * ends[0]:.{digits}f} to {100 * ends[1]:.{digits}f} %"


def _number(years: float | None, digits: int) -> str:
    return "-" if years is None else f"{years:.{digits}f}"
