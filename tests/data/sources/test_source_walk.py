"""Walking a folder: every file comes back once, and no name can break what is written later."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agecls.data.sources.listing import Label, Rejected
from agecls.data.sources.tables import match_rows
from agecls.data.sources.walk import walk_images


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_images_of_all_folders_come_sorted_with_posix_paths(tmp_path: Path) -> None:
    touch(tmp_path, "b/z.JPG", "b/a.jpeg", "a.png", "c d.WebP", "b/deep/er/é.tiff", "b/x.bmp", "t.tif")
    images, rejected = walk_images(tmp_path)
    assert images == ["a.png", "b/a.jpeg", "b/deep/er/é.tiff", "b/x.bmp", "b/z.JPG", "c d.WebP", "t.tif"]
    assert rejected == []


def test_start_limits_the_walk_but_not_the_paths(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    assert walk_images(tmp_path, "b")[0] == ["b/2.jpg"]


def test_other_files_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "readme.txt", "jpg", ".jpg", "a.jpg.part", "ok.jpg")
    images, rejected = walk_images(tmp_path)
    assert images == ["ok.jpg"]
    assert rejected == [Rejected(name, "not an image file") for name in (".jpg", "a.jpg.part", "jpg", "readme.txt")]


def test_links_are_followed_to_files_inside_the_root_alone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path, "root/real.jpg", "root/folder/other.jpg", "outside.jpg", "root2/sibling.jpg")
    links = {
        "inside.jpg": root / "real.jpg",
        "outside.jpg": tmp_path / "outside.jpg",
        "sibling.jpg": tmp_path / "root2" / "sibling.jpg",
        "dangling.jpg": root / "nowhere.jpg",
        "loop.jpg": root / "loop.jpg",
        "linked": root / "folder",
        "up": tmp_path,
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    images, rejected = walk_images(root)
    assert images == ["folder/other.jpg", "inside.jpg", "real.jpg"]
    assert dict(rejected) == {
        "outside.jpg": "symbolic link out of the root",
        "sibling.jpg": "symbolic link out of the root",
        "dangling.jpg": "dangling symbolic link",
        "loop.jpg": "dangling symbolic link",
        "linked": "symbolic link to a folder is not followed",
        "up": "symbolic link to a folder is not followed",
    }


def test_a_root_that_is_a_link_is_walked(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "real" / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "root").symlink_to("real")
    assert walk_images(tmp_path / "root") == (["a.jpg", "b.jpg"], [])


def test_a_pipe_is_not_an_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert walk_images(tmp_path) == ([], [Rejected("pipe.jpg", "not a regular file")])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb.jpg", r"a\nb.jpg"),
        ("a\tb.jpg", r"a\tb.jpg"),
        ("a\x85.jpg", r"a\x85.jpg"),
        ("a\u2028.jpg", r"a\u2028.jpg"),
    ],
)
def test_control_characters_are_refused_and_shown_on_one_line(tmp_path: Path, name: str, shown: str) -> None:
    touch(tmp_path, name, f"{name}.d/inner.jpg")
    images, rejected = walk_images(tmp_path)
    assert images == []
    assert rejected == [
        Rejected(shown, "control character in the file name"),
        Rejected(f"{shown}.d/inner.jpg", "control character in the file name"),
    ]


def test_names_that_are_not_utf8_are_refused_and_can_be_stored(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    images, rejected = walk_images(tmp_path)
    assert images == []
    assert rejected == [Rejected(r"caf\udce9.jpg", "file name is not UTF-8")]
    assert rejected[0].path.encode() == rb"caf\udce9.jpg"


NAMES = st.lists(
    st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=20).filter(
        lambda name: name not in {".", ".."}
    ),
    max_size=8,
    unique=True,
)


@settings(max_examples=60, deadline=None)
@given(names=NAMES)
def test_every_file_comes_back_once_on_one_line(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = tmp_path_factory.mktemp("names")
    touch(root, *(f"{name}.jpg" for name in names), *(f"{name}.txt" for name in names))
    written = {entry.name for entry in root.iterdir()}
    images, rejected = walk_images(root)
    assert len(images) + len(rejected) == len(written)
    assert set(images) <= {name for name in written if name.endswith(".jpg")}
    assert all(len(path.splitlines()) == 1 for path in [*images, *(item.path for item in rejected)])


def label(path: str, age: int = 30, gender: str = "male") -> Label:
    return Label(path, age, age, gender, "white")


def test_rows_and_files_are_matched_both_ways(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "sub/b.jpg", "bad.jpg", "lonely.jpg", "labels.csv", "notes.txt")
    rows = [
        label("./a.jpg"),
        label("sub\\b.jpg"),
        label("gone.jpg"),
        Rejected("bad.jpg", "age 'x' is not a number"),
        label("/etc/passwd.jpg"),
        label("C:\\faces\\1.jpg"),
        label("../up.jpg"),
        label("sub/../../up.jpg"),
        label("notes.txt"),
    ]
    found = match_rows(tmp_path, rows, tables=[tmp_path / "labels.csv"])
    assert found.labels == [label("a.jpg"), label("sub/b.jpg")]
    assert sorted(found.rejected) == [
        ("../up.jpg", "path leaves the root"),
        ("/etc/passwd.jpg", "path leaves the root"),
        ("C:\\faces\\1.jpg", "path leaves the root"),
        ("bad.jpg", "age 'x' is not a number"),
        ("gone.jpg", "file is missing"),
        ("lonely.jpg", "no row in the label table"),
        ("notes.txt", "not an image file"),
        ("sub/../../up.jpg", "path leaves the root"),
    ]


def test_further_rows_of_one_file_are_rejected_and_conflicting_rows_all_of_them(tmp_path: Path) -> None:
    touch(tmp_path, "same.jpg", "conflict.jpg", "half.jpg")
    rows = [
        label("same.jpg"),
        label("./same.jpg"),
        label("conflict.jpg", 30),
        label("conflict.jpg", 31),
        label("conflict.jpg", 30),
        label("half.jpg"),
        Rejected("half.jpg", "no age"),
    ]
    found = match_rows(tmp_path, rows)
    assert found.labels == [label("same.jpg")]
    conflict = "rows with different labels for the same file"
    assert sorted(found.rejected) == [
        *[("conflict.jpg", conflict)] * 3,
        ("half.jpg", "no age"),
        ("half.jpg", conflict),
        ("same.jpg", "second row for the same file"),
    ]


def test_what_a_pull_keeps_for_itself_is_no_part_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".agecls-pull").mkdir()
    (tmp_path / ".agecls-pull" / "files.json").write_text("{}")
    (tmp_path / ".agecls-pull" / "1.jpg.part").write_bytes(b"half")
    (tmp_path / "1.jpg").write_bytes(b"whole")
    assert walk_images(tmp_path) == (["1.jpg"], [])
