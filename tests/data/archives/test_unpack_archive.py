"""Unpacking what nobody means ill with: every kind, what stands there already, and unpackings that are stopped."""

import base64
import bz2
import gzip
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import pytest
import zstandard
from filelock import FileLock
from packed import FAMILIES, KINDS, MODIFIED, Item, pack, rar3, rar5, squeeze, tar_bytes

from agecls.data.archives import Kind, Limits, kind_of, unpack
from agecls.errors import StorageError, UsageError

FACES = [
    Item("faces", None),
    Item("faces/a.jpg", b"one"),
    Item("faces/empty.jpg", b""),
    Item("caf\u00e9/\u5e74.csv", b"path,age\n"),
]


def silent(line: str) -> None:
    """Takes what is said and says nothing."""


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(each.relative_to(folder)): each.read_bytes() if each.is_file() else None for each in folder.rglob("*")}


def test_the_table_of_kinds_is_whole() -> None:
    assert set(KINDS) == set(get_args(Kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_out_as_it_went_in(tmp_path: Path, kind: Kind) -> None:
    archive = pack(tmp_path / f"faces.{kind}", kind, FACES)
    into = tmp_path / "some" / "data"
    done = unpack(archive, into, silent)
    assert (done.files, done.bytes) == (3, 12)
    assert done.top == (into / "caf\u00e9", into / "faces")
    assert (done.skipped, done.nested) == ((), ())
    assert contents(into) == {
        "caf\u00e9": None,
        "caf\u00e9/\u5e74.csv": b"path,age\n",
        "faces": None,
        "faces/a.jpg": b"one",
        "faces/empty.jpg": b"",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_relative_paths_and_links_to_the_folder_are_followed(workplace: Path, kind: Kind) -> None:
    pack(Path("-faces [1]"), kind, FACES)
    (workplace / "large-disk").mkdir()
    (workplace / "data").symlink_to("large-disk")
    done = unpack(Path("-faces [1]"), Path("data"), silent)
    assert done.top == (Path("data/caf\u00e9"), Path("data/faces"))
    assert (workplace / "large-disk" / "faces" / "a.jpg").read_bytes() == b"one"
    assert sorted(each.name for each in (workplace / "large-disk").iterdir()) == ["caf\u00e9", "faces"]


@pytest.mark.parametrize("kind", FAMILIES)
def test_modes_are_those_of_data_and_times_are_kept(tmp_path: Path, kind: Kind, request: pytest.FixtureRequest) -> None:
    before = os.umask(0o077)
    request.addfinalizer(lambda: os.umask(before))
    archive = pack(tmp_path / f"faces.{kind}", kind, [Item("a/b.jpg", mode=0o600), Item("c.jpg", mode=0o777)])
    unpack(archive, tmp_path / "data", silent)
    for name in ("a/b.jpg", "c.jpg"):
        assert (tmp_path / "data" / name).stat().st_mode & 0o7777 == 0o644
        assert (tmp_path / "data" / name).stat().st_mtime == MODIFIED
    assert (tmp_path / "data" / "a").stat().st_mode & 0o7777 == 0o755


def test_times_before_1980_and_in_the_future_are_left_out(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "faces.tar", "w") as tar:
        for name, modified in (("old", 0), ("coming", 2**40)):
            info = tarfile.TarInfo(name)
            info.mtime = modified
            tar.addfile(info)
    unpack(tmp_path / "faces.tar", tmp_path / "data", silent)
    for name in ("old", "coming"):
        assert abs((tmp_path / "data" / name).stat().st_mtime - time.time()) < 3600


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_macos_adds_is_left_out_and_counted(tmp_path: Path, kind: Kind) -> None:
    junk = ["__MACOSX/faces/._a.jpg", "faces/._a.jpg", "faces/.DS_Store"]
    archive = pack(tmp_path / f"faces.{kind}", kind, [Item("faces/a.jpg"), *(Item(name) for name in junk)])
    said: list[str] = []
    done = unpack(archive, tmp_path / "data", said.append)
    assert contents(tmp_path / "data") == {"faces": None, "faces/a.jpg": b"face"}
    assert [name for name, _ in done.skipped] == junk
    assert (done.files, done.bytes) == (1, 4)
    assert [line for line in said if "3 files that macOS adds" in line]


@pytest.mark.parametrize("kind", FAMILIES)
def test_archives_in_an_archive_stay_archives(tmp_path: Path, kind: Kind) -> None:
    inner = pack(tmp_path / "inner.zip", "zip", FACES).read_bytes()
    items = [Item("inner.zip", inner), Item("table.csv.gz", gzip.compress(b"a,b")), Item("weights.pt", inner)]
    items += [Item("inner.tar.gz", squeeze(tar_bytes(FACES), "tar.gz")), Item("bare", tar_bytes(FACES))]
    said: list[str] = []
    done = unpack(pack(tmp_path / f"outer.{kind}", kind, items), tmp_path / "data", said.append)
    assert done.nested == ("inner.zip", "inner.tar.gz", "bare")
    assert any("3 archives in it are left as they are, such as inner.zip" in line for line in said)
    assert (tmp_path / "data" / "inner.zip").read_bytes() == inner


@pytest.mark.parametrize("make", [rar5, rar3])
def test_both_formats_of_rar_are_read(tmp_path: Path, make: Callable[[list[Item]], bytes]) -> None:
    (tmp_path / "faces.rar").write_bytes(make([Item("faces/a.jpg", b"one"), Item("b.jpg", b"two")]))
    assert kind_of(tmp_path / "faces.rar") == "rar"
    unpack(tmp_path / "faces.rar", tmp_path / "data", silent)
    assert contents(tmp_path / "data") == {"faces": None, "faces/a.jpg": b"one", "b.jpg": b"two"}


PROGRAMS = ("unrar", "bsdtar", "unar")


@pytest.mark.skipif(not any(map(shutil.which, PROGRAMS)), reason=f"none of {', '.join(PROGRAMS)} is installed")
def test_a_compressed_rar_is_read_by_a_program(tmp_path: Path) -> None:
    """``rar5-solid.rar`` of the tests of rarfile (ISC licence): two files of 2,048 bytes."""
    (tmp_path / "solid.rar").write_bytes(base64.b64decode(SOLID))
    done = unpack(tmp_path / "solid.rar", tmp_path / "data", silent)
    assert (done.files, done.bytes) == (2, 4096)
    assert (tmp_path / "data" / "stest1.txt").read_bytes() == (tmp_path / "data" / "stest2.txt").read_bytes()


def test_names_of_a_zip_that_are_utf8_without_saying_so_are_read_as_such(tmp_path: Path) -> None:
    """As macOS packs them; those of DOS, which are no UTF-8, are read as DOS had them."""
    content = pack(tmp_path / "faces.zip", "zip", [Item("caf__.jpg"), Item("caf_-dos.jpg")]).read_bytes()
    content = content.replace(b"caf__.jpg", "caf\u00e9.jpg".encode()).replace(b"caf_-", "caf\u00e9-".encode("cp437"))
    (tmp_path / "faces.zip").write_bytes(content)
    unpack(tmp_path / "faces.zip", tmp_path / "data", silent)
    assert set(contents(tmp_path / "data")) == {"caf\u00e9.jpg", "caf\u00e9-dos.jpg"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_without_entries_unpacks_to_nothing(tmp_path: Path, kind: Kind) -> None:
    archive = pack(tmp_path / f"empty.{kind}", kind, [])
    if kind == "tar":
        # Ten thousand zero bytes may be anything.
        assert kind_of(archive) is None
        return
    assert unpack(archive, tmp_path / "data", silent).top == ()
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_content_says_the_kind_whatever_the_name(tmp_path: Path, kind: Kind) -> None:
    assert kind_of(pack(tmp_path / "faces.jpg", kind, FACES)) == kind


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jpg", b"\xff\xd8\xff\xe0" + bytes(600)),
        ("faces.zip", b"not a zip"),
        ("empty.tar", b""),
        ("zeros.bin", bytes(20_000)),
        ("table.csv.gz", gzip.compress(b"path,age\n" * 100)),
        ("table.csv.bz2", bz2.compress(b"path,age\n" * 100)),
        ("table.csv.xz", lzma.compress(b"path,age\n" * 100)),
        ("table.csv.zst", zstandard.compress(b"path,age\n" * 100)),
        ("short.gz", b"\x1f\x8b\x08"),
    ],
)
def test_other_files_are_no_archives(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert kind_of(tmp_path / name) is None


def test_weights_and_arrays_that_are_zips_inside_are_no_archives(tmp_path: Path) -> None:
    np.savez(tmp_path / "lineage.npz", seen=np.arange(3))
    shutil.copy(tmp_path / "lineage.npz", tmp_path / "last.ckpt")
    assert zipfile.is_zipfile(tmp_path / "last.ckpt")
    assert kind_of(tmp_path / "lineage.npz") is None
    assert kind_of(tmp_path / "last.ckpt") is None


def test_a_tar_from_before_its_magic_bytes_is_told_by_its_checksum(tmp_path: Path) -> None:
    head = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.USTAR_FORMAT))
    head[257:265] = bytes(8)
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    (tmp_path / "old").write_bytes(bytes(head) + bytes(1024))
    assert kind_of(tmp_path / "old") == "tar"
    assert unpack(tmp_path / "old", tmp_path / "data", silent).files == 1


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_streams_put_one_behind_the_other_are_read_as_one(tmp_path: Path, kind: Kind) -> None:
    """As pigz, pbzip2, pixz and pzstd write them."""
    tar = tar_bytes([Item("a.bin", os.urandom(50_000))])
    (tmp_path / "faces").write_bytes(squeeze(tar[:20_000], kind) + squeeze(tar[20_000:], kind))
    assert kind_of(tmp_path / "faces") == kind
    assert unpack(tmp_path / "faces", tmp_path / "data", silent).bytes == 50_000


def test_files_that_are_there_with_the_same_content_stay(tmp_path: Path) -> None:
    archive = pack(tmp_path / "faces.zip", "zip", [*FACES, Item("faces/new.jpg")])
    (tmp_path / "data" / "faces").mkdir(parents=True)
    (tmp_path / "data" / "faces" / "a.jpg").write_bytes(b"one")
    (tmp_path / "data" / "faces" / "mine.txt").write_text("mine")
    there = (tmp_path / "data" / "faces" / "a.jpg").stat()
    assert unpack(archive, tmp_path / "data", silent).files == 4
    assert (tmp_path / "data" / "faces" / "a.jpg").stat().st_ino == there.st_ino
    assert (tmp_path / "data" / "faces" / "new.jpg").read_bytes() == b"face"
    assert (tmp_path / "data" / "faces" / "mine.txt").read_text() == "mine"
    before = contents(tmp_path / "data")
    assert unpack(archive, tmp_path / "data", silent).files == 4
    assert contents(tmp_path / "data") == before


def a_file(path: Path) -> None:
    path.write_text("another")


def a_link_to_the_same(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(b"one")
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("stands", [a_file, Path.mkdir, a_link_to_the_same])
def test_what_stands_there_otherwise_refuses_the_archive_before_anything_moves(
    tmp_path: Path, stands: Callable[[Path], None]
) -> None:
    archive = pack(tmp_path / "faces.tar", "tar", [Item("0.jpg"), Item("faces/a.jpg", b"one"), Item("z.jpg")])
    (tmp_path / "data" / "faces").mkdir(parents=True)
    stands(tmp_path / "data" / "faces" / "a.jpg")
    before = contents(tmp_path / "data")
    with pytest.raises(StorageError, match=r"other files of the same names stand in") as caught:
        unpack(archive, tmp_path / "data", silent)
    assert caught.value.got == "faces/a.jpg"
    assert contents(tmp_path / "data") == before


def test_a_link_is_not_followed_to_another_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "faces").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"other files of the same names"):
        unpack(pack(tmp_path / "faces.zip", "zip", FACES), tmp_path / "data", silent)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_on_another_disk_is_refused_before_anything_moves(tmp_path: Path, small_disk: Path) -> None:
    archive = pack(tmp_path / "faces.zip", "zip", [Item("a.jpg"), Item(f"{small_disk.name}/b.jpg")])
    before = contents(tmp_path)
    with pytest.raises(StorageError, match=r"another disk"):
        unpack(archive, tmp_path, silent)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_file_in_place_of_the_folder_is_said(tmp_path: Path, below: str) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StorageError, match=r"nothing can be unpacked in .*data"):
        unpack(pack(tmp_path / "faces.zip", "zip", FACES), Path(f"{tmp_path}/data{below}"), silent)


