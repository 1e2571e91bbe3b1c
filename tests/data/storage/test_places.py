from pathlib import Path

import pytest

from agecls.data.storage.keys import name_for, refuse_clashes, refuse_leaving
from agecls.data.storage.local import FolderStore
from agecls.data.storage.places import is_loopback, open_store, parse_place
from agecls.data.storage.store import ChangedError
from agecls.errors import StorageError, UsageError


@pytest.mark.parametrize(
    ("text", "kind", "base", "key", "file_name", "prefix"),
    [
        ("b2://faces/utkface.tar", "b2", "faces", "utkface.tar", "utkface.tar", False),
        ("b2://faces/runs/age?#%20/", "b2", "faces", "runs/age?#%20/", "", True),
        ("b2://faces", "b2", "faces", "", "", True),
        ("B2://faces/x", "b2", "faces", "x", "x", False),
        (
            "https://h.example:8443/a/b%20c.tar?sig=1#x",
            "web",
            "https://h.example:8443/a/",
            "b%20c.tar",
            "b c.tar",
            False,
        ),
        ("https://h.example/a/", "web", "https://h.example/a/", "", "", True),
        ("http://127.0.0.1:8000/a", "web", "http://127.0.0.1:8000/", "a", "a", False),
        ("http://[::1]:8000/a", "web", "http://[::1]:8000/", "a", "a", False),
    ],
)
def test_places_are_read_as_they_are_written(
    text: str, kind: str, base: str, key: str, file_name: str, prefix: bool
) -> None:
    place = parse_place(text)
    assert (place.kind, place.base, place.key) == (kind, base, key)
    assert (place.file_name, place.is_prefix) == (file_name, prefix)


def test_the_query_of_an_address_is_shown_nowhere() -> None:
    place = parse_place("https://h.example/a?X-Signature=abc")
    assert place.query == "X-Signature=abc"
    assert "abc" not in f"{place} {place!r} {open_store(place).name}"


def test_http_goes_to_this_machine_alone_unless_the_content_is_judged() -> None:
    assert parse_place("http://h.example/a", checked=True).kind == "web"
    for host in ("h.example", "127.0.0.1.h.example", "10.0.0.1"):
        with pytest.raises(UsageError, match="this machine alone"):
            parse_place(f"http://{host}/a")
    assert [is_loopback(each) for each in ("localhost", "127.9.9.9", "::1", "10.0.0.1", "localhost.h")] == [
        True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "key",
    ["../x", "a/../../x", "/etc/passwd", "C:\\x", "..\\x", "a\nb", "a\x1b[2Jb", "", "./", "\ud800", "x" * 300,
     ".agecls-pull/files.json", "a\u2028b"],
)  # fmt: skip
def test_keys_that_would_leave_the_folder_or_break_a_terminal_make_no_file(key: str) -> None:
    with pytest.raises(StorageError) as refused:
        name_for(key)
    assert str(refused.value).replace("\n", "").isprintable()


def test_two_keys_never_become_one_file(tmp_path: Path) -> None:
    assert [name_for(each) for each in ("a//b", "./a/b", "a\\b")] == ["a/b"] * 3
    for names in (["a/b", "a/b"], ["a", "a/b"]):
        with pytest.raises(StorageError, match="cannot both"):
            refuse_clashes(names, tmp_path)
    refuse_clashes(["A.jpg", "a.jpg", "b/a"], tmp_path)  # fine where the file system tells them apart


def test_a_link_in_the_target_leads_nothing_out_of_it(tmp_path: Path) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    (target / "way").symlink_to(outside)
    with pytest.raises(StorageError, match="outside of"):
        refuse_leaving(target, "way/x")
    (target / "file").write_text("x")
    with pytest.raises(StorageError, match="is a file"):
        refuse_leaving(target, "file/x")
    (target / "folder").mkdir()
    with pytest.raises(StorageError, match="is a folder"):
        refuse_leaving(target, "folder")
    refuse_leaving(target, "new/x")


def test_a_folder_lists_finds_reads_and_writes(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    source = tmp_path / "source"
    source.write_bytes(b"0123456789")
    store.write(source, "a/b/c", "87acec17cd9dcd20a716cc2cf67417b71c8a7016")
    found = store.find("a/b/c")
    assert found is not None
    assert found.size == 10
    assert b"".join(store.read(found, 2, 5)) == b"234"
    assert [each.key for each in store.under("a/")] == ["a/b/c"]
    assert [each.key for each in store.under("so")] == ["source"]
    assert store.find("a/b") is None
    assert list(store.under("none/")) == []
    with pytest.raises(StorageError, match="does not lead out"):
        store.find("../x")


def test_a_file_that_changes_while_it_is_read_is_no_use(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    found = store.find("a")
    assert found is not None
    pieces = store.read(found)
    next(pieces)
    (tmp_path / "a").write_bytes(b"y" * 3_000_000)
    with pytest.raises(ChangedError):
        list(pieces)
    (tmp_path / "a").unlink()
    with pytest.raises(StorageError):
        list(store.read(found))
