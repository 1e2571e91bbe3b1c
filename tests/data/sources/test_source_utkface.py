"""UTKFace names, whole, crooked and broken."""

import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agecls.data.sources import Label, Rejected, read_source
from agecls.data.sources.utkface import parse_name

LACKS = "name lacks a field: expected age_gender_race_stamp"


@pytest.mark.parametrize(
    ("name", "stamp"),
    [
        ("14_0_0_20170110122409004.jpg.chip.jpg", "20170110122409004"),
        ("14_0_0_2017011022340900.jpg.chip.jpg", "2017011022340900"),
        ("14_0_0_20170116220224657 .jpg.chip.jpg", "20170116220224657"),
        ("14_0_0_201701162330572788.jpg.chip.jpg", "201701162330572788"),
        ("14_0_0_20170116232725357jpg.chip.jpg", "20170116232725357"),
        ("14_0_0_20170116232725357.jpg", "20170116232725357"),
    ],
)
def test_crooked_tails_keep_their_labels(name: str, stamp: str) -> None:
    assert parse_name(name) == Label(name, 14, 14, "male", "white", (f"stamp:{stamp}",))


def test_codes_are_utkfaces_own() -> None:
    found = [parse_name(f"1_{gender}_{race}_2017.jpg") for gender in "01" for race in "01234"]
    assert [(item.gender, item.ethnicity) for item in found if isinstance(item, Label)] == [
        (gender, race) for gender in ("male", "female") for race in ("white", "black", "asian", "indian", "others")
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("39_1_20170116174525125.jpg.chip.jpg", LACKS),
        ("photo.jpg", LACKS),
        ("_1_2_20170116174525125.jpg", LACKS),
        ("39_1_2_", LACKS),
        ("117_0_0_20170116174525125.jpg", "age 117 is outside 0..116"),
        ("-1_0_0_20170116174525125.jpg", "age '-1' is not a whole number"),
        ("٣_0_0_20170116174525125.jpg", "age '٣' is not a whole number"),
        ("30_2_0_20170116174525125.jpg", "unknown gender code '2'"),
        ("30_0_5_20170116174525125.jpg", "unknown race code '5'"),
        ("30_1_20170109150557335_x.jpg", "unknown race code '20170109150557335'"),
    ],
)
def test_broken_names_say_what_is_wrong(name: str, reason: str) -> None:
    assert parse_name(name) == reason


@given(
    age=st.integers(0, 116),
    gender=st.sampled_from("01"),
    race=st.sampled_from("01234"),
    tail=st.text("0123456789.", min_size=1),
)
def test_every_label_is_read_back(age: int, gender: str, race: str, tail: str) -> None:
    found = parse_name(f"part 1/a_b/{age}_{gender}_{race}_{tail}.jpg")
    assert isinstance(found, Label)
    assert found.age_low == found.age_high == age


def test_a_folder_is_read_with_its_subfolders(tmp_path: Path) -> None:
    (tmp_path / "part1").mkdir()
    for name in ("part1/3_1_4_20170101000000000.jpg", "61_1_20170109142408075.jpg.chip.jpg", "labels.txt"):
        (tmp_path / name).touch()
    found = read_source("utkface", tmp_path)
    key = "stamp:20170101000000000"
    assert found.labels == [Label("part1/3_1_4_20170101000000000.jpg", 3, 3, "female", "others", (key,))]
    assert sorted(found.rejected) == [
        Rejected("61_1_20170109142408075.jpg.chip.jpg", LACKS),
        Rejected("labels.txt", "not an image file"),
    ]


@pytest.mark.real
def test_exactly_three_real_names_lack_a_field(shared_data: Path) -> None:
    with tarfile.open(shared_data / "utkface.tar") as archive:
        names = [member.name for member in archive if member.isfile()]
    found = {name: parse_name(name) for name in names}
    assert {name: reason for name, reason in found.items() if isinstance(reason, str)} == {
        "39_1_20170116174525125.jpg.chip.jpg": LACKS,
        "61_1_20170109142408075.jpg.chip.jpg": LACKS,
        "61_1_20170109150557335.jpg.chip.jpg": LACKS,
    }
    labels = [label for label in found.values() if isinstance(label, Label)]
    assert len(labels) == len(names) - 3 > 18_000
    assert all(len(label.keys) == 1 for label in labels)
    assert Counter(label.gender for label in labels)["male"] > 9_000
