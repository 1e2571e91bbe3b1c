"""Drawn faces: what ``agecls.data.synthetic`` wrote, a ``labels.csv`` with the faces beside it."""

from pathlib import Path

from agecls.data.sources.csv_table import TableOptions, read_csv_table
from agecls.data.sources.listing import Listing


def read_synthetic(root: Path) -> Listing:
    """Read the labels of the faces drawn into ``root``; an empty listing where none were drawn.

    Raises:
        DataError: the table cannot be read or lacks a column.
    """
    return read_csv_table(root, TableOptions())
