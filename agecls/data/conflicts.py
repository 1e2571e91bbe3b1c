"""One photograph, several labels: found among twins, listed, and kept out of valid and test."""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import pandas as pd

from agecls.data.duplicates import TWINS, Links, components
from agecls.labels import UNKNOWN

OnConflict = Literal["train", "drop", "keep"]
"""What becomes of the groups of such images: to train, out of the split, or wherever chance puts them."""

TOLERATED_YEARS: Final = 1
"""Ages of one photograph that differ by no more are rounding."""

COLUMNS: Final = ("group", "path", "age_low", "age_high", "gender", "ethnicity", "source", "differs")


def find_conflicts(table: pd.DataFrame, links: Sequence[Links]) -> "pd.Series[str]":
    """What differs among the labels of each row's photograph.

    Only twins are compared: crops of one photograph by stamp may show two people, and one person has many ages.

    Args:
        table: columns ``age_low``, ``age_high``, ``gender``, ``ethnicity``, N rows numbered from 0.
        links: why rows belong together.

    Returns:
        For each row the labels that differ, such as ``age gender``; "" where none does.
    """
    photograph = components(len(table), [link for link in links if link.kind in TWINS])
    grouped = table.groupby(photograph)
    apart = grouped["age_low"].transform("max") - grouped["age_high"].transform("min") > TOLERATED_YEARS
    differs = pd.Series(np.where(apart, "age ", ""), index=table.index, dtype=object)
    for name in ("gender", "ethnicity"):
        known = table[name].where(table[name] != UNKNOWN)
        differs += np.where(known.groupby(photograph).transform("nunique") > 1, f"{name} ", "")
    return differs.str.strip()


def conflict_rows(table: pd.DataFrame, differs: "pd.Series[str]") -> pd.DataFrame:
    """The rows of ``conflicts.csv``: every image of a photograph whose labels disagree, photograph by photograph."""
    chosen = table.assign(differs=differs)[differs != ""]
    return chosen.sort_values(["group", "path", "source"], kind="stable")[list(COLUMNS)]
