"""A measured hierarchy on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from agecls.report.hierarchy_words import DIAGNOSIS, gain_in_points, points, short_count
from agecls.report.table import interval, new_table, percent, print_leak

_MOST = 5
"""Most groups named among those that images are sent to."""


def print_hierarchy(measured: Mapping[str, Any], console: Console) -> None:
    """Print each routing beside the flat model, the bins, the groups, what misrouting costs, and the verdict.

    Args:
        measured: what ``measure_hierarchy`` returns.
        console: where to print, 100 columns or wider; rich leaves colours out where it is no terminal.
    """
    print_leak(measured, console)
    scored = f"{measured['run']} on {measured['split']}, {measured['part']}, {measured['n']:,} images"
    console.print(Text(f"hierarchy by {', '.join(measured['by'])}: {scored}", style="bold"))
    threshold = measured["threshold"]
    trusted = f"; abstain trusts the router from {percent(threshold)} on" if threshold is not None else ""
    baseline = f"majority baseline {percent(measured['majority_macro_f1'], 2)}"
    console.print(Text(f"{baseline}; {measured['routing']} routing chosen{trusted}"))
    _routings(measured, console)
    _f1_of_each(measured, console, "F1 (%) by bin", "per_class", "f1", "support")
    _f1_of_each(measured, console, _groups_title(measured), "routed_groups", "macro_f1", "n")
    for kind in measured["routings"]["flat"]["by_group"]:
        if [kind] != measured["by"]:
            _f1_of_each(measured, console, f"macro-F1 (%) by {kind}", ("by_group", kind), "macro_f1", "n")
    _misrouting(measured, console)
    for group, reason in measured["fallback"].items():
        console.print(Text(f"{group}: no expert, the flat model answers: {reason}"))
    console.print()
    console.print(Text(measured["verdict"]["sentence"], style="bold"))


def _routings(measured: Mapping[str, Any], console: Console) -> None:
    columns = ("macro-F1", "95 % interval", "gain in points", "accuracy", "param.", "ms/image", "by flat")
    table = new_table("routing", *columns)
    for name, row in measured["routings"].items():
        table.add_row(
            Text(_marked(measured, name), style="bold" if name == measured["routing"] else ""),
            percent(row["macro_f1"]),
            interval(row["macro_f1_ci95"]),
            gain_in_points(row),
            percent(row["accuracy"]),
            "-" if row["parameters"] is None else short_count(row["parameters"]),
            "-" if row["ms_per_image"] is None else f"{row['ms_per_image']:.2f}",
            f"{row['to_flat']:,}",
        )
    console.print()
    console.print(table)
    if "oracle" in measured["routings"]:
        console.print(Text(f"(oracle) {DIAGNOSIS}", style="dim"))


def _f1_of_each(
    measured: Mapping[str, Any], console: Console, title: str, where: str | Sequence[str], key: str, images: str
) -> None:
    """Print one row for each bin or group: its score by each routing, and the gain of the chosen routing."""
    steps = [where] if isinstance(where, str) else where
    found: dict[str, Mapping[str, Any]] = {}
    for name, row in measured["routings"].items():
        for step in steps:
            row = row[step]
        found[name] = row
    if not found["flat"]:
        return
    chosen = measured["routing"]
    table = new_table(title, "images", *(_marked(measured, name) for name in found), f"gain of {chosen}, points")
    for name, row in found["flat"].items():
        scores = ("-" if each[name][key] is None else f"{100 * each[name][key]:.1f}" for each in found.values())
        table.add_row(Text(name), f"{row[images]:,}", *scores, gain_in_points(found[chosen][name]))
    console.print()
    console.print(table)


def _misrouting(measured: Mapping[str, Any], console: Console) -> None:
    lost = measured["misrouting"]
    if not lost["n"]:
        return
    text = f"misrouted: {lost['wrong']:,} of {lost['n']:,} images of known group ({percent(lost['share'])})"
    if lost["lost_macro_f1"] is not None:
        low, high = (points(end) for end in lost["lost_ci95"])
        text += f", which costs hard routing {points(lost['lost_macro_f1'])} points of macro-F1 ({low} to {high})"
    console.print()
    console.print(Text(text))
    hard, oracle = lost["accuracy_hard_on_wrong"], lost["accuracy_oracle_on_wrong"]
    if hard is not None and oracle is not None:
        answered = f"{percent(hard)} right as routed, {percent(oracle)} right with the expert of the true group"
        console.print(Text(f"of these images {answered}"))
    for name, row in lost["by_group"].items():
        if row["wrong"]:
            sent = sorted(row["sent_to"].items(), key=lambda item: (-item[1], item[0]))
            others = f" and {len(sent) - _MOST} more" if len(sent) > _MOST else ""
            listed = ", ".join(f"{count:,} to {other}" for other, count in sent[:_MOST]) + others
            console.print(Text(f"  {name}: {row['wrong']:,} of {row['n']:,} ({listed})"))


def _groups_title(measured: Mapping[str, Any]) -> str:
    return f"macro-F1 (%) by {measured['by'][0] if len(measured['by']) == 1 else 'group'}"


def _marked(measured: Mapping[str, Any], name: str) -> str:
    return "(oracle)" if name == "oracle" else f"{name}*" if name == measured["routing"] else name
