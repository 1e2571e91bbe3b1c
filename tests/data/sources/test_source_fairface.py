"""FairFace tables, as published and as a spreadsheet leaves them."""

import tarfile
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agecls.data.sources import Label, read_source
from agecls.data.sources.fairface import AGE_RANGES, parse_age_range
from agecls.errors import DataError

HEADER = "file,age,gender,race,service_test"


def fairface(root: Path, *rows: str, header: str = HEADER, part: str = "train", encoding: str = "utf-8") -> Path:
    (root / part).mkdir(parents=True, exist_ok=True)
    (root / f"fairface_label_{part}.csv").write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    for row in rows:
        (root / row.replace(";", ",").split(",")[0]).touch()
    return root


@pytest.mark.parametrize("below", ["", "fairface"])
def test_both_parts_are_read_relative_to_the_root(tmp_path: Path, below: str) -> None:
    fairface(tmp_path / below, "train/1.jpg,3-9,Male,East Asian,True")
    fairface(tmp_path / below, "val/1.jpg,more than 70,Female,Latino_Hispanic,False", part="val")
    prefix = f"{below}/" if below else ""
    found = read_source("fairface", tmp_path)
    assert sorted(found.labels) == [
        Label(f"{prefix}train/1.jpg", 3, 9, "male", "asian"),
        Label(f"{prefix}val/1.jpg", 70, 116, "female", "others"),
    ]
    assert found.rejected == []


def test_byte_order_mark_semicolons_and_further_columns_are_fine(tmp_path: Path) -> None:
    header = "file;age;gender;race;service_test;note"
    fairface(tmp_path, "train/1.jpg;Oct-19;Male;Black;True;a,b", header=header, encoding="utf-8-sig")
    assert read_source("fairface", tmp_path).labels == [Label("train/1.jpg", 10, 19, "male", "black")]


def test_unknown_values_missing_files_and_stray_images_are_named(tmp_path: Path) -> None:
    rows = ["train/1.jpg,3-10,Male,White,True", "train/2.jpg,3-9,Man,White,True", "train/3.jpg,3-9,Male,Martian,True"]
    rows += ["train/4.jpg,3-9,Male,White,True", "train/5.jpg,3-9,Male,White,True"]
    fairface(tmp_path / "fairface", *rows)
    (tmp_path / "fairface" / "train" / "4.jpg").unlink()
    (tmp_path / "fairface" / "train" / "6.jpg").touch()
    found = read_source("fairface", tmp_path)
    assert [label.path for label in found.labels] == ["fairface/train/5.jpg"]
    assert dict(found.rejected) == {
        "fairface/train/1.jpg": "unknown age range '3-10'",
        "fairface/train/2.jpg": "unknown gender 'Man'",
        "fairface/train/3.jpg": "unknown race 'Martian'",
        "fairface/train/4.jpg": "file is missing",
        "fairface/train/6.jpg": "no row in the label table",
    }


def test_paths_cannot_leave_the_root(tmp_path: Path) -> None:
    fairface(tmp_path / "fairface", "train/1.jpg,3-9,Male,White,True")
    with (tmp_path / "fairface" / "fairface_label_train.csv").open("a") as table:
        table.write("/etc/1.jpg,3-9,Male,White,True\n../../1.jpg,3-9,Male,White,True\n")
    found = read_source("fairface", tmp_path)
    assert len(found.labels) == 1
    assert sorted(reason for _, reason in found.rejected) == ["path leaves the root"] * 2


def test_a_missing_column_is_named_with_those_found(tmp_path: Path) -> None:
    fairface(tmp_path, "train/1.jpg,3-9,White", header="file,age,race")
    with pytest.raises(DataError, match="lacks the column gender") as error:
        read_source("fairface", tmp_path)
    assert error.value.got == "file, age, race"


@pytest.mark.parametrize(
    ("text", "ages"),
    [
        ("9-Mar", (3, 9)),
        ("03-Sep", (3, 9)),
        ("Mar-09", (3, 9)),
        ("3-Sep", (3, 9)),
        ("19-Oct", (10, 19)),
        ("Oct-19", (10, 19)),
        ("2019-10-01", (10, 19)),
        ("2024-10-19", (10, 19)),
        ("2024-03-09", (3, 9)),
        ("2024-09-03 00:00:00", (3, 9)),
        ("10/1/2019", (10, 19)),
        ("more than 70", (70, 116)),
        ("70+", (70, 116)),
        (" 3 - 9 ", (3, 9)),
        ("3\u20139", (3, 9)),
        ("May-10", None),
        ("2010-03-19", None),
        ("3-8", None),
        ("3", None),
        ("", None),
        ("-", None),
    ],
)
def test_ages_and_their_damage(text: str, ages: tuple[int, int] | None) -> None:
    assert parse_age_range(text) == ages


DATE_FORMS = (
    "%d-%b",
    "%b-%d",
    "%-d-%b",
    "%d-%B",
    "%Y-%m-%d",
    "%Y-%d-%m",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%d-%b-%y",
    "%Y-%m-%d 00:00:00",
)


@given(year=st.integers(2020, 2031), form=st.sampled_from(DATE_FORMS), day_first=st.booleans())
def test_every_date_made_of_3_9_is_read_back(year: int, form: str, day_first: bool) -> None:
    damaged = date(year, 9, 3) if day_first else date(year, 3, 9)
    assert parse_age_range(damaged.strftime(form)) == (3, 9)


@given(ages=st.sampled_from(sorted(AGE_RANGES)))
def test_every_published_range_is_read(ages: tuple[int, int]) -> None:
    assert parse_age_range(f"{ages[0]}-{ages[1]}") == ages


@given(text=st.text("0123456789-./ OctSepMar", max_size=14))
def test_whatever_is_read_is_a_published_range(text: str) -> None:
    assert parse_age_range(text) in {*AGE_RANGES, (70, 116), None}


@pytest.mark.real
def test_the_real_sample_is_read_whole(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "fairface" / "train").mkdir(parents=True)
    with tarfile.open(shared_data / "fairface_sample.tar") as archive:
        for member in archive:
            if member.name.endswith(".csv"):
                archive.extract(member, tmp_path, filter="data")
            elif member.isfile():
                (tmp_path / member.name).touch()
    found = read_source("fairface", tmp_path)
    assert len(found.labels) == 2959
    assert found.rejected == []
    assert {(label.age_low, label.age_high) for label in found.labels} == {*AGE_RANGES, (70, 116)}
