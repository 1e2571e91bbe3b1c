"""A confusion matrix from a file: a CSV table, or what ``evaluate --json`` writes."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from agecls.bin_search.matrix import FineMatrix
from agecls.bins import Bins
from agecls.errors import BinsError, DataError, LeakageError
from agecls.labels import AGE_MAX

MEGABYTES: Final = 8
"""Largest file that is read: 117 x 117 cells of any sensible length are far below."""

_REMEDY: Final = "give the confusion.csv of `evaluate --report`, the JSON of `evaluate --json`, or K rows of K counts"


@dataclass(frozen=True, eq=False)
class ConfusionFile:
    """A matrix read from a file, and what the file says of itself.

    Attributes:
        matrix: of the fine bins.
        path: of the file.
        told: ``run``, ``split``, ``part``, ``leaked`` and ``leaked_count`` where it is the JSON of an evaluation, or
            such a JSON lies beside it and holds the same counts; else empty.
    """

    matrix: FineMatrix
    path: Path
    told: Mapping[str, Any]


def read_confusion(path: Path) -> ConfusionFile:
    """Read a confusion matrix of age bins, labelled bins in rows.

    A CSV may have a header of bin names (``0-1,2-2``) or of single years, a first column of the same names, both, or
    neither: K rows alone are the single years from 0 on, the last one open to 116.

    Raises:
        DataError: the file cannot be read, is not square, or holds anything but counts.
        BinsError: its names are no age bins without gaps.
        LeakageError: it is the matrix of a test part.
    """
    text = _read_text(path)
    if path.suffix.lower() == ".json" or text.lstrip()[:1] == "{":
        measured = _measured(path, text)
        _refuse_test(path, measured, "it says so itself")
        bins = _bins([str(name) for name in _entry(path, measured, "classes")], path)
        return ConfusionFile(FineMatrix(bins, _counts(_entry(path, measured, "confusion"), path)), path, measured)
    names, rows = _table(path, text)
    counts = _counts(rows, path)
    matrix = FineMatrix(_bins(names or [str(year) for year in range(len(counts))], path), counts)
    return ConfusionFile(matrix, path, _beside(path, matrix))


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MEGABYTES * 2**20:
            raise DataError(f"{path} is too large for a confusion matrix", got=f"over {MEGABYTES} MB", remedy=_REMEDY)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}", got=error.strerror or "", remedy=_REMEDY) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text", remedy=_REMEDY) from None


def _measured(path: Path, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
        if isinstance(content, dict) and isinstance(content.get("tasks"), dict):
            content = content["tasks"].get("age")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON", got=str(error)[:80], remedy=_REMEDY) from None
    if not isinstance(content, dict) or content.get("task", "age") != "age":
        got = str(content.get("task"))[:40] if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path} is no evaluation of an age run", got=got, remedy=_REMEDY)
    return content


def _entry(path: Path, measured: Mapping[str, Any], key: str) -> list[Any]:
    value = measured.get(key)
    if not isinstance(value, list) or not value:
        raise DataError(f"{path} has no list under {key!r}", got=repr(value)[:40], remedy=_REMEDY)
    return value


def _table(path: Path, text: str) -> tuple[list[str], list[list[str]]]:
    """Names of the bins, [] where there are none, and the cells."""
    first = text.lstrip().partition("\n")[0]
    delimiter = next((each for each in (",", ";", "\t") if each in first), ",")
    try:
        lines = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter)]
    except csv.Error as error:
        raise DataError(f"{path} is no CSV table", got=str(error), remedy=_REMEDY) from None
    rows = [row for row in lines if any(row)]
    if not rows:
        raise DataError(f"{path} is empty", remedy=_REMEDY)
    if len(rows[0]) == len(rows[-1]) - 1:
        rows[0] = ["", *rows[0]]  # a header without the corner above the names of the rows
    tall, wide = len(rows), len(rows[-1])
    if uneven := next((row for row in rows if len(row) != wide), None):
        raise DataError(f"{path} has rows of different length", got=f"{len(uneven)} and {wide} cells", remedy=_REMEDY)
    # A header is one row more than there are columns; names of the rows are one column more.
    both = tall == wide and not _is_number(rows[0][0])
    header, named = both or tall == wide + 1, both or tall == wide - 1
    if not (header or named or tall == wide):
        raise DataError(f"{path} is not square", got=f"{tall} rows, {wide} columns", remedy=_REMEDY)
    body = rows[1:] if header else rows
    above = rows[0][named:] if header else []
    beside = [row[0] for row in body] if named else []
    if above and beside and above != beside:
        place = next(place for place, (one, other) in enumerate(zip(above, beside, strict=True)) if one != other)
        raise DataError(
            f"{path} names its rows otherwise than its columns",
            got=f"{beside[place][:40]!r} and {above[place][:40]!r} at place {place + 1}",
            remedy="give both the same order",
        )
    return above or beside, [row[named:] for row in body]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _bins(names: Sequence[str], path: Path) -> Bins:
    ranges = []
    for place, name in enumerate(names):
        found = re.fullmatch(r"([0-9]{1,3})(?:\s*-\s*([0-9]{1,3})|(\+))?", name.strip())
        if not found:
            raise BinsError(
                f"{path} names a bin that is no range of ages",
                got=repr(name[:40]),
                remedy="name each bin LOW-HIGH, such as 15-30, or by its single year",
            )
        low = int(found[1])
        open_end = bool(found[3]) or (found[2] is None and place == len(names) - 1)
        ranges.append((low, AGE_MAX if open_end else int(found[2] or low)))
    return Bins(tuple(ranges))


def _counts(rows: Sequence[Any], path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    k = len(rows)
    if not all(isinstance(row, list) and len(row) == k for row in rows):
        raise DataError(f"the confusion matrix of {path} is not square", got=f"{k} rows", remedy=_REMEDY)
    counts = np.zeros((k, k), dtype=np.int64)
    for row, column in np.ndindex(k, k):
        counts[row, column] = _count(rows[row][column], f"row {row + 1}, column {column + 1} of {path}")
    return counts


def _count(cell: Any, where: str) -> int:
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        value = float("nan")
    if not (0 <= value <= 10**12 and value == int(value)):
        share = 0 < value < 1
        raise DataError(
            f"{where} is no count of images",
            got=repr(cell)[:40],
            remedy="give counts, not shares: the intervals need the number of images" if share else _REMEDY,
        )
    return int(value)


def _beside(path: Path, matrix: FineMatrix) -> Mapping[str, Any]:
    """What ``report.json`` in the same folder says, where it is of the same counts.

    Raises:
        LeakageError: it says that they are those of a test part.
    """
    try:
        measured = json.loads((path.parent / "report.json").read_text(encoding="utf-8"))
        same = measured["confusion"] == matrix.counts.tolist()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not same:
        return {}
    _refuse_test(path, measured, f"{path.parent / 'report.json'} says so")
    return dict(measured)


def _refuse_test(path: Path, measured: Mapping[str, Any], why: str) -> None:
    if measured.get("part") == "test":
        raise LeakageError(
            f"{path} is the confusion matrix of a test part: bins chosen on it would have no honest score left",
            got=f"{why}, split {str(measured.get('split'))[:60]}",
            remedy="give that of the valid part: agecls evaluate RUN --part valid --json FILE",
        )