def test_a_missing_archive_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nothing\.zip cannot be read"):
        unpack(tmp_path / "nothing.zip", tmp_path / "data", silent)


CHILD = (
    "from pathlib import Path; import signal, sys; from agecls.data.archives import unpack\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # what runs in the background may ignore it
    "unpack(Path(sys.argv[1]), Path(sys.argv[2]), print)"
)


@pytest.mark.parametrize(("kind", "count"), [("tar", 20_000), ("zip", 10_000), ("7z", 3_000)])
def test_a_killed_unpacking_leaves_what_was_there_and_the_next_one_clears_up(
    tmp_path: Path, kind: Kind, count: int
) -> None:
    archive = pack(tmp_path / f"faces.{kind}", kind, [Item(f"faces/{number}.jpg") for number in range(count)])
    into = tmp_path / "data"
    into.mkdir()
    (into / "old.csv").write_text("old")
    child = subprocess.Popen([sys.executable, "-c", CHILD, archive, into], stderr=subprocess.PIPE)
    staged: list[Path] = []
    while not staged and child.poll() is None:
        staged = list(into.glob(".agecls-unpacking-*/staged/faces/*9.jpg"))
    child.send_signal(signal.SIGKILL)
    assert child.communicate(timeout=60)[1] == b""
    assert child.returncode == -signal.SIGKILL
    assert [each.name for each in into.iterdir() if not each.name.startswith(".agecls-unpacking-")] == ["old.csv"]
    assert len(list(into.iterdir())) == 2
    said: list[str] = []
    pack(archive, kind, [Item("faces/0.jpg")])
    unpack(archive, into, said.append)
    assert any("left behind by an unpacking that was stopped" in line for line in said)
    assert contents(into) == {"old.csv": b"old", "faces": None, "faces/0.jpg": b"face"}


