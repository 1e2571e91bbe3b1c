"""The result of a search on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_search(told: Mapping[str, Any], console: Console) -> None:
    """Print the best bins of each number, the published ones, the runner-ups of the recommended, and the rule.

    Args:
        told: the content of ``search-bins --json``.
        console: where to print.
    """
    if told["leaked"]:
        counted = f" ({told['leaked_count']:,} images)" if told["leaked_count"] else ""
        console.print(Text(f"LEAKED{counted}: these bins do not hold for new faces", style="bold red"))
    where = " of ".join(each for each in (told["part"], told["split"]) if each) or "a confusion matrix"
    by = f", predicted by {told['run']}" if told["run"] else ""
    console.print(Text(f"{told['n']:,} images of {where}{by}; {len(told['fine_bins'])} fine bins"))
    _print_scores(told, console)
    _print_edges(told, console)
    _print_rivals(told, console)
    chosen = told["recommended"]
    row = _chosen(told)
    console.print()
    console.print(Text(f"recommended: {chosen['n_bins']} bins, {','.join(chosen['names'])}", style="bold"))
    console.print(Text(f"rule: {chosen['rule']}"))
    gained = f"about {_percent(row['optimism'])} points of its {_percent(row['score'])} %"
    console.print(Text(f"{gained} come of choosing the bins on the images they are scored on"))


def _print_scores(told: Mapping[str, Any], console: Console) -> None:
    title = "scores in %; raw ones of different numbers of bins cannot be compared"
    table = Table(title=title, title_justify="left")
    for heading in ("bins", told["objective"], "95 % interval", "majority", "corrected", "width-aware"):
        table.add_column(heading, justify="right", no_wrap=True)
    found = [(str(row["n_bins"]), row) for row in told["results"]]
    published = [(row["name"] + ("" if row["exact"] else "*"), row) for row in told["published"]]
    for place, (name, row) in enumerate(found):
        chosen = row["n_bins"] == told["recommended"]["n_bins"]
        table.add_row(name, *_cells(row), style="bold" if chosen else "", end_section=place == len(found) - 1)
    table.add_row("presets", *[""] * 5)
    for name, row in published:
        table.add_row(name, *_cells(row))
    console.print(table)
    for _, row in published:
        if row["score"] is None:
            console.print(Text(f"* preset {row['name']} cannot be scored: the fine bins are too wide for it"))
        elif not row["exact"]:
            console.print(Text(f"* preset {row['name']} is scored as {','.join(row['scored_as'])}"))
    for _, row in published:
        if row["score"] is not None and row["n"] < told["n"]:
            left = told["n"] - row["n"]
            console.print(Text(f"preset {row['name']} leaves out {left:,} images labelled in its gaps"))


def _cells(row: Mapping[str, Any]) -> list[str]:
    if row["score"] is None:
        return [""] * 5
    shares = (row["majority"], row["corrected_macro_f1"], row["scores"]["width-aware"])
    return [_percent(row["score"]), _interval(row["score_ci95"]), *map(_percent, shares)]


def _print_edges(told: Mapping[str, Any], console: Console) -> None:
    table = Table(title="where bins begin, and the share of resamples that begin one there", title_justify="left")
    table.add_column("bins", justify="right")
    table.add_column("at", overflow="fold")
    for row in told["results"]:
        edges = ", ".join(f"{each['edge']} ({each['exact']:.0%})" for each in row["stability"])
        table.add_row(str(row["n_bins"]), edges)
    console.print(table)


def _print_rivals(told: Mapping[str, Any], console: Console) -> None:
    row = _chosen(told)
    number, rivals = row["n_bins"], row["runners_up"]
    if not rivals:
        console.print(Text(f"resampling tells the best {number} bins from every other partition"))
        return
    title = f"other partitions into {number} bins that resampling cannot tell from the best"
    table = Table(title=title, title_justify="left")
    table.add_column(told["objective"], justify="right")
    table.add_column("behind by", justify="right")
    table.add_column("bins", overflow="fold")
    for each in rivals:
        table.add_row(_percent(each["score"]), _interval(each["behind_ci95"]), ",".join(each["names"]))
    console.print(table)
    if row["more"]:
        console.print(Text(f"only the best {len(rivals)} were looked at; there may be more"))


def _chosen(told: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(row for row in told["results"] if row["n_bins"] == told["recommended"]["n_bins"])
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{_percent(ends[0])}..{_percent(ends[1])}"
