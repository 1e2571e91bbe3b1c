"""Roots that are missing, empty, files, or hold something else: one sentence each."""

from pathlib import Path
from typing import get_args

import pytest

from agecls.data.sources import SourceName, read_source
from agecls.errors import DataError

NAMES: tuple[SourceName, ...] = get_args(SourceName)
HINTS: dict[SourceName, str] = {
    "utkface": "25_0_1_20170116174525125.jpg.chip.jpg",
    "fairface": "fairface_label_train.csv",
    "adience": "fold_0_data.txt",
    "imdb_wiki": "imdb.mat",
    "csv": "labels.csv",
    "synthetic": "agecls split --source synthetic",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_empty_or_foreign_root_says_what_to_put_where(tmp_path: Path, name: SourceName) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "holiday.jpg").touch()
    for root, problem in (
        ("missing", "there is no folder"),
        ("empty", "is empty"),
        ("foreign", f"holds no {name} face"),
    ):
        with pytest.raises(DataError, match=problem) as error:
            read_source(name, tmp_path / root)
        assert HINTS[name] in error.value.remedy
        assert "\n" not in error.value.remedy
    assert "holiday.jpg" in error.value.got


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("archive", ["faces.tar", "faces.tar.gz", "faces.ZIP"])
def test_an_archive_is_to_be_unpacked_first(tmp_path: Path, name: SourceName, archive: str) -> None:
    (tmp_path / archive).touch()
    with pytest.raises(DataError, match="is an archive, not a folder") as error:
        read_source(name, tmp_path / archive)
    assert "unpack" in error.value.remedy
    with pytest.raises(DataError) as error:
        read_source(name, tmp_path)
    assert f"unpack {archive} first" in error.value.remedy


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "face.jpg").touch()
    with pytest.raises(DataError, match="is a file, not a folder"):
        read_source("utkface", tmp_path / "face.jpg")


def test_the_commonest_reason_is_told_when_nothing_can_be_used(tmp_path: Path) -> None:
    for name in ("notes.txt", "130_0_0_1.jpg", "131_0_0_1.jpg", "b.jpg", "a.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(DataError) as error:
        read_source("utkface", tmp_path)
    assert error.value.got.startswith("5 files or rows, none usable; 2 of them: name lacks a field")
    assert error.value.got.endswith("such as a.jpg")
