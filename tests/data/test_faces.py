"""The Faces table: what it refuses, and the one way it is written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agecls.bins import Bins
from agecls.data.faces import COLUMNS, Faces
from agecls.errors import DataError
from agecls.labels import ETHNICITIES, GENDERS


def make(**changes: object) -> Faces:
    columns: dict[str, object] = {
        "path": ["b.jpg", "a/c.jpg", "a.jpg"],
        "age_low": [25, 0, 3],
        "age_high": [25, 2, 3],
        "gender": ["male", "female", ""],
        "ethnicity": ["white", "", "others"],
        "source": ["csv"] * 3,
        "sha256": ["11", "22", "33"],
        "group": ["g1", "g2", "g3"],
    }
    return Faces(pd.DataFrame(columns | changes))


@pytest.mark.parametrize("column", ["path", "age_low", "age_high", "gender", "ethnicity", "source", "sha256", "group"])
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(DataError, match=f"lacks the column {column}"):
        Faces(make().table.drop(columns=column))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"age_low": [25, -1, 3]}, "a/c.jpg has an age outside 0..116"),
        ({"age_high": [25, 117, 3]}, "a/c.jpg has an age outside 0..116"),
        ({"age_low": [26, 0, 3]}, "b.jpg has an age outside 0..116"),
        ({"age_low": [25, np.nan, 3]}, "a/c.jpg has an age outside 0..116"),
        ({"gender": ["male", "Female", ""]}, "a/c.jpg has an unknown gender"),
        ({"gender": ["male", None, ""]}, "a/c.jpg has an unknown gender"),
        ({"ethnicity": ["white", "", "green"]}, "a.jpg has an unknown ethnicity"),
        ({"path": ["b.jpg", "a.jpg", "a.jpg"]}, "an image stands twice"),
    ],
)
def test_impossible_rows_are_refused_by_path(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as refused:
        make(**changes)
    assert message in refused.value.what


def test_one_path_may_stand_in_two_sources() -> None:
    assert len(make(path=["a.jpg", "a.jpg", "b.jpg"], source=["csv", "utkface", "csv"])) == 3


def test_years_are_known_only_where_the_range_is_one_age() -> None:
    np.testing.assert_array_equal(make().years, [25, np.nan, 3])


def test_targets_are_the_class_numbers_or_unlabelled() -> None:
    faces = make()
    assert faces.targets("age", Bins.parse("7")).tolist() == [3, 0, 1]
    assert faces.targets("age", Bins.parse("0-1,2-116")).tolist() == [1, -1, 1]
    assert faces.targets("gender", Bins.parse("7")).tolist() == [0, 1, -1]
    assert faces.targets("ethnicity", Bins.parse("7")).tolist() == [0, -1, 4]


def test_select_takes_masks_and_row_numbers() -> None:
    faces = make()
    assert faces.select(np.array([True, False, True])).table["path"].tolist() == ["b.jpg", "a.jpg"]
    assert faces.select(np.array([2, 0])).table["path"].tolist() == ["a.jpg", "b.jpg"]
    assert faces.select(np.array([2, 0])).table.index.tolist() == [0, 1]


def test_concat_keeps_every_row_and_refuses_the_same_row_twice() -> None:
    faces = make()
    halves = [faces.select(np.array([0])), faces.select(np.array([1, 2]))]
    assert Faces.concat(halves).table.equals(faces.table)
    with pytest.raises(DataError, match="stands twice"):
        Faces.concat([faces, halves[0]])


def test_the_file_is_sorted_by_path_with_the_promised_columns(tmp_path: Path) -> None:
    make(age_low=[25, 2, 3]).to_csv(tmp_path / "faces.csv")
    assert (tmp_path / "faces.csv").read_bytes() == (
        b"path,age,gender,ethnicity,source,sha256,group\n"
        b"a.jpg,3,,others,csv,33,g3\n"
        b"a/c.jpg,2,female,,csv,22,g2\n"
        b"b.jpg,25,male,white,csv,11,g1\n"
    )


def test_range_columns_are_written_only_where_an_age_is_a_range(tmp_path: Path) -> None:
    make().to_csv(tmp_path / "faces.csv")
    assert (tmp_path / "faces.csv").read_bytes() == (
        b"path,age,gender,ethnicity,source,sha256,group,age_low,age_high\n"
        b"a.jpg,3,,others,csv,33,g3,3,3\n"
        b"a/c.jpg,,female,,csv,22,g2,0,2\n"
        b"b.jpg,25,male,white,csv,11,g1,25,25\n"
    )


def test_one_path_of_two_sources_is_sorted_by_source(tmp_path: Path) -> None:
    faces = make(path=["a.jpg", "a.jpg", "b.jpg"], source=["utkface", "csv", "csv"])
    faces.to_csv(tmp_path / "one.csv")
    faces.select(np.array([1, 2, 0])).to_csv(tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


ROWS = st.lists(
    st.tuples(
        # What walking a folder lets through: no control characters, no lone surrogates.
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1),
        st.integers(0, 116),
        st.integers(0, 116),
        st.sampled_from([*GENDERS, ""]),
        st.sampled_from([*ETHNICITIES, ""]),
    ),
    max_size=12,
    unique_by=lambda row: row[0],
)


@given(rows=ROWS)
def test_any_table_reads_back_whatever_its_order(
    rows: list[tuple[str, int, int, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = pd.DataFrame(rows, columns=["path", "age_low", "age_high", "gender", "ethnicity"], dtype=object)
    ages = table[["age_low", "age_high"]].astype("int64")
    table = table.assign(age_low=ages.min(axis=1), age_high=ages.max(axis=1), source="csv", sha256="00", group="g")
    path = tmp_path_factory.getbasetemp() / "faces.csv"
    Faces(table).to_csv(path)
    back = Faces.from_csv(path)
    expected = table.sort_values("path")
    for column in table.columns:
        assert back.table[column].tolist() == expected[column].tolist()
    written = path.read_bytes()
    Faces(table.sample(frac=1, random_state=1)).to_csv(path)
    assert path.read_bytes() == written


def test_paths_that_look_like_numbers_or_gaps_stay_text(tmp_path: Path) -> None:
    paths = ["NA", "007", 'with "quotes", and comma.jpg']
    make(path=paths).to_csv(tmp_path / "faces.csv")
    assert sorted(Faces.from_csv(tmp_path / "faces.csv").table["path"]) == sorted(paths)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_file_without_a_column_is_refused(column: str, tmp_path: Path) -> None:
    make().to_csv(tmp_path / "faces.csv")
    pd.read_csv(tmp_path / "faces.csv").drop(columns=column).to_csv(tmp_path / "less.csv", index=False)
    with pytest.raises(DataError, match=f"lacks the column {column}"):
        Faces.from_csv(tmp_path / "less.csv")


@pytest.mark.parametrize("age", ["", "25.0", "-3", "old", "1000", "\u0663"])
def test_an_age_that_is_no_whole_number_is_refused_by_path(age: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text(f"{','.join(COLUMNS)}\nx.jpg,{age},male,white,csv,11,g1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.jpg has no whole age in years"):
        Faces.from_csv(path)


def test_half_a_range_is_no_age(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text(f"{','.join(COLUMNS)},age_low\nx.jpg,,male,white,csv,11,g1,3\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.jpg has no whole age in years"):
        Faces.from_csv(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'path,age\n"unclosed', b"a,b\n1,2,3,4\n"])
def test_a_file_that_is_no_table_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "faces.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"faces\.csv"):
        Faces.from_csv(tmp_path / "faces.csv")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the table .*absent\.csv"):
        Faces.from_csv(tmp_path / "absent.csv")
