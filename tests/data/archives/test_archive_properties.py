"""What holds for every archive: it comes out as it went in, or nothing comes out, and nothing ever goes elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packed import FAMILIES, KINDS, Item, pack

from agecls.data.archives import Kind, unpack
from agecls.errors import StorageError


@contextmanager
def place(disk: Path) -> Iterator[tuple[Path, Path]]:
    """A folder for an archive, and one to unpack into; nothing else may come to stand beside them."""
    with TemporaryDirectory(dir=disk) as top:
        packed, into = Path(top) / "packed", Path(top) / "a" / "b" / "into"
        packed.mkdir()
        into.mkdir(parents=True)
        yield packed, into
        assert sorted(str(each.relative_to(top)) for each in Path(top).rglob("*") if not each.is_relative_to(into)) in (
            ["a", "a/b", "a/b/into", "packed", "packed/faces"],
            ["a", "a/b", "packed", "packed/faces"],
        )
        assert all(each.is_file() or each.is_dir() for each in into.rglob("*"))
        assert not any(each.is_symlink() for each in into.rglob("*"))


def contents(folder: Path) -> dict[str, bytes]:
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


hostile_names = st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "/", "\\", "C:", "\n", "\x1b", "~", " ", "\u202e", "\udcff", "__MACOSX"])
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3),
    min_size=1,
    max_size=6,
).flatmap(lambda parts: st.sampled_from(["/", "\\", ""]).map(lambda joint: joint.join(parts)))


@pytest.mark.parametrize("kind", FAMILIES)
@settings(max_examples=40)
@given(names=st.lists(hostile_names, min_size=1, max_size=4))
def test_no_name_leads_out_of_the_folder(quick_disk: Path, kind: Kind, names: list[str]) -> None:
    if kind in ("zip", "7z"):  # their names are text by themselves
        names = [name.replace("\udcff", "?") for name in names]
    with place(quick_disk) as (packed, into):
        archive = pack(packed / "faces", kind, [Item(name or "x", b"1") for name in names])
        try:
            done = unpack(archive, into, lambda line: None)
        except StorageError:
            assert list(into.iterdir()) == []
        else:
            assert len(contents(into)) == done.files


plain_parts = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/\\:"), min_size=1, max_size=20
).filter(
    lambda part: part.strip(".") and not part.startswith(("._", ".agecls")) and part not in ("__MACOSX", ".DS_Store")
)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes]:
    """Files by their paths, none of which is a folder of another one."""
    paths = draw(st.sets(st.lists(plain_parts, min_size=1, max_size=4).map("/".join), min_size=1, max_size=6))
    folders = {str(above) for path in paths for above in PurePosixPath(path).parents}
    return {path: draw(st.binary(max_size=300)) for path in sorted(paths) if path not in folders}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(tree=trees())
@example(tree={"e\u0301.jpg": b"1", "\u00e9.jpg": b"2"})
@example(tree={"faces/a.jpg": b"1", "Faces/A.JPG": b"2"})
def test_plain_names_and_contents_come_back(quick_disk: Path, kind: Kind, tree: dict[str, bytes]) -> None:
    with place(quick_disk) as (packed, into):
        archive = pack(packed / "faces", kind, [Item(name, data) for name, data in tree.items()])
        done = unpack(archive, into, lambda line: None)
        assert contents(into) == tree
        assert (done.files, done.bytes) == (len(tree), sum(map(len, tree.values())))
        assert {path.name for path in done.top} == {name.partition("/")[0] for name in tree}


WHOLE = {f"{number}/face.jpg": bytes([number]) * 700 + bytes(range(256)) for number in range(5)}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(data=st.data())
def test_damage_is_an_error_or_does_no_harm(quick_disk: Path, kind: Kind, data: st.DataObject) -> None:
    """Bytes changed, cut out and put in anywhere: never a traceback, and contents that have a checksum are right."""
    with place(quick_disk) as (packed, into):
        archive = pack(packed / "faces", kind, [Item(name, content) for name, content in WHOLE.items()])
        content = bytearray(archive.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(content) - 1))
            end = data.draw(st.sampled_from([at, at + 1, at + 8, len(content)]))
            content[at:end] = data.draw(st.binary(max_size=8))
            if not content:
                break
        archive.write_bytes(content)
        try:
            unpack(archive, into, lambda line: None)
        except StorageError:
            assert list(into.iterdir()) == []
        else:
            if kind not in ("tar", "tar.zst"):
                found = contents(into)
                assert all(found[name] == WHOLE[name] for name in found.keys() & WHOLE.keys())
