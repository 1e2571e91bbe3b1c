"""The cache: every image decoded once, never another one in its place, never more than its share of the disk."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from drawn import BYTE_TWINS

from agecls.bins import Bins
from agecls.data.cache import DecodedImages, decode_faces
from agecls.data.cache_folder import cache_folder, cache_limit, clear_cache, describe_entries, list_entries
from agecls.data.faces import Faces
from agecls.data.freeze import freeze_split
from agecls.data.pixels import decode_square
from agecls.data.split import Split
from agecls.errors import DataError, UsageError

Decode = Callable[..., DecodedImages]

DECODE = """
import sys
from pathlib import Path
from agecls.data.cache import decode_faces
from agecls.data.faces import Faces
from agecls.data.split import Split

split = Split.load(Path(sys.argv[1]))
faces = Faces.concat(list(split.parts.values()))
print("ready", flush=True)
sys.stdin.read()
print(int(decode_faces(faces, {"utkface": Path(sys.argv[2])}, 24, 1).images.astype(int).sum()))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of each test's own."""
    monkeypatch.setenv("AGECLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AGECLS_CACHE_GB", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def split(utk_folder: Path, tmp_path: Path) -> Split:
    return freeze_split(
        [("utkface", utk_folder)], tmp_path / "split", fractions=(0.6, 0.2, 0.2), seed=0, bins=Bins.parse("7")
    ).split


@pytest.fixture
def faces(split: Split) -> Faces:
    clear_cache()  # of the looks that freezing left there
    return Faces.concat(list(split.parts.values()))


@pytest.fixture
def decode(faces: Faces, utk_folder: Path) -> Decode:
    """Decode all faces, or those given."""
    return lambda size=24, channels=1, some=faces: decode_faces(some, {"utkface": utk_folder}, size, channels)


def use(folder: Path, time: float) -> None:
    os.utime(folder / "entry.json", (time, time))


@pytest.mark.parametrize(("channels", "tail"), [(1, ()), (3, (3,))])
def test_every_image_is_what_the_decoder_makes_of_it(
    channels: int, tail: tuple[int, ...], faces: Faces, decode: Decode, utk_folder: Path
) -> None:
    decoded = decode(20, channels)
    # The two files of the same bytes are one image.
    assert decoded.images.shape == (len(faces) - 1, 20, 20, *tail)
    assert decoded.images.dtype == np.uint8
    rows = decoded.rows(faces.table["sha256"].tolist())
    assert len(set(rows)) == len(faces) - 1
    for path, row in zip(faces.table["path"], rows, strict=True):
        expected = decode_square((utk_folder / path).read_bytes(), 20, channels)
        np.testing.assert_array_equal(decoded.images[row], expected)


def test_a_second_call_opens_no_image(decode: Decode, utk_folder: Path) -> None:
    first = decode().images.copy()
    shutil.rmtree(utk_folder)
    np.testing.assert_array_equal(decode().images, first)


def test_what_is_mapped_cannot_be_written(decode: Decode) -> None:
    with pytest.raises(ValueError, match="read-only"):
        decode().images[0] = 0


def test_the_same_images_in_another_order_are_the_same_entry(faces: Faces, decode: Decode) -> None:
    decode()
    decode(some=faces.select(np.arange(len(faces))[::-1]))
    assert len(list_entries()) == 1


def test_size_and_channels_and_images_have_entries_of_their_own(faces: Faces, decode: Decode) -> None:
    decode(16, 1)
    decode(16, 3)
    decode(17, 1)
    decode(16, 1, faces.select(np.arange(5)))
    count = len(faces) - 1
    found = {(entry.count, entry.kind) for entry in list_entries()}
    assert found == {(count, "16px-1"), (count, "16px-3"), (count, "17px-1"), (5, "16px-1")}


def test_nothing_but_the_entry_and_its_lock_stays(decode: Decode, cache: Path) -> None:
    decode()
    (entry,) = list_entries()
    assert {path.name for path in cache.iterdir()} <= {entry.folder.name, f"{entry.folder.name}.lock"}
    assert entry.bytes == (entry.folder / "images.npy").stat().st_size > 63 * 24 * 24


def test_two_processes_build_one_entry(split: Split, utk_folder: Path, decode: Decode, cache: Path) -> None:
    command = [sys.executable, "-c", DECODE, str(split.folder), str(utk_folder)]
    with ExitStack() as stack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(2)]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
        for process in processes:
            process.stdin.close()
        sums = [int(process.stdout.read()) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [path for path in cache.iterdir() if path.is_dir()] == [list_entries()[0].folder]
    assert sums == [int(decode().images.astype(int).sum())] * 2


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "no array", "no record", "other shape", "other type"])
def test_a_damaged_entry_is_built_again(damage: str, decode: Decode) -> None:
    expected = decode().images.copy()
    folder = list_entries()[0].folder
    path = folder / "images.npy"
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-100])
        case "empty":
            path.write_bytes(b"")
        case "garbage":
            path.write_bytes(b"garbage")
        case "no array":
            path.unlink()
        case "no record":
            (folder / "entry.json").unlink()
        case "other shape":
            np.save(path, expected[:, :, :-1])
        case _:
            np.save(path, expected.astype(np.int8))
    np.testing.assert_array_equal(decode().images, expected)
    assert len(list_entries()) == 1


