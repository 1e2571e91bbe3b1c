"""The Faces table: one row an image, checked once when it is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from agecls.bins import UNLABELLED, Bins
from agecls.errors import DataError
from agecls.labels import AGE_MAX, AGE_MIN, ETHNICITIES, GENDERS, GROUPINGS, UNKNOWN, Task

COLUMNS: Final = ("path", "age", "gender", "ethnicity", "source", "sha256", "group")
"""Columns of a split's CSV files, in order."""

RANGE_COLUMNS: Final = ("age_low", "age_high")
"""Two further columns, written only where a source knows ages as ranges; ``age`` is empty in such a row."""


@dataclass(frozen=True)
class Faces:
    """Labelled images, one row each.

    Attributes:
        table: columns ``path`` (relative, POSIX), ``age_low`` and ``age_high`` (whole years; equal where the age is
            known exactly), ``gender``, ``ethnicity`` ("" where unknown), ``source``, ``sha256``, ``group``.

    Raises:
        DataError: a column is missing, an age is outside 0..116, a label is not in its set, a row stands twice.
    """

    table: pd.DataFrame

    def __post_init__(self) -> None:
        missing = sorted({"path", *RANGE_COLUMNS, *COLUMNS[2:]} - set(self.table.columns))
        if missing:
            raise DataError(
                f"the faces table lacks the column {missing[0]}", got=", ".join(map(str, self.table.columns))
            )
        low, high = self.table["age_low"], self.table["age_high"]
        wrong = ~((low >= AGE_MIN) & (low <= high) & (high <= AGE_MAX))  # so that a missing age is wrong as well
        if wrong.any():
            row = self.table[wrong].iloc[0]
            raise DataError(f"{row.path} has an age outside {AGE_MIN}..{AGE_MAX}", got=f"{row.age_low}-{row.age_high}")
        for column, allowed in (("gender", GENDERS), ("ethnicity", ETHNICITIES)):
            unknown = ~self.table[column].isin([*allowed, UNKNOWN])
            if unknown.any():
                row = self.table[unknown].iloc[0]
                raise DataError(
                    f"{row.path} has an unknown {column}", got=row[column], remedy=f"use {', '.join(allowed)}"
                )
        twice = self.table.duplicated(["source", "path"])
        if twice.any():
            raise DataError("an image stands twice in the faces table", got=str(self.table[twice].iloc[0].path))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def years(self) -> npt.NDArray[np.float64]:
        """Exact ages in years, shape (N,); NaN where only a range is known."""
        exact = self.table["age_low"] == self.table["age_high"]
        return self.table["age_low"].where(exact).to_numpy(np.float64, na_value=np.nan)

    def targets(self, task: Task, bins: Bins) -> npt.NDArray[np.int64]:
        """Class index of each image for ``task``, shape (N,); ``UNLABELLED`` (-1) where it has no label."""
        match task:
            case "age":
                return bins.index_of_range(self.table["age_low"], self.table["age_high"])
            case "gender" | "ethnicity":
                return self.codes(task)

    def codes(self, label: str) -> npt.NDArray[np.int64]:
        """Index of each image's gender or ethnicity among those there are, shape (N,); ``UNLABELLED`` (-1) for none."""
        index = pd.Index(GROUPINGS[label]).get_indexer(pd.Index(self.table[label]))
        return np.where(index < 0, UNLABELLED, index).astype(np.int64)

    def select(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Faces":
        """The faces of some rows, in the order given."""
        table = self.table[rows] if rows.dtype == np.bool_ else self.table.iloc[rows]
        return Faces(table.reset_index(drop=True))

    def to_csv(self, path: Path) -> None:
        r"""Write the contract's columns, sorted by path: UTF-8, ``\\n`` line ends, the same bytes on every machine."""
        table = self.table.sort_values(["path", "source"], kind="stable")
        exact = table["age_low"] == table["age_high"]
        written = table.assign(age=table["age_low"].where(exact, pd.NA).astype("Int64"))
        columns = COLUMNS if exact.all() else (*COLUMNS, *RANGE_COLUMNS)
        written.to_csv(path, index=False, columns=list(columns), lineterminator="\n", encoding="utf-8")

    @classmethod
    def from_csv(cls, path: Path) -> "Faces":
        """Read what ``to_csv`` wrote.

        Raises:
            DataError: the file cannot be read, lacks a column, or holds an impossible label.
        """
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the table {path}", got=str(error).strip()) from None
        missing = [column for column in COLUMNS if column not in table.columns]
        if missing:
            raise DataError(f"{path} lacks the column {missing[0]}", got=", ".join(table.columns) or "no columns")
        table = table.assign(**{column: "" for column in RANGE_COLUMNS if column not in table.columns})
        for column in RANGE_COLUMNS:
            text = table[column].where(table["age"] == "", table["age"])
            whole = text.str.fullmatch(r"[0-9]{1,3}")
            if not whole.all():
                row = table[~whole].iloc[0]
                raise DataError(f"{path}: {row.path} has no whole age in years", got=repr(text[~whole].iloc[0]))
            table[column] = text.astype("int64")
        return cls(table[["path", *RANGE_COLUMNS, *COLUMNS[2:]]])

    @classmethod
    def concat(cls, parts: Sequence["Faces"]) -> "Faces":
        """All rows of several tables."""
        return cls(pd.concat([part.table for part in parts], ignore_index=True))
