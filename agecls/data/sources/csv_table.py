"""Any label table: one row an image, the columns named by the user."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agecls.data.sources.listing import Label, Listing, Rejected
from agecls.data.sources.tables import match_rows, read_table, require_columns
from agecls.errors import UsageError
from agecls.labels import AGE_MAX, AGE_MIN, ETHNICITIES, GENDERS, UNKNOWN

COLUMNS: Final = ("path", "age", "age_low", "age_high", "gender", "ethnicity", "identity")
VOCABULARY: Final = {"gender": GENDERS, "ethnicity": ETHNICITIES}

_AGE: Final = re.compile(r"([0-9]+)(?:\.0*)?(?:\s*[-\u2013]\s*([0-9]+)(?:\.0*)?)?")


@dataclass(frozen=True)
class TableOptions:
    """How to read a user's own label table.

    Attributes:
        table: the table; None for ``labels.csv`` in the root.
        columns: our column name (``path``, ``age``, ``age_low``, ``age_high``, ``gender``, ``ethnicity``,
            ``identity``) to the table's; names left out are looked for as they are.
        codes: ``gender:CODE`` or ``ethnicity:CODE`` to our word, such as ``{"gender:0": "female"}``.

    Raises:
        UsageError: a column or a code that does not exist, or a code for a word that is not ours.
    """

    table: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in COLUMNS:
                raise UsageError(f"there is no column {name!r} to name", got=name, remedy=f"use {', '.join(COLUMNS)}")
        for code, word in self.codes.items():
            column = code.partition(":")[0]
            if ":" not in code or column not in VOCABULARY:
                raise UsageError(
                    "a code must name its column", got=code, remedy="write gender:CODE=WORD or ethnicity:CODE=WORD"
                )
            if word not in VOCABULARY[column]:
                raise UsageError(
                    f"code {code} stands for an unknown {column}",
                    got=word,
                    remedy=f"use {', '.join(VOCABULARY[column])}",
                )


def read_csv_table(root: Path, options: TableOptions) -> Listing:
    """Read a label table whose image paths are relative to ``root``.

    Returns:
        The listing; an empty one where no table was named and ``root`` has no ``labels.csv``.

    Raises:
        DataError: the table cannot be read or lacks a column.
    """
    path = options.table or root / "labels.csv"
    if options.table is None and not path.is_file():
        return Listing()
    return match_rows(root, _read_rows(path, options), tables=[path])


def _read_rows(path: Path, options: TableOptions) -> Iterator[Label | Rejected]:
    table = read_table(path)
    theirs = {name: options.columns.get(name, name) for name in COLUMNS}
    require_columns(path, table.columns, options.columns.values(), remedy="name one of the columns found")
    require_columns(
        path, table.columns, [theirs["path"]], remedy="name the column of image paths: --column path=THEIR_NAME"
    )
    if not {theirs["age_low"], theirs["age_high"]} <= set(table.columns):
        remedy = "name the column of ages, --column age=THEIR_NAME, or those of a range, age_low=... and age_high=..."
        require_columns(path, table.columns, [theirs["age"]], remedy=remedy)
    for number, row in enumerate(table.rows, start=1):
        values = {name: row.get(column, "") for name, column in theirs.items()}
        if not values["path"].strip():
            yield Rejected(f"{path.name} row {number}", "no image path in the row")
        else:
            yield _label(values, options.codes)


def _label(values: Mapping[str, str], codes: Mapping[str, str]) -> Label | Rejected:
    path = values["path"]
    ages = parse_ages(values["age"] if values["age"].strip() else f"{values['age_low']}-{values['age_high']}")
    if isinstance(ages, str):
        return Rejected(path, ages)
    words = {}
    for column in VOCABULARY:
        word = _word(column, values[column].strip(), codes)
        if word is None:
            return Rejected(path, f"unknown {column} {values[column]!r}")
        words[column] = word
    identity = values["identity"].strip()
    return Label(path, *ages, words["gender"], words["ethnicity"], (f"identity:csv/{identity}",) if identity else ())


def _word(column: str, text: str, codes: Mapping[str, str]) -> str | None:
    if f"{column}:{text}" in codes:
        return codes[f"{column}:{text}"]
    return text.lower() if text.lower() in (*VOCABULARY[column], UNKNOWN) else None


def parse_ages(text: str) -> tuple[int, int] | str:
    """Return youngest and oldest possible age in years, or the reason why there is none.

    Args:
        text: whole years (``25``, ``25.0``) or a range of them (``20-29``).
    """
    if text.strip() in {"", "-"}:
        return "no age"
    found = _AGE.fullmatch(text.strip())
    if not found:
        return f"age {text!r} is not a whole number or a range such as 20-29"
    if max(len(number) for number in found.groups("")) > 9:
        return f"age {text!r} is outside {AGE_MIN}..{AGE_MAX}"
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high:
        return f"age range {text} runs backwards"
    if high > AGE_MAX:
        return f"age {text} is outside {AGE_MIN}..{AGE_MAX}"
    return low, high
