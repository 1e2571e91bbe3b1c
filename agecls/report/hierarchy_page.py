"""The report folder of a hierarchy: one self-contained HTML page, confusion matrices and predictions as tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agecls.files import write_whole
from agecls.report import pictures
from agecls.report.hierarchy_pictures import bins_picture, gains_picture, routing_diagram
from agecls.report.hierarchy_words import DIAGNOSIS, gain_in_points, points, short_count
from agecls.report.page import embedded, json_bytes, render, table_bytes
from agecls.report.routed_report import RoutedReport


def write_hierarchy_page(
    report: RoutedReport, measured: Mapping[str, Any], folder: Path, notes: Sequence[str] = ()
) -> Path:
    """Write ``hierarchy.html``, its pictures and tables, and ``report.json`` into a folder.

    The page asks for nothing from the network: styles and pictures are inside it. Beside it stand ``diagram.png``, and
    for each routing ``confusion-ROUTING.png`` and ``confusion-ROUTING.csv`` (a header of the bin names and K rows of
    counts, the labelled bins in the same order). ``predictions.csv`` has the columns ``path``, ``truth``,
    ``true_group`` (empty where unknown), ``routed_group``, ``routed_share`` where the report keeps it, the bin that
    each routing predicts, and ``leaked`` where the report is; image paths stand in it as they are.

    Each file is written whole or not at all; ``hierarchy.html`` comes last. The same report gives the same bytes.

    Args:
        report: predictions of each routing.
        measured: what ``measure_hierarchy`` returns for the report.
        folder: made where it is missing.
        notes: further sentences for the page, plain text.

    Returns:
        The path of ``hierarchy.html``.

    Raises:
        UsageError: a file cannot be written.
    """
    drawn = {
        "diagram": pictures.png(routing_diagram(measured)),
        "gains": pictures.png(gains_picture(measured)),
        "bins": pictures.png(bins_picture(measured)),
    }
    for name, row in measured["routings"].items():
        shown = {**measured, "confusion": row["confusion"]}
        mark = f" ({DIAGNOSIS})" if name == "oracle" else ""
        drawn[f"confusion-{name}"] = pictures.png(pictures.confusion_picture(shown, f"Age, {name} routing{mark}"))
    html = _html(measured, embedded(drawn), notes)

    for name, content in drawn.items():
        if name == "diagram" or name.startswith("confusion-"):
            write_whole(folder / f"{name}.png", content)
    for name, row in measured["routings"].items():
        write_whole(folder / f"confusion-{name}.csv", table_bytes([report.classes, *row["confusion"]]))
    write_whole(folder / "predictions.csv", table_bytes(_predictions(report)))
    write_whole(folder / "report.json", json_bytes(measured))
    page = folder / "hierarchy.html"
    write_whole(page, html.encode("utf-8", "backslashreplace"))
    return page


def _html(measured: Mapping[str, Any], drawn: Mapping[str, str], notes: Sequence[str]) -> str:
    def rows(*keys: str) -> dict[str, Any]:
        """What stands under these keys, by routing."""
        found: dict[str, Any] = dict(measured["routings"])
        for key in keys:
            found = {name: row[key] for name, row in found.items()}
        return found

    words: dict[str, Callable[..., str]] = {
        "gain": gain_in_points,
        "points": points,
        "sentence": lambda text: f"{text[:1].upper()}{text[1:]}.",
        "size": lambda number: "-" if number is None else short_count(number),
    }
    return render("hierarchy.html.j2", words, m=measured, drawn=drawn, notes=notes, rows=rows, diagnosis=DIAGNOSIS)


def _predictions(report: RoutedReport) -> Iterable[Sequence[object]]:
    share = ("routed_share",) if report.routed_share is not None else ()
    mark, marked = (("leaked",), ("true",)) if report.origin.leaked else ((), ())
    predicted = [report.report(name).predicted for name in report.routings]
    yield ("path", "truth", "true_group", "routed_group", *share, *report.routings, *mark)
    for row, path in enumerate(report.paths):
        true = report.true_group[row]
        yield (
            path,
            report.classes[report.truth[row]],
            report.group_names[true] if true >= 0 else "",
            report.group_names[report.routed_group[row]],
            *(() if report.routed_share is None else (f"{report.routed_share[row]:.7g}",)),
            *(report.classes[column[row]] for column in predicted),
            *marked,
        )