def test_an_interrupted_unpacking_clears_up_itself(tmp_path: Path) -> None:
    archive = pack(tmp_path / "faces.tar", "tar", [Item(f"{number}.jpg") for number in range(20_000)])
    child = subprocess.Popen([sys.executable, "-c", CHILD, archive, tmp_path / "data"], stderr=subprocess.DEVNULL)
    while not list((tmp_path / "data").glob(".agecls-unpacking-*/staged/*9.jpg")) and child.poll() is None:
        pass
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=60) == -signal.SIGINT
    assert list((tmp_path / "data").iterdir()) == []


def test_the_folder_of_an_unpacking_at_work_is_left_alone(tmp_path: Path) -> None:
    working = tmp_path / "data" / ".agecls-unpacking-other"
    (working / "staged").mkdir(parents=True)
    (working / "staged" / "half.jpg").write_bytes(b"ha")
    archive = pack(tmp_path / "faces.zip", "zip", FACES)
    with FileLock(working / "lock"):
        unpack(archive, tmp_path / "data", silent)
        assert (working / "staged" / "half.jpg").read_bytes() == b"ha"
    unpack(archive, tmp_path / "data", silent)
    assert not working.exists()


def test_a_link_named_like_a_leftover_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".agecls-unpacking-x").symlink_to(tmp_path / "mine")
    unpack(pack(tmp_path / "faces.zip", "zip", FACES), tmp_path / "data", silent)
    assert (tmp_path / "mine" / "a.txt").read_text() == "mine"


