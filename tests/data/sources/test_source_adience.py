"""Adience tables and their stray ages."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from agecls.data.sources import Label, Rejected, read_source
from agecls.data.sources.adience import FoldRow, image_path, parse_ages, read_folds
from agecls.errors import DataError

HEADER = "user_id\toriginal_image\tface_id\tage\tgender\tx\ty"


def adience(root: Path, *rows: str, fold: int = 0, folders: tuple[str, ...] = ("faces",)) -> None:
    text = "\n".join([HEADER, *(f"{row}\t1\t2" for row in rows)])
    (root / f"fold_{fold}_data.txt").write_text(text + "\n", encoding="utf-8")
    for folder in folders:
        for row in rows:
            file = root / image_path(FoldRow(fold, *row.split("\t")), folder)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()


def test_rows_of_all_folds_are_read(tmp_path: Path) -> None:
    adience(tmp_path, "1@N0\ta_o.jpg\t7\t(25, 32)\tm", "1@N0\tb_o.jpg\t8\t(60, 100)\tu")
    adience(tmp_path, "2@N0\tc_o.jpg\t9\t35\tf", "2@N0\td_o.jpg\t9\t(0, 2)\t", fold=3)
    found = read_source("adience", tmp_path)
    first, second = ("identity:adience/1@N0",), ("identity:adience/2@N0",)
    assert sorted(found.labels) == [
        Label("faces/1@N0/coarse_tilt_aligned_face.7.a_o.jpg", 25, 32, "male", "", first),
        Label("faces/1@N0/coarse_tilt_aligned_face.8.b_o.jpg", 60, 100, "", "", first),
        Label("faces/2@N0/coarse_tilt_aligned_face.9.c_o.jpg", 35, 35, "female", "", second),
        Label("faces/2@N0/coarse_tilt_aligned_face.9.d_o.jpg", 0, 2, "", "", second),
    ]
    assert found.rejected == []
    assert [row.fold for row in read_folds(tmp_path)] == [0, 0, 3, 3]


def test_the_aligned_folder_is_preferred(tmp_path: Path) -> None:
    adience(tmp_path, "1@N0\ta_o.jpg\t7\t(25, 32)\tm", folders=("faces", "aligned"))
    found = read_source("adience", tmp_path)
    assert [label.path for label in found.labels] == ["aligned/1@N0/landmark_aligned_face.7.a_o.jpg"]
    assert found.rejected == []


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    rows = ["1\ta.jpg\t1\tNone\tm", "1\tb.jpg\t1\t(4, 6)\tx", "1\tc.jpg\t1\t(4, 6)\tm", "1\td.jpg\t1\t(4, 6)\tm"]
    adience(tmp_path, *rows, "1\td.jpg\t1\t(4, 6)\tm")
    (tmp_path / "faces/1/coarse_tilt_aligned_face.1.c.jpg").unlink()
    (tmp_path / "faces/1/coarse_tilt_aligned_face.2.c.jpg").touch()
    found = read_source("adience", tmp_path)
    assert [label.path for label in found.labels] == ["faces/1/coarse_tilt_aligned_face.1.d.jpg"]
    assert sorted(found.rejected) == [
        Rejected("faces/1/coarse_tilt_aligned_face.1.a.jpg", "no age"),
        Rejected("faces/1/coarse_tilt_aligned_face.1.b.jpg", "unknown gender code 'x'"),
        Rejected("faces/1/coarse_tilt_aligned_face.1.c.jpg", "file is missing"),
        Rejected("faces/1/coarse_tilt_aligned_face.1.d.jpg", "second row for the same file"),
        Rejected("faces/1/coarse_tilt_aligned_face.2.c.jpg", "no row in the label table"),
    ]


@pytest.mark.parametrize(
    ("text", "ages"),
    [
        ("(25, 32)", (25, 32)),
        ("(25, 23)", (25, 32)),
        ("(8, 23)", (8, 23)),
        ("(38, 42)", (38, 42)),
        ("(60, 100)", (60, 100)),
        ("13", (13, 13)),
        ("None", "no age"),
        ("", "no age"),
        ("(6, 4)", "age range (6, 4) runs backwards"),
        ("(60, 120)", "age (60, 120) is outside 0..116"),
        ("old", "unknown age 'old'"),
    ],
)
def test_ages(text: str, ages: tuple[int, int] | str) -> None:
    assert parse_ages(text) == ages


def test_tables_without_an_image_folder_say_what_to_put_there(tmp_path: Path) -> None:
    adience(tmp_path, "1@N0\ta_o.jpg\t7\t(25, 32)\tm", folders=())
    with pytest.raises(DataError, match=re.escape(str(tmp_path))) as error:
        read_source("adience", tmp_path)
    assert "folder aligned or faces" in error.value.remedy


@pytest.mark.real
def test_the_real_tables_are_read_whole(shared_data: Path, tmp_path: Path) -> None:
    rows = read_folds(shared_data / "adience")
    assert len(rows) == 19_487
    assert {row.fold for row in rows} == set(range(5))
    reasons = Counter(ages for row in rows if isinstance(ages := parse_ages(row.age), str))
    assert set(reasons) == {"no age"}
    assert sum(parse_ages(row.age) == (25, 32) for row in rows) > sum(row.age == "(25, 32)" for row in rows)
    shutil.copy(shared_data / "adience" / "fold_0_data.txt", tmp_path)
    for row in rows:
        if row.fold == 0:
            file = tmp_path / image_path(row, "aligned")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    found = read_source("adience", tmp_path)
    assert len(found.labels) + len(found.rejected) == sum(row.fold == 0 for row in rows)
    assert {reason for _, reason in found.rejected} == {"no age", "second row for the same file"}
