"""The folder of ``search-bins --report``: two pictures, the results as a table, and the JSON."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agecls.bin_search.search import Search
from agecls.files import write_whole
from agecls.report.bins_pictures import blocks_picture, curve_picture
from agecls.report.pictures import png


def write_report(told: Mapping[str, Any], search: Search, folder: Path) -> None:
    """Write ``blocks.png``, ``curve.png``, ``results.csv``, ``fine.csv`` and ``results.json``.

    ``fine.csv`` is the fine confusion matrix, as ``--confusion`` reads it. Each file is written whole or not at all.

    Args:
        told: the content of ``search-bins --json``.
        search: the search.
        folder: made where it is missing.

    Raises:
        UsageError: a file cannot be written.
    """
    write_whole(folder / "blocks.png", png(blocks_picture(told, search.matrix.counts)))
    write_whole(folder / "curve.png", png(curve_picture(told)))
    write_whole(folder / "fine.csv", _csv([list(search.matrix.bins.names), *search.matrix.counts.tolist()]))
    write_whole(folder / "results.csv", _csv(_rows(told)))
    text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(folder / "results.json", text.encode("utf-8", "backslashreplace"))


def _rows(told: Mapping[str, Any]) -> list[list[object]]:
    """One row for each found and each published partition."""
    scores = list(told["results"][0]["scores"])
    rows: list[list[object]] = [
        ["bins", "n_bins", "names", "images", "low", "high", "majority", "corrected_macro_f1", *scores]
    ]
    found = [("found", row, row["names"], told["n"]) for row in told["results"]]
    published = [
        (f"published {row['name']}", row, row["scored_as"], row["n"])
        for row in told["published"]
        if row["score"] is not None
    ]
    for kind, row, names, images in found + published:
        numbers = (*row["score_ci95"], row["majority"], row["corrected_macro_f1"], *row["scores"].values())
        rows.append([kind, row["n_bins"], ";".join(names), images, *(f"{number:.6f}" for number in numbers)])
    return rows


def _csv(rows: list[list[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")
