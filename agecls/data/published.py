"""A split that someone else made: its tables joined with the images of the sources.

Which images there are and how they are labelled comes from the sources; the adopted tables say in which part an image
stands. Images that no table names stay out of the split and are counted; they are not quarantined.
"""

import csv
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import numpy as np

from agecls.data.adopted_tables import AdoptedRow, File, Shelf, name_tables, read_adopted
from agecls.data.duplicates import Ints
from agecls.data.freeze import Gathered, Grouping, gather
from agecls.data.sources import SourceName, TableOptions, read_source
from agecls.data.sources.csv_table import COLUMNS, parse_ages
from agecls.data.sources.listing import Rejected
from agecls.data.sources.tables import require_columns
from agecls.data.sources.walk import IMAGE_SUFFIXES, printable, walk_images
from agecls.data.split import PARTS, Part

Placed = dict[Part, Ints]
"""Rows of each part, ascending; a row may stand in several."""

_NO_LABEL: Final = "the source knows no such image"


class Disagreement(NamedTuple):
    """Rows of the adopted tables whose age is not that of the source.

    Attributes:
        rows: how many.
        example: the first of them in words; "" where there is none.
    """

    rows: int
    example: str


@dataclass(frozen=True)
class Published:
    """What the adopted tables say, joined with the images that they mean.

    Attributes:
        tables: names of the tables of train, valid and test.
        gathered: every image of the sources.
        roots: folder of each source.
        placed: rows of ``gathered.table`` in each part.
        rejected: rows of the adopted tables that mean no usable image, sorted.
        not_named: images of the sources that no table names.
        ages: rows that give another age than the source; None where the tables give none, or are the source.
    """

    tables: Sequence[str]
    gathered: Gathered
    roots: Mapping[SourceName, Path]
    placed: Placed
    rejected: list[Rejected]
    not_named: int
    ages: Disagreement | None


def read_published(
    sources: Sequence[tuple[SourceName, Path]], tables: Sequence[Path], options: TableOptions, grouping: Grouping
) -> Published:
    """Read the adopted tables and every image of the sources.

    Args:
        sources: what knows the images and their labels; ``csv`` without a table takes the labels from ``tables``.
        tables: of train, valid and test.
        options: how to read ``tables``; where source ``csv`` has a table of its own, how to read that one.
        grouping: what groups the images.

    Raises:
        DataError: a table cannot be read or means no image, or the images cannot be used.
    """
    names = [name for name, _ in sources]
    named = options.columns if "csv" not in names or options.table is None else {}
    rows = read_adopted(tables, Shelf(_list_files(sources, options)), named)
    labels_theirs = "csv" in names and options.table is None
    if labels_theirs:
        with _label_table(rows, tables, names.index("csv"), options) as joined:
            gathered = gather(sources, joined, grouping)
    else:
        gathered = gather(sources, options, grouping)
    placed, rejected = _place(rows, gathered, names)
    return Published(
        tables=name_tables(tables),
        gathered=gathered,
        roots=dict(sources),
        placed=placed,
        rejected=rejected,
        not_named=_count_unnamed(rows, gathered, names),
        ages=None if labels_theirs else _compare_ages(rows, gathered, names, named.get("age", "age")),
    )


def _list_files(sources: Sequence[tuple[SourceName, Path]], options: TableOptions) -> list[File]:
    files: list[File] = []
    for number, (name, root) in enumerate(sources):
        images, refused = walk_images(root) if root.is_dir() else ([], [])
        if not images:
            read_source(name, root, options)  # says what is wrong with the root
        files += [File(number, path) for path in [*images, *(row.path for row in refused)]]
    return files


@contextmanager
def _label_table(
    rows: Sequence[AdoptedRow], tables: Sequence[Path], source: int, options: TableOptions
) -> Iterator[TableOptions]:
    """Join the adopted tables into one label table, under our column names and with the paths of the files."""
    theirs = {name: options.columns.get(name, name) for name in COLUMNS[1:]}
    paths = dict(zip(PARTS, tables, strict=True))
    for part, columns in {row.part: list(row.cells) for row in rows}.items():
        if not {theirs["age_low"], theirs["age_high"]} <= set(columns):
            remedy = "name the column of ages with --column age=THEIR_NAME, or give a label table with --table"
            require_columns(paths[part], columns, [theirs["age"]], remedy=remedy)
    # A set: a file in two parts has one label as long as both rows say the same.
    lines = {
        (row.file.path, *(row.cells.get(column, "") for column in theirs.values()))
        for row in rows
        if row.file is not None and row.file.source == source
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *sorted(lines)])
        yield replace(options, table=path, columns={})


def _place(rows: Sequence[AdoptedRow], gathered: Gathered, names: Sequence[str]) -> tuple[Placed, list[Rejected]]:
    row_of, reasons = _rows_by_file(gathered, names), _reasons(gathered.rejected, names)
    placed: dict[Part, list[int]] = {part: [] for part in PARTS}
    rejected = []
    for row in rows:
        if row.file in row_of:
            placed[row.part].append(row_of[row.file])
        else:
            reason = row.reason if row.file is None else reasons.get(row.file, _NO_LABEL)
            rejected.append(Rejected(printable(row.written), f"{reason} [{row.table}]"))
    return {part: np.array(sorted(numbers), dtype=np.int64) for part, numbers in placed.items()}, sorted(rejected)


def _rows_by_file(gathered: Gathered, names: Sequence[str]) -> dict[File | None, int]:
    files = zip(gathered.table["source"], gathered.table["path"], strict=True)
    return {File(names.index(source), path): row for row, (source, path) in enumerate(files)}


def _reasons(rejected: Sequence[Rejected], names: Sequence[str]) -> dict[File, str]:
    """Why files cannot be used; of several sources, each reason ends with the name of its own."""
    if len(names) == 1:
        return {File(0, row.path): row.reason for row in rejected}
    return {
        File(number, row.path): row.reason.removesuffix(f" [{name}]")
        for row in rejected
        for number, name in enumerate(names)
        if row.reason.endswith(f" [{name}]")
    }


def _count_unnamed(rows: Sequence[AdoptedRow], gathered: Gathered, names: Sequence[str]) -> int:
    unusable = (file for file in _reasons(gathered.rejected, names) if _is_image(file.path))
    return len({*_rows_by_file(gathered, names), *unusable} - {row.file for row in rows})


def _is_image(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES


def _compare_ages(
    rows: Sequence[AdoptedRow], gathered: Gathered, names: Sequence[str], column: str
) -> Disagreement | None:
    """Compare the ages that the adopted tables give; ranges that overlap agree, and what is no age is not compared."""
    row_of = _rows_by_file(gathered, names)
    ranges = list(zip(gathered.table["age_low"], gathered.table["age_high"], strict=True))
    compared, differing = 0, []
    for row in rows:
        ages = parse_ages(next((text for name, text in row.cells.items() if name.lower() == column.lower()), ""))
        if row.file in row_of and not isinstance(ages, str):
            low, high = ranges[row_of[row.file]]
            compared += 1
            if ages[0] > high or ages[1] < low:
                ours, theirs = (str(a) if a == b else f"{a}-{b}" for a, b in ((low, high), ages))
                differing.append(f"{printable(row.written)} is {ours} by the source, {theirs} in {row.table}")
    return Disagreement(len(differing), differing[0] if differing else "") if compared else None
