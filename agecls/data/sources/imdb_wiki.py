"""IMDB-WIKI: ``imdb.mat`` and ``wiki.mat``, each beside the image folders that its ``full_path`` names.

Age is the year of the photograph minus the date of birth, the photograph taken to be of mid-year. Gender is coded
0 female, 1 male, the other way round than in UTKFace. Rows without a face, or with a second face, are not used: the
label belongs to a person, and nobody knows which face is that person's.

Source: Rothe, Timofte and Van Gool, "Deep expectation of real and apparent age from a single image", IJCV 2018.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from agecls.data.sources.listing import Label, Listing, Rejected
from agecls.data.sources.tables import match_rows
from agecls.errors import DataError
from agecls.labels import AGE_MAX, AGE_MIN, IMDB_WIKI_GENDER, UNKNOWN

DATABASES: Final = ("imdb", "wiki")
FIELDS: Final = ("full_path", "dob", "gender", "photo_taken", "face_score", "second_face_score")

_DATENUM_1970: Final = 719_529
"""Matlab counts days from a day before year 0; numpy from 1970-01-01, which is this day in Matlab's count."""

_DATENUM_FIRST: Final = 367
_DATENUM_LAST: Final = 3_652_425
"""0001-01-01 and 9999-12-31; other dates of birth are not dates."""


def read_imdb_wiki(root: Path) -> Listing:
    """Read ``imdb.mat`` and ``wiki.mat``, in ``root`` or in its ``imdb_crop`` and ``wiki_crop``.

    Returns:
        The listing, with paths relative to ``root``; ethnicity is unknown. Empty where there is no table.

    Raises:
        DataError: a table cannot be read or lacks a field.
    """
    listing = Listing()
    beside = [root / f"{database}.mat" for database in DATABASES if (root / f"{database}.mat").is_file()]
    if beside:
        return match_rows(root, (row for table in beside for row in _read_rows(table, "")), tables=beside)
    for database in DATABASES:
        start, table = f"{database}_crop", root / f"{database}_crop" / f"{database}.mat"
        if table.is_file():
            found = match_rows(root, _read_rows(table, start), start=start, tables=[table])
            listing.labels += found.labels
            listing.rejected += found.rejected
    return listing


def mid_year_ages(dob: npt.NDArray[np.float64], photo_taken: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Age in years on 1 July of the year of the photograph, shape (N,); NaN where the birth date is no date.

    Args:
        dob: birth dates as Matlab serial date numbers, shape (N,).
        photo_taken: years of the photographs, shape (N,).
    """
    valid = (dob >= _DATENUM_FIRST) & (dob <= _DATENUM_LAST)
    days = np.where(valid, dob, _DATENUM_1970).astype(np.int64) - _DATENUM_1970
    months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)  # since January 1970
    birth_year, birth_month = 1970 + months // 12, 1 + months % 12
    return np.where(valid, photo_taken - birth_year - (birth_month >= 7), np.nan)


def _read_rows(path: Path, start: str) -> Iterator[Label | Rejected]:
    database = path.stem
    record = _load(path, database)
    paths = [str(cell.item()) if cell.size == 1 else "" for cell in record["full_path"].ravel()]
    dob, gender, photo_taken, face_score, second_face_score = (
        np.asarray(record[field], dtype=np.float64).ravel() for field in FIELDS[1:]
    )
    people = record["celeb_id"].ravel().tolist() if "celeb_id" in (record.dtype.names or ()) else [None] * len(paths)
    columns = {"dob": dob, "gender": gender, "photo_taken": photo_taken, "face_score": face_score}
    columns |= {"second_face_score": second_face_score, "celeb_id": np.asarray(people)}
    for name, column in columns.items():
        if len(column) != len(paths):
            raise DataError(
                f"the label table {path} is damaged", got=f"{len(paths)} paths, {len(column)} values of {name}"
            )
    ages = mid_year_ages(dob, photo_taken)
    has_face, has_second = np.isfinite(face_score), ~np.isnan(second_face_score)
    for number, (image, age, code, person) in enumerate(
        zip(paths, ages.tolist(), gender.tolist(), people, strict=True)
    ):
        if start and not image.startswith("/"):
            image = f"{start}/{image}"
        if not has_face[number]:
            yield Rejected(image, "no face found")
        elif has_second[number]:
            yield Rejected(image, "a second face in the picture")
        elif np.isnan(dob[number]) or age != age:
            yield Rejected(image, "date of birth is not a date")
        elif not AGE_MIN <= age <= AGE_MAX:
            yield Rejected(image, f"age {age:.0f} is outside {AGE_MIN}..{AGE_MAX}")
        elif code == code and code not in IMDB_WIKI_GENDER:
            yield Rejected(image, f"unknown gender code {code:g}")
        else:
            known = UNKNOWN if code != code else IMDB_WIKI_GENDER[int(code)]
            keys = () if person is None else (f"identity:{database}/{int(person)}",)
            yield Label(image, int(age), int(age), known, UNKNOWN, keys)


def _load(path: Path, database: str) -> npt.NDArray[Any]:
    try:
        content = loadmat(path, variable_names=[database])
    except NotImplementedError:
        raise DataError(
            f"cannot read the label table {path}", got="Matlab format 7.3", remedy="use the published file, of format 5"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, EOFError, MatReadError, zlib.error) as error:
        raise DataError(
            f"cannot read the label table {path}", got=str(error) or type(error).__name__, remedy="download it again"
        ) from None
    record = content.get(database)
    names = record.dtype.names if record is not None and record.shape == (1, 1) else None
    if record is None or names is None:
        raise DataError(f"the label table {path} holds no struct {database}", remedy="download it again")
    missing = [field for field in FIELDS if field not in names]
    if missing:
        raise DataError(f"the label table {path} lacks the field {missing[0]}", got=", ".join(names))
    inner: npt.NDArray[Any] = record[0, 0]
    return inner
