"""Adience: five label tables ``fold_0_data.txt`` to ``fold_4_data.txt``, one folder of images a Flickr user.

Of the frontal faces alone there are tables of their own, ``fold_frontal_0_data.txt`` and so on; they are read where the
whole tables are not there.

Images stand in ``aligned/USER/landmark_aligned_face.FACEID.ORIGINAL`` or
``faces/USER/coarse_tilt_aligned_face.FACEID.ORIGINAL``.
Where both folders exist the aligned one is used and the other is not looked at: they hold the same photographs.

Source: Eidinger, Enbar and Hassner, "Age and gender estimation of unfiltered faces", IEEE TIFS 2014.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

from agecls.data.sources.listing import Label, Listing, Rejected
from agecls.data.sources.tables import match_rows, read_table, require_columns
from agecls.labels import ADIENCE_GENDER, AGE_MAX, AGE_MIN, UNKNOWN

FOLDS: Final = range(5)
TABLES: Final = ("fold_{}_data.txt", "fold_frontal_{}_data.txt")
"""Names of the tables: those of all faces, else those of the frontal ones."""

COLUMNS: Final = ("user_id", "original_image", "face_id", "age", "gender")
LAYOUTS: Final = {"aligned": "landmark_aligned_face", "faces": "coarse_tilt_aligned_face"}
"""Image folder to the first part of its file names, the preferred folder first."""

TYPING_ERRORS: Final = {(25, 23): (25, 32)}
"""Pairs that stand in the published tables by mistake, and what they mean."""


class FoldRow(NamedTuple):
    """One row of an Adience table, as text.

    Attributes:
        fold: number of the table, 0..4.
        user: Flickr user, which is also the folder of the image.
        original_image: file name of the photograph.
        face_id: number of the face.
        age: such as ``(25, 32)``, ``35`` or ``None``.
        gender: ``m``, ``f``, ``u`` or "".
    """

    fold: int
    user: str
    original_image: str
    face_id: str
    age: str
    gender: str


def read_folds(root: Path) -> list[FoldRow]:
    """Read the rows of every fold table that stands in ``root``, in the order of the folds; none give an empty list.

    Raises:
        DataError: a table cannot be read or lacks a column.
    """
    rows: list[FoldRow] = []
    for fold, path in fold_tables(root).items():
        table = read_table(path)
        require_columns(path, table.columns, COLUMNS, remedy="use the published tables of Adience, separated by tabs")
        rows += [FoldRow(fold, *(row[column] for column in COLUMNS)) for row in table.rows]
    return rows


def fold_tables(root: Path) -> dict[int, Path]:
    """The fold tables that stand in ``root``, by number: those of all faces, or of the frontal ones, never both."""
    for name in TABLES:
        found = {fold: root / name.format(fold) for fold in FOLDS if (root / name.format(fold)).is_file()}
        if found:
            return found
    return {}


def image_path(row: FoldRow, folder: str) -> str:
    """Return the path of a row's image relative to the root, for the image folder ``aligned`` or ``faces``."""
    return f"{folder}/{row.user}/{LAYOUTS[folder]}.{row.face_id}.{row.original_image}"


def image_folder(root: Path) -> str:
    """Return ``aligned`` or ``faces``, whichever exists, the first if both do; "" if neither does."""
    return next((folder for folder in LAYOUTS if (root / folder).is_dir()), "")


def read_adience(root: Path) -> Listing:
    """Read the Adience tables in ``root``; ethnicity is unknown, one user's images share a key.

    Returns:
        The listing, with paths relative to ``root``; an empty one where tables or image folders are missing.

    Raises:
        DataError: a table cannot be read or lacks a column.
    """
    folder = image_folder(root)
    rows = read_folds(root)
    return match_rows(root, [_label(row, folder) for row in rows], start=folder) if rows and folder else Listing()


def _label(row: FoldRow, folder: str) -> Label | Rejected:
    path = image_path(row, folder)
    ages = parse_ages(row.age)
    if isinstance(ages, str):
        return Rejected(path, ages)
    if row.gender not in ADIENCE_GENDER:
        return Rejected(path, f"unknown gender code {row.gender!r}")
    return Label(path, *ages, ADIENCE_GENDER[row.gender], UNKNOWN, (f"identity:adience/{row.user}",))


def parse_ages(text: str) -> tuple[int, int] | str:
    """Return youngest and oldest possible age in years, or the reason why there is none."""
    if text.strip() in {"", "None"}:
        return "no age"
    found = re.fullmatch(r"([0-9]{1,3})|\(\s*([0-9]{1,3}),\s*([0-9]{1,3})\s*\)", text.strip())
    if not found:
        return f"unknown age {text!r}"
    pair = (int(found[2]), int(found[3])) if found[2] else (int(found[1]), int(found[1]))
    low, high = TYPING_ERRORS.get(pair, pair)
    if low > high:
        return f"age range {text} runs backwards"
    if not AGE_MIN <= low <= high <= AGE_MAX:
        return f"age {text} is outside {AGE_MIN}..{AGE_MAX}"
    return low, high
