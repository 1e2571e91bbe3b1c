"""IMDB-WIKI's nested Matlab structs."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from agecls.data.sources import Label, read_source
from agecls.data.sources.imdb_wiki import mid_year_ages
from agecls.errors import DataError

NAN, NO_FACE = float("nan"), float("-inf")
FACE: dict[str, Any] = {"gender": 1.0, "photo_taken": 2010, "face_score": 3.2, "second_face_score": NAN}


def datenum(day: date) -> int:
    return day.toordinal() + 366


BORN = datenum(date(1980, 3, 1))


def write_mat(path: Path, faces: list[dict[str, Any]], *, extra: str = "") -> None:
    """Write a .mat in the published layout: a 1x1 struct of rows, the paths in a cell array."""
    paths = np.empty((1, len(faces)), dtype=object)
    paths[0, :] = [face["full_path"] for face in faces]
    fields = ["dob", *FACE, *([extra] if extra else [])]
    struct = {field: np.array([[face[field] for face in faces]], dtype=np.float64) for field in fields}
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {path.stem: {"full_path": paths, **struct}})
    for face in faces:
        file = path.parent / face["full_path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_both_databases_are_read_and_gender_is_the_other_way_round(tmp_path: Path) -> None:
    imdb = [
        {**FACE, "full_path": "01/a.jpg", "dob": BORN, "celeb_id": 12},
        {**FACE, "full_path": "01/b.jpg", "dob": BORN, "celeb_id": 13, "gender": 0.0},
    ]
    write_mat(tmp_path / "imdb_crop" / "imdb.mat", imdb, extra="celeb_id")
    write_mat(tmp_path / "wiki_crop" / "wiki.mat", [{**FACE, "full_path": "01/a.jpg", "dob": BORN, "gender": NAN}])
    found = read_source("imdb_wiki", tmp_path)
    assert sorted(found.labels) == [
        Label("imdb_crop/01/a.jpg", 30, 30, "male", "", ("identity:imdb/12",)),
        Label("imdb_crop/01/b.jpg", 30, 30, "female", "", ("identity:imdb/13",)),
        Label("wiki_crop/01/a.jpg", 30, 30, "", ""),
    ]
    assert found.rejected == []


def test_a_table_in_the_root_itself(tmp_path: Path) -> None:
    write_mat(tmp_path / "wiki.mat", [{**FACE, "full_path": "01/a.jpg", "dob": BORN}])
    found = read_source("imdb_wiki", tmp_path)
    assert found.labels == [Label("01/a.jpg", 30, 30, "male", "")]
    assert found.rejected == []


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    bad: dict[str, dict[str, Any]] = {
        "no face found": {"face_score": NO_FACE},
        "a second face in the picture": {"second_face_score": 1.5},
        "date of birth is not a date": {"dob": 0},
        "age -10 is outside 0..116": {"photo_taken": 1970},
        "age 117 is outside 0..116": {"photo_taken": 2097},
        "unknown gender code 2": {"gender": 2.0},
    }
    faces = [{**FACE, "full_path": f"{n}.jpg", "dob": BORN, **change} for n, change in enumerate(bad.values())]
    faces += [{**FACE, "full_path": "good.jpg", "dob": BORN}, {**FACE, "full_path": "gone.jpg", "dob": BORN}]
    write_mat(tmp_path / "imdb_crop" / "imdb.mat", faces)
    (tmp_path / "imdb_crop" / "gone.jpg").unlink()
    (tmp_path / "imdb_crop" / "stray.jpg").touch()
    found = read_source("imdb_wiki", tmp_path)
    assert [label.path for label in found.labels] == ["imdb_crop/good.jpg"]
    assert dict(found.rejected) == {
        **{f"imdb_crop/{number}.jpg": reason for number, reason in enumerate(bad)},
        "imdb_crop/gone.jpg": "file is missing",
        "imdb_crop/stray.jpg": "no row in the label table",
    }


@given(born=st.dates(date(1, 1, 1), date(9999, 12, 31)), taken=st.integers(1900, 2030))
def test_age_is_that_at_mid_year(born: date, taken: int) -> None:
    found = mid_year_ages(np.array([float(datenum(born))]), np.array([float(taken)]))
    assert found[0] == taken - born.year - (born.month >= 7)


@pytest.mark.parametrize("dob", [0.0, -5.0, 366.0, 3_652_426.0, NAN, float("inf")])
def test_what_is_no_date_has_no_age(dob: float) -> None:
    assert np.isnan(mid_year_ages(np.array([dob]), np.array([2000.0])))[0]


@pytest.mark.parametrize("content", [b"", b"not a mat file", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "imdb.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"imdb\.mat"):
        read_source("imdb_wiki", tmp_path)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    savemat(tmp_path / "imdb.mat", {"imdb": {"full_path": np.array(["a"], dtype=object), "dob": np.array([1.0])}})
    with pytest.raises(DataError, match="lacks the field gender"):
        read_source("imdb_wiki", tmp_path)
