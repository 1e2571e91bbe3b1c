"""The report folder: one self-contained HTML page, the confusion matrix and the predictions as tables."""

import base64
import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from agecls import __version__
from agecls.files import write_whole
from agecls.report import pictures
from agecls.report.against import against_picture
from agecls.report.calibration_pictures import reliability_picture, risk_coverage_picture
from agecls.report.report import Report
from agecls.report.years_scatter import scatter_picture


def write_page(report: Report, measured: Mapping[str, Any], folder: Path, *, notes: Sequence[str] = ()) -> Path:
    """Write ``report.html``, ``report.json`` and confusion and predictions as tables into a folder.

    The page asks for nothing from the network: styles and pictures are inside it. ``report.json`` holds what was
    measured, as ``evaluate --json`` writes it; ``confusion.png`` is a picture of the page. ``confusion.csv`` has a
    header of the class names and K rows of counts, the labelled classes in the same order. ``predictions.csv`` has the
    columns ``path``, ``truth``, ``predicted``, one of probabilities for each class in the order of the report,
    ``predicted_years`` where the report has them, and ``leaked`` where the report is; image paths stand in it as they
    are, also those a spreadsheet would take for a formula.

    Each file is written whole or not at all; ``report.html`` comes last. The same report gives the same bytes.

    Args:
        report: predictions with labels.
        measured: what ``measure`` returns for the report.
        folder: made where it is missing.
        notes: further sentences for the page, plain text.

    Returns:
        The path of ``report.html``.

    Raises:
        UsageError: a file cannot be written.
    """
    confusion = pictures.png(pictures.confusion_picture(measured))
    drawn = {"confusion": confusion, "per_class": pictures.png(pictures.per_class_picture(measured))}
    if any(measured["by_group"].values()):
        drawn["groups"] = pictures.png(pictures.group_picture(measured))
    if report.task == "age" and any(row["n"] for row in measured["years_by_bin"].values()):
        drawn["years"] = pictures.png(pictures.years_picture(report, measured))
    if measured.get("mae_years") is not None:
        drawn["scatter"] = pictures.png(scatter_picture(report, measured))
    if measured["calibration"] is not None:
        drawn["reliability"] = pictures.png(reliability_picture(measured))
        drawn["risk_coverage"] = pictures.png(risk_coverage_picture(measured))
    if "against" in measured:
        drawn["against"] = pictures.png(against_picture(measured))
    html = _html(measured, embedded(drawn), notes)

    write_whole(folder / "confusion.png", confusion)
    write_whole(folder / "confusion.csv", table_bytes([report.classes, *measured["confusion"]]))
    write_whole(folder / "predictions.csv", table_bytes(_predictions(report)))
    write_whole(folder / "report.json", json_bytes(measured))
    page = folder / "report.html"
    write_whole(page, html.encode("utf-8", "backslashreplace"))
    return page


def embedded(drawn: Mapping[str, bytes]) -> dict[str, str]:
    """Return pictures as they stand inside a page, in base64."""
    return {name: base64.b64encode(content).decode("ascii") for name, content in drawn.items()}


def _html(measured: Mapping[str, Any], drawn: Mapping[str, str], notes: Sequence[str]) -> str:
    unlabelled = [name for name, row in measured["per_class"].items() if not row["support"]]
    return render("page.html.j2", {"years": _years}, m=measured, drawn=drawn, notes=notes, unlabelled=unlabelled)


def render(template: str, filters: Mapping[str, Callable[..., str]], **values: object) -> str:
    """Fill in a template of this folder, with further filters; every value is escaped, a missing one is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("agecls", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    environment.filters["share"] = lambda share: "-" if share is None else _percent(share)
    environment.filters["count"] = lambda n: f"{n:,}"
    environment.filters["number"] = lambda number, digits=1: "-" if number is None else f"{number:.{digits}f}"
    environment.filters.update(filters)
    return environment.get_template(template).render(**values, version=__version__)


def _percent(share: float, digits: int = 1) -> str:
    return f"{share:.{digits}%}".replace("%", "\u202f%")


def _years(years: float | None, digits: int = 1) -> str:
    return "" if years is None else f"{years:.{digits}f}"


def _predictions(report: Report) -> Iterable[Sequence[object]]:
    mark, marked = (("leaked",), ("true",)) if report.origin.leaked else ((), ())
    ages = report.predicted_years
    yield ("path", "truth", "predicted", *report.classes, *(() if ages is None else ("predicted_years",)), *mark)
    for row, (path, truth, predicted) in enumerate(zip(report.paths, report.truth, report.predicted, strict=True)):
        shares = (f"{share:.7g}" for share in report.probabilities[row])
        age = () if ages is None else (f"{ages[row]:.2f}",)
        yield (path, report.classes[truth], report.classes[predicted], *shares, *age, *marked)


def json_bytes(measured: Mapping[str, Any]) -> bytes:
    """Return measured values as JSON, finite or null, one on a line."""
    text = json.dumps(measured, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def table_bytes(rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows as CSV whose lines end in a line feed alone."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")