def test_100_000_tiny_files_are_unpacked(tmp_path: Path, quick_disk: Path) -> None:
    items = [Item(f"{number % 100}/{number}.txt", b"" if number % 10 else b"x") for number in range(100_000)]
    archive = tmp_path / "tiny.tar.zst"
    archive.write_bytes(squeeze(tar_bytes(items), "tar.zst"))
    with TemporaryDirectory(dir=quick_disk) as into:
        done = unpack(archive, Path(into), silent)
        assert (done.files, done.bytes, len(done.top)) == (100_000, 10_000, 100)
        assert sum(len(list(folder.iterdir())) for folder in done.top) == 100_000


def test_limits_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack(tmp_path / "faces.zip", "zip", FACES)
    for name, value in {"FILES": "7", "BYTES": "1e12", "RATIO": "2.5", "DEPTH": "3", "PATH": "99"}.items():
        monkeypatch.setenv(f"AGECLS_UNPACK_{name}", value)
    assert Limits.from_environment() == Limits(files=7, bytes=10**12, ratio=2.5, depth=3, path=99)
    monkeypatch.setenv("AGECLS_UNPACK_FILES", "3")
    with pytest.raises(StorageError, match=r"more than 3 entries"):
        unpack(archive, tmp_path / "data", silent)


@pytest.mark.parametrize("text", ["many", "0", "-1", "inf", "nan", "0.5"])
def test_limits_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AGECLS_UNPACK_FILES", text)
    with pytest.raises(UsageError, match=r"AGECLS_UNPACK_FILES") as caught:
        Limits.from_environment()
    assert caught.value.got == text


@pytest.mark.real
def test_real_faces_come_out_as_they_went_in(shared_data: Path, utkface: Path, quick_disk: Path) -> None:
    with TemporaryDirectory(dir=quick_disk) as into:
        done = unpack(shared_data / "utkface.tar", Path(into), silent)
        assert contents(Path(into)) == contents(utkface)
        assert done.files == sum(each.is_file() for each in utkface.rglob("*"))


SOLID = (
    "UmFyIRoHAQAJ78hvCwEFBwQGAQGAgIAA3vVwchwCAroABIAQtoMCoua3xYAbAQpzdGVzdDEudHh0waw3REQj+iP2l/1iU1G+TJGB"
    "QQKMwQN5XL9Ho6otoDaT3aBYAEACANRQBHb2xH8y6p8ypcTM14PfABDoLYkcAgKNAASAELaDAqLmt8XAGwEKc3Rlc3QyLnR4dEUV"
    "CmABAAgD37f79vwdd1ZRAwUEAA=="
)
