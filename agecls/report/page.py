"""The report folder: one self-contained HTML page, the confusion matrix and the predictions as tables."""

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from agecls import __version__
from agecls.files import write_whole
from agecls.report import pictures
from agecls.report.report import Report


def write_page(report: Report, measured: Mapping[str, Any], folder: Path, *, notes: Sequence[str] = ()) -> Path:
    """Write ``report.html``, ``confusion.png``, ``confusion.csv`` and ``predictions.csv`` into a folder.

    The page asks for nothing from the network: styles and pictures are inside it. ``confusion.csv`` has a header of
    the class names and K rows of counts, the labelled classes in the same order. ``predictions.csv`` has the columns
    ``path``, ``truth``, ``predicted``, one of probabilities for each class in the order of the report, and ``leaked``
    where the report is; image paths stand in it as they are, also those a spreadsheet would take for a formula.

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
    html = _html(measured, {name: base64.b64encode(png).decode("ascii") for name, png in drawn.items()}, notes)

    write_whole(folder / "confusion.png", confusion)
    write_whole(folder / "confusion.csv", _csv([report.classes, *measured["confusion"]]))
    write_whole(folder / "predictions.csv", _csv(_predictions(report)))
    page = folder / "report.html"
    write_whole(page, html.encode("utf-8", "backslashreplace"))
    return page


def _html(measured: Mapping[str, Any], drawn: Mapping[str, str], notes: Sequence[str]) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda share, digits=1: f"{share:.{digits}%}".replace("%", "\u202f%")
    environment.filters["count"] = lambda n: f"{n:,}"
    environment.filters["years"] = lambda years, digits=1: "" if years is None else f"{years:.{digits}f}"
    template = environment.from_string(
        resources.files("agecls.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    )
    unlabelled = [name for name, row in measured["per_class"].items() if not row["support"]]
    return template.render(m=measured, drawn=drawn, notes=notes, unlabelled=unlabelled, version=__version__)


def _predictions(report: Report) -> Iterable[Sequence[object]]:
    mark, marked = (("leaked",), ("true",)) if report.origin.leaked else ((), ())
    yield ("path", "truth", "predicted", *report.classes, *mark)
    for path, truth, predicted, row in zip(
        report.paths, report.truth, report.predicted, report.probabilities, strict=True
    ):
        yield (path, report.classes[truth], report.classes[predicted], *(f"{share:.7g}" for share in row), *marked)


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")
