"""Confusion matrices from files: every shape that is meant well is read, everything else is refused in words."""

import json
from pathlib import Path

import numpy as np
import pytest

from agecls.bin_search.confusion_file import read_confusion
from agecls.errors import AgeclsError, BinsError, DataError, LeakageError

COUNTS = [[5, 1, 0], [2, 7, 1], [0, 0, 9]]
ROWS = ["5,1,0", "2,7,1", "0,0,9"]


def write(folder: Path, *lines: str, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def named(names: list[str]) -> list[str]:
    return [f"{name},{row}" for name, row in zip(names, ROWS, strict=True)]


@pytest.mark.parametrize(
    ("lines", "bins"),
    [
        (ROWS, "0-0,1-1,2-116"),
        (["0-2,3-14,15-116", *ROWS], "0-2,3-14,15-116"),
        (["0,1,2", *ROWS], "0-0,1-1,2-116"),
        ([",0-2,3-14,15+", *named(["0-2", "3-14", "15+"])], "0-2,3-14,15-116"),
        (["0,1,2", *named(["0", "1", "2"])], "0-0,1-1,2-116"),
        (["labelled,0,1,2", *named(["0", "1", "2"])], "0-0,1-1,2-116"),
        (named(["0-2", "3-14", "15-116"]), "0-2,3-14,15-116"),
        ([each.replace(",", ";") for each in ["0-2,3-14,15-116", *ROWS]], "0-2,3-14,15-116"),
        (["\ufeff0-2,3-14,15-116", "", *(row.replace("5", "5.0") for row in ROWS), ""], "0-2,3-14,15-116"),
    ],
    ids=["bare", "header", "years", "both", "no corner", "corner", "rows", "semicolons", "spreadsheet"],
)
def test_tables_are_read(lines: list[str], bins: str, tmp_path: Path) -> None:
    read = read_confusion(write(tmp_path, *lines))
    assert read.matrix.bins.text == bins
    assert read.matrix.counts.tolist() == COUNTS
    assert read.told == {}


def test_117_rows_are_single_years(tmp_path: Path) -> None:
    rows = [",".join(map(str, row)) for row in np.eye(117, dtype=int).tolist()]
    assert read_confusion(write(tmp_path, *rows)).matrix.bins.names[-1] == "116-116"


@pytest.mark.parametrize("wrapped", [False, True])
def test_json_of_evaluate_is_read(wrapped: bool, tmp_path: Path) -> None:
    measured = {"task": "age", "classes": ["0-2", "3-14", "15-116"], "confusion": COUNTS, "part": "valid", "run": "a"}
    content = {"schema": 1, "tasks": {"age": measured, "gender": {}}} if wrapped else measured
    read = read_confusion(write(tmp_path, json.dumps(content), name="m.json"))
    assert read.matrix.counts.tolist() == COUNTS
    assert read.told["run"] == "a"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([""], "is empty"),
        (["1,2", "3,4", "5,6", "7,8"], "not square"),
        (["1,2,3,4", "5,6,7,8"], "not square"),
        (["1,2", "3"], "different length"),
        (["5,1,0", "2,-7,1", "0,0,9"], "row 2, column 2"),
        (["5,1,0", "2,nan,1", "0,0,9"], "no count of images"),
        (["5,1,0", "2,inf,1", "0,0,9"], "no count of images"),
        (["5,1,0", "2,1e400,1", "0,0,9"], "no count of images"),
        (["0.5,0.5", "0.1,0.9"], "counts, not shares"),
        (["5,1,0", "2,x,1", "0,0,9"], "no count of images"),
        (["0,0", "0,0"], "counts no image"),
        (["0-2,15-30,31-116", *ROWS], "ages 3-14"),
        (["young,old,dead", *ROWS], "no range of ages"),
        (["y" * 200_000 + ",b,c", *ROWS], ""),
        (["0-2,3-14,15-116", *named(["0-2", "3-14", "15-116"])[::-1]], "different length|no range|otherwise"),
        ([",0-2,3-14,15-116", *named(["3-14", "0-2", "15-116"])], "names its rows otherwise"),
        (["7"], "two ranges"),
        (
            ['{"task": "gender", "classes": ["male", "female"], "confusion": [[1, 0], [0, 1]]}'],
            "no evaluation of an age",
        ),
        (['{"task": "age", "classes": [], "confusion": 3}'], "no list under 'classes'"),
        (['{"task": "age", "classes": ["0-2", "3-116"], "confusion": [[1], [2]]}'], "not square"),
        (['{"task": "age", "classes": ["0-2", "3-116"], "confusion": [[1, null], [2, 1]]}'], "no count"),
        (["{nonsense"], "not JSON"),
    ],
)
def test_what_is_no_matrix_is_refused(lines: list[str], problem: str, tmp_path: Path) -> None:
    with pytest.raises((DataError, BinsError)) as refusal:
        read_confusion(write(tmp_path, *lines))
    assert any(each in str(refusal.value) for each in problem.split("|"))
    assert len(str(refusal.value)) < 1000


def test_files_that_are_no_text_or_too_large_or_missing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "large.csv").write_bytes(b"1," * 5 * 2**20)
    for name in ("bytes.csv", "large.csv", "none.csv", "."):
        with pytest.raises(DataError):
            read_confusion(tmp_path / name)


def test_the_matrix_of_a_test_part_is_refused(tmp_path: Path) -> None:
    measured = {"task": "age", "classes": ["0-2", "3-14", "15-116"], "confusion": COUNTS, "part": "test"}
    with pytest.raises(LeakageError, match="test part"):
        read_confusion(write(tmp_path, json.dumps(measured), name="score.json"))
    path = write(tmp_path, "0-2,3-14,15-116", *ROWS)
    write(tmp_path, json.dumps(measured), name="report.json")
    with pytest.raises(LeakageError, match="test part"):
        read_confusion(path)
    write(tmp_path, json.dumps({**measured, "part": "valid", "run": "a"}), name="report.json")
    assert read_confusion(path).told["run"] == "a"
    write(tmp_path, json.dumps({**measured, "confusion": [[1, 2, 3]] * 3}), name="report.json")
    assert read_confusion(path).told == {}
    for damaged in ("{", "[]", '{"confusion": 1}'):
        write(tmp_path, damaged, name="report.json")
        assert read_confusion(path).told == {}


def test_errors_are_those_a_user_can_cause(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for number in range(200):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(bytes(chance.choice(list(b'0123456789,,,\n\n-.;"{}x\t '), size=int(chance.integers(0, 60)))))
        try:
            read_confusion(path)
        except AgeclsError:
            continue