def test_a_changed_image_is_refused_by_name_and_leaves_no_entry(decode: Decode, utk_folder: Path, cache: Path) -> None:
    for name in BYTE_TWINS:
        shutil.copyfile(next(utk_folder.glob("*_20170101000000000.*")), utk_folder / name)
    with pytest.raises(DataError, match="1 of 63 images of the split cannot be used") as refused:
        decode()
    assert refused.value.got in [f"{utk_folder / name} is not the image that was split" for name in BYTE_TWINS]
    assert "--root" in refused.value.remedy
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_missing_and_damaged_images_are_counted_and_named(decode: Decode, utk_folder: Path) -> None:
    paths = sorted(utk_folder.glob("*_2017010100000000[0-4].*"))
    assert len(paths) == 5
    for path in paths:
        path.unlink()
    with pytest.raises(DataError, match="5 of 63 images of the split cannot be used") as refused:
        decode()
    assert refused.value.got.count("cannot be read (ENOENT)") == 3
    paths[0].touch()
    with pytest.raises(DataError, match="5 of 63 images"):
        decode()


def test_a_refused_build_succeeds_once_the_images_are_back(decode: Decode, utk_folder: Path, tmp_path: Path) -> None:
    utk_folder.rename(tmp_path / "away")
    with pytest.raises(DataError, match="63 of 63 images"):
        decode()
    (tmp_path / "away").rename(utk_folder)
    assert len(decode().images) == 63


def test_least_recently_used_entries_make_room(decode: Decode, monkeypatch: pytest.MonkeyPatch) -> None:
    # An entry of 20 pixels takes 63 * 400 bytes and a header: two of them fit into 60 kB, three do not.
    monkeypatch.setenv("AGECLS_CACHE_GB", "6e-5")
    decode(20)
    decode(21)
    first, second = sorted(list_entries(), key=lambda entry: entry.kind)
    use(first.folder, 1000)
    use(second.folder, 2000)
    decode(20)
    decode(22)
    assert [entry.kind for entry in list_entries()] == ["22px-1", "20px-1"]
    decode(100)
    assert [entry.kind for entry in list_entries()] == ["100px-1"]


def test_what_fits_stays(decode: Decode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_CACHE_GB", "1")
    for size in (20, 21, 22):
        decode(size)
    assert len(list_entries()) == 3


@pytest.mark.parametrize("text", ["0", "-1", "much", "", "nan", "inf", "1e999"])
def test_a_limit_that_is_no_size_is_refused(text: str, decode: Decode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_CACHE_GB", text)
    with pytest.raises(UsageError, match="AGECLS_CACHE_GB must be a number of gigabytes above 0") as refused:
        decode()
    assert refused.value.got == text


def test_the_limit_is_given_in_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_limit() == 20_000_000_000
    monkeypatch.setenv("AGECLS_CACHE_GB", "0.5")
    assert cache_limit() == 500_000_000


def test_entries_are_listed_most_recently_used_first(decode: Decode) -> None:
    for size in (20, 21, 22):
        decode(size)
    for entry in list_entries():
        use(entry.folder, 1000 + 10 * abs(int(entry.kind[:2]) - 21))
    decode(21)
    newest = describe_entries()[0]
    assert set(newest) == {"folder", "count", "kind", "bytes", "used"}
    assert (newest["kind"], newest["count"]) == ("21px-1", 63)
    assert newest["folder"] == list_entries()[0].folder.name


def test_clearing_frees_everything_the_cache_made_and_nothing_else(decode: Decode, cache: Path) -> None:
    decode(20)
    decode(21)
    (cache / ".v1-20px-1-abc.123").mkdir()
    (cache / "identity-1").mkdir()
    (cache / "identity-1" / "shard").write_bytes(b"12345")
    (cache / "mine").mkdir()
    (cache / "mine" / "entry.json").write_text('{"count": 1, "kind": "1px-1"}')
    (cache / "mine" / "images.npy").touch()
    assert sorted(entry.kind for entry in list_entries()) == ["20px-1", "21px-1"]
    expected = sum(entry.bytes for entry in list_entries()) + 5
    assert clear_cache() == expected > 2 * 63 * 400
    assert [path.name for path in cache.iterdir()] == ["mine"]
    assert clear_cache() == 0
    assert len(decode(20).images) == 63


def test_a_cache_that_is_not_there_is_empty() -> None:
    assert list_entries() == []
    assert clear_cache() == 0


def test_the_cache_lies_where_it_is_told_to(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv("AGECLS_CACHE")
    assert cache_folder().name == "agecls"


def test_a_cache_folder_that_cannot_be_made_is_named(
    decode: Decode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AGECLS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match="cannot be made") as refused:
        decode()
    assert "AGECLS_CACHE" in refused.value.remedy
