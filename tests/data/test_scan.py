"""Scanning: every listed file comes back once, hashed or with the reason why it cannot be used."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from drawn import BYTE_TWINS, STAMP_TWINS

from agecls.data.scan import read_whole, scan
from agecls.data.sources import read_source
from agecls.data.sources.listing import Label, Listing, Rejected
from agecls.errors import DataError


def label(path: str) -> Label:
    return Label(path, 20, 30, "male", "", (f"stamp:{path}",))


def test_usable_images_are_hashed_and_keep_their_labels(utk_folder: Path) -> None:
    scanned = scan("utkface", utk_folder, read_source("utkface", utk_folder))
    table = scanned.table.set_index("path")
    assert len(table) == len(list(utk_folder.iterdir()))
    assert scanned.rejected == []
    for path, digest in table["sha256"].items():
        assert digest == hashlib.sha256((utk_folder / str(path)).read_bytes()).hexdigest()
    first, second = (table.loc[name] for name in STAMP_TWINS)
    assert first["keys"] == second["keys"] == ("stamp:20170201000000000",)
    assert (first["age_low"], first["age_high"], first["gender"], first["ethnicity"]) == (24, 24, "male", "black")
    assert table.loc[BYTE_TWINS[0], "sha256"] == table.loc[BYTE_TWINS[1], "sha256"]
    assert set(table["source"]) == {"utkface"}


@pytest.mark.parametrize("workers", [1, 7])
def test_neither_the_order_of_the_listing_nor_the_threads_matter(utk_folder: Path, workers: int) -> None:
    listing = read_source("utkface", utk_folder)
    turned = Listing(labels=listing.labels[::-1])
    expected = scan("utkface", utk_folder, listing)
    scanned = scan("utkface", utk_folder, turned, workers=workers)
    assert scanned.table.equals(expected.table)
    assert scanned.table["path"].is_monotonic_increasing


def test_each_kind_of_damage_has_its_reason(utk_folder: Path) -> None:
    whole = (utk_folder / BYTE_TWINS[0]).read_bytes()
    (utk_folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (utk_folder / "empty.jpg").touch()
    (utk_folder / "text.jpg").write_text("not pixels")
    (utk_folder / "folder.jpg").mkdir()
    names = ["text.jpg", BYTE_TWINS[0], "half.jpg", "gone.jpg", "folder.jpg", "empty.jpg"]
    listing = Listing([label(name) for name in names], [Rejected("z.txt", "not an image file"), Rejected("a", "b")])
    scanned = scan("csv", utk_folder, listing)
    assert scanned.table["path"].tolist() == [BYTE_TWINS[0]]
    assert scanned.rejected == [
        Rejected("a", "b"),
        Rejected("empty.jpg", "empty file"),
        Rejected("folder.jpg", "cannot be read (EISDIR)"),
        Rejected("gone.jpg", "cannot be read (ENOENT)"),
        Rejected("half.jpg", "unreadable or truncated image"),
        Rejected("text.jpg", "unreadable or truncated image"),
        Rejected("z.txt", "not an image file"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_rejected(utk_folder: Path) -> None:
    shutil.copyfile(utk_folder / BYTE_TWINS[0], utk_folder / "locked.jpg")
    (utk_folder / "locked.jpg").chmod(0)
    assert scan("csv", utk_folder, Listing([label("locked.jpg")])).rejected == [
        Rejected("locked.jpg", "cannot be read (EACCES)")
    ]


def test_nothing_usable_gives_an_empty_table_with_all_columns(tmp_path: Path) -> None:
    table = scan("csv", tmp_path, Listing([label("gone.jpg")])).table
    assert len(table) == 0
    assert set(table.columns) == {*Label._fields, "source", "sha256"}


def test_read_whole_names_the_error_by_its_symbol(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read \(ENOENT\)"):
        read_whole(tmp_path / "gone.jpg")
