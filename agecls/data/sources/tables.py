"""Label tables: read their rows, and match the rows to the image files."""

import csv
import io
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

from agecls.data.sources.listing import Label, Listing, Rejected
from agecls.data.sources.walk import printable, walk_images
from agecls.errors import DataError

_ABSOLUTE: Final = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


class Table(NamedTuple):
    """A table of text.

    Attributes:
        columns: names in the header line, without surrounding blanks.
        rows: one mapping from column to text a row, read once; cells that a short row lacks are "".
    """

    columns: tuple[str, ...]
    rows: Iterator[dict[str, str]]


def read_table(path: Path) -> Table:
    """Read a UTF-8 table, with or without byte order mark, separated by commas, semicolons or tabs.

    Raises:
        DataError: the file cannot be read, is not UTF-8, is empty, or (while rows are read) a row is too long.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read the label table {path}", got=error.strerror or "") from None
    except UnicodeDecodeError as error:
        raise DataError(f"the label table {path} is not UTF-8", got=str(error), remedy="save it as UTF-8 CSV") from None
    lines = io.StringIO(text, newline="")
    header = next((line for line in lines if line.strip()), None)
    if header is None:
        raise DataError(f"the label table {path} is empty", remedy="give a table whose first line names its columns")
    lines.seek(0)
    records = _records(path, lines, max(",;\t", key=header.count))
    columns = tuple(name.strip() for name in next(records))
    return Table(columns, (_row(path, number, columns, cells) for number, cells in enumerate(records, start=1)))


def _records(path: Path, lines: io.StringIO, separator: str) -> Iterator[list[str]]:
    try:
        for cells in csv.reader(lines, delimiter=separator):
            if any(cell.strip() for cell in cells):
                yield cells
    except csv.Error as error:
        raise DataError(f"the label table {path} cannot be read", got=str(error)) from None


def _row(path: Path, number: int, columns: tuple[str, ...], cells: list[str]) -> dict[str, str]:
    if any(cells[len(columns) :]):
        raise DataError(
            f"row {number} of the label table {path} has more cells than the header",
            got=f"{len(cells)} cells under {len(columns)} columns",
            remedy="put quotation marks around values that hold the separator",
        )
    return dict(zip_longest(columns, cells[: len(columns)], fillvalue=""))


def require_columns(path: Path, columns: Collection[str], needed: Collection[str], remedy: str = "") -> None:
    """Check that a table has the columns that its reader needs.

    Raises:
        DataError: a column is missing, with its name and the columns found.
    """
    missing = [name for name in needed if name not in columns]
    if missing:
        raise DataError(f"the label table {path} lacks the column {missing[0]}", got=", ".join(columns), remedy=remedy)


def match_rows(
    root: Path, rows: Iterable[Label | Rejected], *, start: str = "", tables: Collection[Path] = ()
) -> Listing:
    """Match the rows of label tables to the image files below ``root/start``.

    A file stays only when all its rows say the same: the first row is used, further ones are rejected. Where they
    differ, nobody knows which one is right, and all are rejected.

    Args:
        root: an existing folder.
        rows: what each row says, its path relative to ``root``; a row that cannot be used comes as ``Rejected``.
        start: folder below the root that holds the images.
        tables: label tables, which are not counted as stray files.
    """
    images, refused = walk_images(root, start)
    present = set(images)
    listing = Listing()
    by_path: dict[str, list[Label | Rejected]] = {}
    for row in rows:
        path = inside(row.path, present)
        if path is None:
            listing.reject(printable(row.path), "path leaves the root")
        else:
            by_path.setdefault(path, []).append(row)
    # A table may itself be a link out of the root, so only its folder is resolved.
    own_files = [table.parent.resolve() / table.name for table in tables]
    own = {file.relative_to(root.resolve()).as_posix() for file in own_files if file.is_relative_to(root.resolve())}
    listing.rejected += [item for item in refused if item.path not in own or item.path in by_path]
    walk_refused = {item.path for item in refused}
    for path, same in by_path.items():
        if path not in walk_refused:
            _settle(listing, path, same, path in present)
    listing.reject_all([path for path in images if path not in by_path], "no row in the label table")
    return listing


def inside(path: str, present: set[str]) -> str | None:
    """The path of a row as ``present`` has it, relative to the root; None where it leaves the root."""
    if _ABSOLUTE.match(path):
        return None
    if "\\" in path and path not in present:
        path = path.replace("\\", "/")
    path = posixpath.normpath(path)
    return None if path == ".." or path.startswith("../") else path


def _settle(listing: Listing, path: str, same: list[Label | Rejected], is_present: bool) -> None:
    differ = len({row._replace(path=path) for row in same}) > 1
    for number, row in enumerate(same):
        if isinstance(row, Rejected):
            listing.reject(printable(path), row.reason)
        elif not is_present:
            listing.reject(printable(path), "file is missing")
        elif differ:
            listing.reject(path, "rows with different labels for the same file")
        elif number:
            listing.reject(path, "second row for the same file")
        else:
            listing.labels.append(row._replace(path=path))
