"""FairFace: ``fairface_label_train.csv`` and ``fairface_label_val.csv`` beside the folders ``train`` and ``val``.

Ages are known as ranges only. Tables that went through a spreadsheet hold dates where ranges stood: ``3-9`` became
``9-Mar``, ``10-19`` became ``Oct-19``. Month and day (or year) still say which range it was.

Source: Karkkainen and Joo, "FairFace: face attribute dataset for balanced race, gender, and age", WACV 2021.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agecls.data.sources.listing import Label, Listing, Rejected
from agecls.data.sources.tables import match_rows, read_table, require_columns
from agecls.labels import AGE_MAX, FAIRFACE_ETHNICITY, FAIRFACE_GENDER

TABLES: Final = ("fairface_label_train.csv", "fairface_label_val.csv")
COLUMNS: Final = ("file", "age", "gender", "race")

AGE_RANGES: Final = frozenset({(0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69)})
OLDEST: Final = (70, AGE_MAX)
"""What ``more than 70`` means in years."""

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_PIECE: Final = r"(\d{1,4}|[a-z]{3,9})"
_BREAK: Final = r"[\s./\u2013-]+"
_PAIR: Final = re.compile(rf"{_PIECE}{_BREAK}{_PIECE}(?:{_BREAK}(\d{{1,4}}))?(?:[ t]00:00.*)?")
"""Two or three parts of a range or a date, midnight allowed after it."""


def read_fairface(root: Path) -> Listing:
    """Read FairFace in ``root`` or in ``root/fairface``.

    Returns:
        The listing, with paths relative to ``root``; an empty one where there is no table.

    Raises:
        DataError: a table cannot be read or lacks a column.
    """
    for start in ("", "fairface"):
        tables = [root / start / name for name in TABLES if (root / start / name).is_file()]
        if tables:
            rows = (row for table in tables for row in _read_rows(table, start))
            return match_rows(root, rows, start=start, tables=tables)
    return Listing()


def _read_rows(path: Path, start: str) -> Iterator[Label | Rejected]:
    table = read_table(path)
    require_columns(
        path, table.columns, COLUMNS, remedy=f"use the published table, with the columns {', '.join(COLUMNS)}"
    )
    for row in table.rows:
        file, age, gender, race = (row[column] for column in COLUMNS)
        # An absolute path must not be glued to the folder, or it would look as if it stayed inside.
        image = f"{start}/{file}" if start and not file.startswith("/") else file
        ages = parse_age_range(age)
        if ages is None:
            yield Rejected(image, f"unknown age range {age!r}")
        elif gender.strip() not in FAIRFACE_GENDER:
            yield Rejected(image, f"unknown gender {gender!r}")
        elif race.strip() not in FAIRFACE_ETHNICITY:
            yield Rejected(image, f"unknown race {race!r}")
        else:
            yield Label(image, *ages, FAIRFACE_GENDER[gender.strip()], FAIRFACE_ETHNICITY[race.strip()])


def parse_age_range(text: str) -> tuple[int, int] | None:
    """Return the range of ages in years that ``text`` stands for, or None.

    Understands the published ranges and every date a spreadsheet may have made of them: ``9-Mar``, ``03-Sep``,
    ``Oct-19``, ``2019-10-01``, ``3/9/2024``.
    """
    text = text.strip().lower()
    if text in {"more than 70", "70+"}:
        return OLDEST
    pieces = _PAIR.fullmatch(text)
    if not pieces:
        return None
    first, second = _number(pieces[1]), _number(pieces[2])
    pairs = [(first, second)]
    if pieces[3]:
        third = _number(pieces[3])
        year_first = len(pieces[1]) == 4
        year, pair = (first, (second, third)) if year_first else (third, (first, second))
        # 10-19 read as "October 2019" is stored as the first of that month; then the year holds the other number.
        pairs = [pair, (year, max(pair))] if 1 in pair else [pair]
    return next((ages for ages in map(_ascending, pairs) if ages in AGE_RANGES), None)


def _ascending(pair: tuple[int, int]) -> tuple[int, int]:
    return min(pair), max(pair)


def _number(piece: str) -> int:
    if piece.isdigit():
        return int(piece) % 100
    return _MONTHS.index(piece[:3]) + 1 if piece[:3] in _MONTHS else -1
