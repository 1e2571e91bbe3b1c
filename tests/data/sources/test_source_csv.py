"""Label tables of all kinds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agecls.data.sources import Label, TableOptions, read_source
from agecls.data.sources.csv_table import parse_ages
from agecls.errors import DataError, UsageError


def write(root: Path, text: str, *images: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    (root / name).write_text(text, encoding=encoding, newline="")
    for image in images:
        (root / image).touch()
    return root


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_line_ends_and_byte_order_marks(
    tmp_path: Path, separator: str, line_end: str, encoding: str
) -> None:
    rows = [["path", "age", "gender", "ethnicity", "identity"], ["a é.jpg", "25", "Male", "WHITE", "p1"]]
    rows += [[], ["b.jpg", "25.0", "", "", ""]]
    text = line_end.join(separator.join(row) for row in rows)
    write(tmp_path, text, "a é.jpg", "b.jpg", encoding=encoding)
    found = read_source("csv", tmp_path)
    assert found.labels == [
        Label("a é.jpg", 25, 25, "male", "white", ("identity:csv/p1",)),
        Label("b.jpg", 25, 25, "", ""),
    ]
    assert found.rejected == []


def test_columns_and_codes_of_the_user(tmp_path: Path) -> None:
    text = "img,years,sex\n1.jpg,20-29,0\n2.jpg,30,1\n3.jpg,30,2\n4.jpg,30,FEMALE\n"
    write(tmp_path, text, "1.jpg", "2.jpg", "3.jpg", "4.jpg", name="table.csv")
    options = TableOptions(
        tmp_path / "table.csv",
        {"path": "img", "age": "years", "gender": "sex"},
        {"gender:0": "female", "gender:1": "male"},
    )
    found = read_source("csv", tmp_path, options)
    assert found.labels == [
        Label("1.jpg", 20, 29, "female", ""),
        Label("2.jpg", 30, 30, "male", ""),
        Label("4.jpg", 30, 30, "female", ""),
    ]
    assert found.rejected == [("3.jpg", "unknown gender '2'")]


def test_a_table_elsewhere_leaves_paths_relative_to_the_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "1.jpg").touch()
    write(tmp_path, "path,age\n1.jpg,5\n", name="other.csv")
    found = read_source("csv", tmp_path / "root", TableOptions(tmp_path / "other.csv"))
    assert [label.path for label in found.labels] == ["1.jpg"]


def test_ages_from_two_columns_where_the_exact_one_is_blank(tmp_path: Path) -> None:
    write(tmp_path, "path,age,age_low,age_high\na.jpg,,20,29\nb.jpg,7,,\nc.jpg,,,\n", "a.jpg", "b.jpg", "c.jpg")
    found = read_source("csv", tmp_path)
    assert found.labels == [Label("a.jpg", 20, 29, "", ""), Label("b.jpg", 7, 7, "", "")]
    assert found.rejected == [("c.jpg", "no age")]


def test_bad_values_are_named_and_a_row_without_a_path_too(tmp_path: Path) -> None:
    text = "path,age,ethnicity\na.jpg,old,\nb.jpg,130,\nc.jpg,5,martian\n,5,white\nd.jpg,5,asian\n"
    write(tmp_path, text, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    found = read_source("csv", tmp_path)
    assert [label.path for label in found.labels] == ["d.jpg"]
    assert dict(found.rejected) == {
        "a.jpg": "age 'old' is not a whole number or a range such as 20-29",
        "b.jpg": "age 130 is outside 0..116",
        "c.jpg": "unknown ethnicity 'martian'",
        "labels.csv row 4": "no image path in the row",
    }


@pytest.mark.parametrize(
    ("text", "ages"),
    [
        ("0", (0, 0)),
        (" 116 ", (116, 116)),
        ("25.0", (25, 25)),
        ("20 - 29", (20, 29)),
        ("20\u201329", (20, 29)),
        ("117", "age 117 is outside 0..116"),
        ("9" * 5000, f"age '{'9' * 5000}' is outside 0..116"),
        ("29-20", "age range 29-20 runs backwards"),
        ("25.5", "age '25.5' is not a whole number or a range such as 20-29"),
        ("-3", "age '-3' is not a whole number or a range such as 20-29"),
        ("nan", "age 'nan' is not a whole number or a range such as 20-29"),
        ("", "no age"),
    ],
)
def test_ages(text: str, ages: tuple[int, int] | str) -> None:
    assert parse_ages(text) == ages


@given(text=st.text(max_size=12))
def test_an_age_is_within_range_or_explained(text: str) -> None:
    found = parse_ages(text)
    assert isinstance(found, str) or 0 <= found[0] <= found[1] <= 116


@pytest.mark.parametrize(
    ("header", "column", "remedy"),
    [("age,gender", "path", "--column path=THEIR_NAME"), ("path,age_low", "age", "--column age=THEIR_NAME")],
)
def test_a_missing_column_is_named_with_the_remedy(tmp_path: Path, header: str, column: str, remedy: str) -> None:
    write(tmp_path, f"{header}\n1,2\n")
    with pytest.raises(DataError, match=f"lacks the column {column}") as error:
        read_source("csv", tmp_path)
    assert error.value.got == header.replace(",", ", ")
    assert remedy in error.value.remedy


def test_a_named_column_must_be_there(tmp_path: Path) -> None:
    write(tmp_path, "path,age\na.jpg,5\n", "a.jpg")
    with pytest.raises(DataError, match="lacks the column sex"):
        read_source("csv", tmp_path, TableOptions(columns={"gender": "sex"}))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"path,age\ncaf\xe9.jpg,5\n", "is not UTF-8"),
        (b"path,age\na,b.jpg,5\n", "row 1 .* has more cells than the header"),
        (b"path,age\n" + b"a" * 200_000, "cannot be read"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=what):
        read_source("csv", tmp_path)


def test_a_named_table_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DataError, match=r"cannot read the label table .*gone\.csv"):
        read_source("csv", tmp_path, TableOptions(tmp_path / "gone.csv"))


@pytest.mark.parametrize(
    ("columns", "codes"),
    [({"sex": "gender"}, {}), ({}, {"gender0": "male"}), ({}, {"age:1": "male"}), ({}, {"gender:0": "white"})],
)
def test_impossible_options_are_refused(columns: dict[str, str], codes: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        TableOptions(columns=columns, codes=codes)
