"""What archives do when somebody means ill, or packed on another system: one row a case and format."""

import io
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import py7zr
import pytest
import zstandard
from packed import FAMILIES, KINDS, Item, Special, pack, rar3, rar5, squeeze, tar_bytes

from agecls.data.archives import Kind, Limits, unpack
from agecls.errors import StorageError


class Place:
    """A folder to unpack into, with content of its own, inside one that must stay as it is."""

    def __init__(self, top: Path) -> None:
        self.top, self.into = top, top / "outer" / "into"
        self.into.mkdir(parents=True)
        (self.into / "old.csv").write_text("old")
        (self.top / "outer" / "target.txt").write_text("outside")
        (self.top / "packed").mkdir()

    def archive(self, kind: str) -> Path:
        return self.top / "packed" / f"faces.{kind}"

    def seen(self) -> dict[str, bytes | None]:
        """Everything below the top but the archives themselves, links not followed."""
        return {
            str(each.relative_to(self.top)): each.read_bytes() if each.is_file() and not each.is_symlink() else None
            for each in self.top.rglob("*")
            if "packed" not in each.relative_to(self.top).parts
        }

    def refuses(self, archive: Path, *causes: str, limits: Limits | None = None) -> StorageError:
        """Unpacking is refused, the message names the archive and every cause, and not one file has changed."""
        before = self.seen()
        with pytest.raises(StorageError) as caught:
            unpack(archive, self.into, lambda line: None, limits)
        message = str(caught.value)
        for cause in (archive.name, *causes):
            assert cause in message
        assert "  do:    " in message
        assert all(line.isprintable() for line in message.split("\n"))
        assert self.seen() == before
        return caught.value


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


ABSOLUTE = "/tmp/agecls-escape.jpg"  # noqa: S108 - nothing may come to stand there

NAMES = {
    "upwards": ("../escape.jpg", "leads out of the folder", "../escape.jpg"),
    "upwards from below": ("faces/../../escape.jpg", "leads out of the folder", "faces/../../escape.jpg"),
    "upwards and back": ("../into/faces.jpg", "leads out of the folder", "../into/faces.jpg"),
    "two dots alone": ("faces/..", "leads out of the folder", "faces/.."),
    "absolute": (ABSOLUTE, "absolute", ABSOLUTE),
    "absolute twice": (f"/{ABSOLUTE}", "absolute", "agecls-escape.jpg"),
    "a drive": ("C:/faces/escape.jpg", "letter of a drive", "C:/faces/escape.jpg"),
    "relative to a drive": ("c:escape.jpg", "letter of a drive", "c:escape.jpg"),
    "backslashes upwards": ("..\\..\\escape.jpg", "leads out of the folder", "escape.jpg"),
    "backslashes to a drive": ("C:\\escape.jpg", "letter of a drive", "escape.jpg"),
    "a share": ("\\\\server\\share\\escape.jpg", "absolute", "escape.jpg"),
    "a break of line": ("faces/a\nb.jpg", "control character or a break of line", "a\\nb.jpg"),
    "a carriage return": ("a\rb.jpg", "control character or a break of line", "a\\rb.jpg"),
    "an escape sequence": ("a\x1b[31mb.jpg", "control character or a break of line", "a\\x1b[31mb.jpg"),
    "Unicode's break of line": ("a\u2028b.jpg", "control character or a break of line", "a\\u2028b.jpg"),
    "a C1 control character": ("a\x9bb.jpg", "control character or a break of line", "a\\x9bb.jpg"),
    "too long a name": ("n" * 260 + ".jpg", "longer than 255 bytes", "(264 characters)"),
    "too long a name of few characters": ("\u5e74" * 90 + ".jpg", "longer than 255 bytes", "\u5e74\u5e74"),
    "too deep": ("d/" * 40 + "a.jpg", "41 folders deep", "d/d/d"),
    "too long a path": (("n" * 200 + "/") * 6 + "a.jpg", "longer than 1024 bytes", "nnn"),
    "unpacking's own folder": (".agecls-unpacking-1/a.jpg", "unpacking uses itself", ".agecls-unpacking-1/a.jpg"),
}


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("case", NAMES)
def test_hostile_names_refuse_the_archive(place: Place, case: str, kind: Kind) -> None:
    name, cause, shown = NAMES[case]
    archive = pack(place.archive(kind), kind, [Item("good.jpg"), Item(name), Item("faces/good.jpg")])
    place.refuses(archive, cause, shown)
    assert not Path(ABSOLUTE).exists()


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", ["../escape", ABSOLUTE, "a\nb", "C:\\escape"])
def test_hostile_names_of_folders_refuse_the_archive(place: Place, name: str, kind: Kind) -> None:
    place.refuses(pack(place.archive(kind), kind, [Item("good.jpg"), Item(name, None)]), "its name")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_that_are_no_utf8_refuse_a_tar(place: Place, form: int) -> None:
    archive = place.archive("tar")
    archive.write_bytes(tar_bytes([Item("caf\udce9.jpg")], form=form))
    place.refuses(archive, "no UTF-8", "caf\\udce9.jpg")


def test_a_name_that_goes_on_behind_a_zero_byte_refuses_a_zip(place: Place) -> None:
    archive = pack(place.archive("zip"), "zip", [Item("good.jpg+../../x")])
    archive.write_bytes(archive.read_bytes().replace(b"good.jpg+", b"good.jpg\0"))
    place.refuses(archive, "control character", "good.jpg\\x00")


SPECIALS: dict[str, tuple[Special, str, tuple[Kind, ...]]] = {
    "symbolic link out": ("symlink", "../../target.txt", ("zip", "tar", "7z", "rar")),
    "symbolic link to an absolute path": ("symlink", "/etc/passwd", ("zip", "tar", "7z", "rar")),
    "symbolic link inside": ("symlink", "good.jpg", ("zip", "tar", "7z", "rar")),
    "symbolic link to the folder above": ("symlink", "..", ("zip", "tar", "7z", "rar")),
    "hard link out": ("hard link", "../target.txt", ("tar", "rar")),
    "hard link inside": ("hard link", "good.jpg", ("tar", "rar")),
    "character device": ("character device", "", ("zip", "tar", "7z")),
    "block device": ("block device", "", ("zip", "tar", "7z")),
    "pipe": ("fifo", "", ("zip", "tar", "7z")),
    "socket": ("socket", "", ("zip", "tar", "7z")),
}


@pytest.mark.parametrize(("case", "kind"), [(case, kind) for case, row in SPECIALS.items() for kind in row[2]])
def test_links_and_devices_refuse_the_archive(place: Place, case: str, kind: Kind) -> None:
    special, target, _ = SPECIALS[case]
    items = [Item("good.jpg"), Item("strange", special=special, target=target), Item("strange/escape.jpg")]
    place.refuses(pack(place.archive(kind), kind, items), "not unpacked", "strange")


@pytest.mark.parametrize("kind", FAMILIES)
def test_two_entries_of_one_name_refuse_the_archive(place: Place, kind: Kind) -> None:
    place.refuses(
        pack(place.archive(kind), kind, [Item("a.jpg", b"1"), Item("a.jpg", b"2")]), "two entries have one name"
    )


@pytest.mark.parametrize("kind", FAMILIES)
def test_two_spellings_of_one_name_refuse_the_archive(place: Place, kind: Kind) -> None:
    items = [Item("faces/a.jpg", b"1"), Item("faces//./a.jpg", b"2")]
    place.refuses(pack(place.archive(kind), kind, items), "two entries have one name")


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("order", [1, -1])
def test_a_file_and_a_folder_of_one_name_refuse_the_archive(place: Place, order: int, kind: Kind) -> None:
    items = [Item("a"), Item("a/b.jpg")][::order]
    error = place.refuses(pack(place.archive(kind), kind, items), "'a")
    assert "two entries have one name" in str(error) or "is a file and a folder" in str(error)


@pytest.mark.parametrize("kind", FAMILIES)
def test_names_that_harm_other_systems_alone_are_kept(place: Place, kind: Kind) -> None:
    names = [
        "A.jpg",
        "a.jpg",
        "CON",
        "aux.txt",
        "dot.",
        "space ",
        " space",
        "...",
        "~",
        "-rf",
        "ab:c.jpg",
        "%2e%2e",
        "*?",
    ]
    archive = pack(place.archive(kind), kind, [Item(name, name.encode()) for name in names])
    done = unpack(archive, place.into, lambda line: None)
    assert done.files == len(names)
    assert {each.name: each.read_bytes() for each in done.top} == {name: name.encode() for name in names}


@pytest.mark.parametrize("kind", FAMILIES)
def test_backslashes_part_folders(place: Place, kind: Kind) -> None:
    archive = pack(place.archive(kind), kind, [Item("faces\\a.jpg", b"1"), Item("faces\\more\\b.jpg", b"2")])
    assert unpack(archive, place.into, lambda line: None).top == (place.into / "faces",)
    assert (place.into / "faces" / "more" / "b.jpg").read_bytes() == b"2"


@pytest.mark.parametrize("kind", FAMILIES)
def test_bits_such_as_setuid_are_dropped(place: Place, kind: Kind) -> None:
    archive = pack(place.archive(kind), kind, [Item("tool", mode=0o6777), Item("open", None, mode=0o1777)])
    unpack(archive, place.into, lambda line: None)
    assert (place.into / "tool").stat().st_mode & 0o7777 == 0o644
    assert (place.into / "open").stat().st_mode & 0o7777 == 0o755


def encrypted_zip(path: Path) -> None:
    pack(path, "zip", [Item("a.jpg")])
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def encrypted_7z(path: Path) -> None:
    with py7zr.SevenZipFile(path, "w", password="secret") as held:  # noqa: S106 - of a file made here
        held.writestr(b"face", "a.jpg")


def encrypted_7z_header(path: Path) -> None:
    with py7zr.SevenZipFile(path, "w", password="secret", header_encryption=True) as held:  # noqa: S106
        held.writestr(b"face", "a.jpg")


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("zip", encrypted_zip),
        ("7z", encrypted_7z),
        ("7z", encrypted_7z_header),
        ("rar", lambda path: path.write_bytes(rar5([Item("a.jpg")], encrypted=True))),
    ],
)
def test_encrypted_archives_are_refused(place: Place, kind: Kind, make: Callable[[Path], object]) -> None:
    make(place.archive(kind))
    place.refuses(place.archive(kind), "encrypted", "without a password")


PLAIN = [Item(f"faces/{number}.jpg", os.urandom(3000)) for number in range(40)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.001, 0.3, 0.5, 0.9])
def test_archives_cut_short_are_refused(place: Place, share: float, kind: Kind) -> None:
    whole = pack(place.archive(kind), kind, PLAIN).read_bytes()
    place.archive(kind).write_bytes(whole[: max(12, int(len(whole) * share))])
    place.refuses(place.archive(kind))


@pytest.mark.parametrize("make", [rar3, rar5])
def test_a_rar_that_ends_between_two_entries_is_refused(place: Place, make: Callable[[list[Item]], bytes]) -> None:
    """The block that ends the archive is missing, with the second half of the entries."""
    whole = make(PLAIN)
    place.archive("rar").write_bytes(whole[: len(make(PLAIN[:20])) - (7 if make is rar3 else 8)])
    place.refuses(place.archive("rar"), "damaged or cut short")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.zst"])
@pytest.mark.parametrize("keep", [512 + 3072, 2 * (512 + 3072), 39 * (512 + 3072) + 512])
def test_a_tar_that_ends_between_two_entries_is_refused(place: Place, keep: int, kind: Kind) -> None:
    """Python's own tarfile takes such a tar for whole and says nothing of the faces that are missing."""
    place.archive(kind).write_bytes(squeeze(tar_bytes(PLAIN)[:keep], kind))
    place.refuses(place.archive(kind), "damaged or cut short")


def test_a_broken_header_in_the_middle_of_a_tar_is_refused(place: Place) -> None:
    content = bytearray(tar_bytes(PLAIN))
    content[10 * (512 + 3072) + 150] ^= 0xFF
    place.archive("tar").write_bytes(content)
    place.refuses(place.archive("tar"), "damaged or cut short")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tar"])
def test_a_byte_that_changed_on_its_way_is_refused(place: Place, kind: Kind) -> None:
    content = bytearray(pack(place.archive(kind), kind, PLAIN).read_bytes())
    content[len(content) // 2] ^= 0xFF
    place.archive(kind).write_bytes(content)
    place.refuses(place.archive(kind), "damaged or cut short")


def test_what_stands_behind_the_end_of_a_tar_is_not_passed_over_in_silence(place: Place) -> None:
    place.archive("tar").write_bytes(tar_bytes(PLAIN) + tar_bytes([Item("lost.jpg")]))
    place.refuses(place.archive("tar"), "behind its end", "--ignore-zeros")


def lying_zip(path: Path, claimed: int) -> None:
    pack(path, "zip", [Item("a.jpg", b"x" * 1000)])
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 22, claimed)
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, claimed)
    path.write_bytes(content)


def lying_7z(path: Path, claimed: int) -> None:
    with py7zr.SevenZipFile(path, "w", filters=[{"id": py7zr.FILTER_LZMA2, "preset": 1}]) as held:
        held.writestr(b"x" * 1000, "a.jpg")
        held.writestr(b"y" * 1000, "b.jpg")
        held.header.main_streams.substreamsinfo.unpacksizes[0] = claimed


def lying_tar(path: Path, claimed: int) -> None:
    content = bytearray(tar_bytes([Item("a.jpg", b"x" * 1000)]))
    info = tarfile.TarInfo.frombuf(bytes(content[:512]), "utf-8", "strict")
    info.size = claimed
    content[:512] = info.tobuf(tarfile.USTAR_FORMAT)
    path.write_bytes(content)


LIES: dict[str, tuple[Kind, Callable[[Path], object]]] = {
    "zip, more than there is": ("zip", lambda path: lying_zip(path, 5000)),
    "zip, less than there is": ("zip", lambda path: lying_zip(path, 10)),
    "7z, more than there is": ("7z", lambda path: lying_7z(path, 1500)),
    "7z, less than there is": ("7z", lambda path: lying_7z(path, 10)),
    "tar, more than there is": ("tar", lambda path: lying_tar(path, 1_000_000)),
    "tar, less than there is": ("tar", lambda path: lying_tar(path, 10)),
    "rar, more than there is": (
        "rar", lambda path: path.write_bytes(rar5([Item("a.jpg", b"x" * 1000)], claimed=5000)),
    ),
    "rar, less than there is": (
        "rar", lambda path: path.write_bytes(rar5([Item("a.jpg", b"x" * 1000)], claimed=10)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LIES)
def test_sizes_that_lie_refuse_the_archive(place: Place, case: str) -> None:
    kind, make = LIES[case]
    make(place.archive(kind))
    place.refuses(place.archive(kind), "damaged or cut short")


@pytest.mark.parametrize("kind", ["zip", "7z", "rar"])
def test_a_size_that_no_disk_holds_is_refused_before_anything_is_written(place: Place, kind: Kind) -> None:
    match kind:
        case "zip":
            lying_zip(place.archive(kind), 0xFFFF_FFF0)
            limits = Limits(bytes=4_000_000_000)
        case "7z":
            lying_7z(place.archive(kind), 10**13)
            limits = Limits()
        case _:
            place.archive(kind).write_bytes(rar5([Item("a.jpg")], claimed=10**13))
            limits = Limits()
    place.refuses(place.archive(kind), "it unpacks to more than", "AGECLS_UNPACK_BYTES", limits=limits)


ZEROS = [Item("zeros.bin", bytes(1_000_000))]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("tar", "rar")])
def test_a_bomb_is_refused_for_its_ratio(place: Place, kind: Kind) -> None:
    archive = pack(place.archive(kind), kind, ZEROS)
    limits = Limits(floor=10_000, ratio=20)
    place.refuses(archive, "more than 20 times its own", "AGECLS_UNPACK_RATIO", limits=limits)
    assert unpack(archive, place.into, lambda line: None).bytes == 1_000_000


def test_a_bomb_of_200_mb_is_refused_by_the_defaults(place: Place) -> None:
    place.archive("tar.zst").write_bytes(squeeze(tar_bytes([Item("zeros.bin", bytes(200_000_000))]), "tar.zst"))
    place.refuses(place.archive("tar.zst"), "more than 200 times its own")


@pytest.mark.parametrize("kind", KINDS)
def test_more_bytes_than_allowed_are_refused(place: Place, kind: Kind) -> None:
    archive = pack(place.archive(kind), kind, PLAIN)
    place.refuses(archive, "0.000 GB", "AGECLS_UNPACK_BYTES", limits=Limits(bytes=119_999))
    assert unpack(archive, place.into, lambda line: None, Limits(bytes=200_000)).bytes == 120_000


@pytest.mark.parametrize("kind", FAMILIES)
def test_more_entries_than_allowed_are_refused(place: Place, kind: Kind) -> None:
    archive = pack(place.archive(kind), kind, PLAIN)
    place.refuses(archive, "more than 39 entries", "AGECLS_UNPACK_FILES", limits=Limits(files=39))
    assert unpack(archive, place.into, lambda line: None, Limits(files=40)).files == 40


def test_entries_that_share_their_bytes_refuse_a_zip(place: Place) -> None:
    """Both entries of the directory point to one local header."""
    archive = pack(place.archive("zip"), "zip", [Item("a.jpg", bytes(5000)), Item("b.jpg", bytes(5000))])
    content = bytearray(archive.read_bytes())
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1)
    struct.pack_into("<I", content, second + 42, 0)
    archive.write_bytes(content)
    place.refuses(archive, "its entries overlap", "'b.jpg'")


def test_an_entry_quoted_inside_another_refuses_a_zip(place: Place) -> None:
    """The first entry is stored and holds the second one, header and all: what Fifield's bombs are made of."""
    with zipfile.ZipFile(place.archive("zip"), "w") as held:
        held.writestr("b.jpg", b"face" * 100)
    inner = place.archive("zip").read_bytes()
    with zipfile.ZipFile(place.archive("zip"), "w") as held:
        held.writestr("a.jpg", inner[: inner.index(b"PK\x01\x02")])
        held.writestr("b.jpg", b"face" * 100)
    content = bytearray(place.archive("zip").read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, entry + 42, 30 + len("a.jpg"))
    place.archive("zip").write_bytes(content)
    place.refuses(place.archive("zip"), "its entries overlap")


def sparse_tar(size: int) -> bytes:
    """A GNU tar of one file that is nothing but a hole, of so many bytes."""
    info = tarfile.TarInfo("hole.bin")
    info.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[386:410] = f"{size:011o}\0{0:011o}\0".encode()
    head[483:495] = f"{size:011o}\0".encode()
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return bytes(head) + bytes(tarfile.BLOCKSIZE * 2)


def test_a_hole_in_a_tar_counts_as_what_it_unpacks_to(place: Place) -> None:
    place.archive("tar").write_bytes(sparse_tar(8_000_000_000))
    place.refuses(place.archive("tar"), "more than 200 times its own")
    place.archive("tar").write_bytes(sparse_tar(50_000))
    assert unpack(place.archive("tar"), place.into, lambda line: None).bytes == 50_000
    assert (place.into / "hole.bin").read_bytes() == bytes(50_000)


def test_a_header_as_large_as_memory_refuses_a_tar(place: Place) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.pax_headers = {"comment": "x" * 3_000_000}
        tar.addfile(info)
    place.archive("tar.gz").write_bytes(squeeze(buffer.getvalue(), "tar.gz"))
    place.refuses(place.archive("tar.gz"), "a header of 3,0")


def test_a_header_that_leads_backwards_refuses_a_tar(place: Place) -> None:
    """With a negative size, Python's own tarfile before 3.11.14 reads the same header for ever."""
    info = tarfile.TarInfo("a.jpg")
    info.size = -1024
    place.archive("tar").write_bytes(tar_bytes(PLAIN[:1])[:3584] + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    place.refuses(place.archive("tar"), "damaged or cut short")


@pytest.mark.parametrize("make", [lambda: rar5([Item("a.jpg")], method=3), lambda: rar3([Item("a.jpg")], method=0x33)])
def test_a_compressed_rar_without_a_program_says_what_to_install(
    place: Place, monkeypatch: pytest.MonkeyPatch, make: Callable[[], bytes]
) -> None:
    place.archive("rar").write_bytes(make())
    monkeypatch.setenv("PATH", str(place.top / "packed"))
    place.refuses(place.archive("rar"), "needs a program", "apt install unrar")


@pytest.mark.parametrize(("kind", "package"), [("7z", "py7zr"), ("rar", "rarfile")])
def test_a_missing_package_says_what_to_install(place: Place, kind: Kind, package: str) -> None:
    """In a Python that finds, before the package, one which cannot be imported."""
    pack(place.archive(kind), kind, PLAIN)
    (place.top / "packed" / f"{package}.py").write_text("raise ImportError('not here')")
    program = (
        "from pathlib import Path; from agecls.data.archives import unpack; from agecls.errors import StorageError\n"
        f"try: unpack(Path({str(place.archive(kind))!r}), Path({str(place.into)!r}), print)\n"
        "except StorageError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(place.top / "packed")}
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert f"needs the package {package}" in told.stdout
    assert "pip install 'agecls[archives]'" in told.stdout
    assert sorted(each.name for each in place.into.iterdir()) == ["old.csv"]


def test_a_way_of_packing_that_cannot_be_read_says_so(place: Place) -> None:
    content = bytearray(pack(place.archive("zip"), "zip", [Item("a.jpg")]).read_bytes())
    for offset in (8, content.index(b"PK\x01\x02") + 10):
        struct.pack_into("<H", content, offset, 9)  # Deflate64, which Windows takes for large files
    place.archive("zip").write_bytes(content)
    place.refuses(place.archive("zip"), "packed in a way that cannot be read here", "pack it again")


def test_a_zstd_window_of_gigabytes_says_so(place: Place) -> None:
    """As ``zstd --long=31`` writes it; zstd itself asks to be told before it takes so much memory."""
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    place.archive("tar.zst").write_bytes(packer.compress(tar_bytes(PLAIN)) + packer.flush())
    place.refuses(place.archive("tar.zst"), "packed in a way that cannot be read here", "window above 128 MB")


def test_what_is_no_archive_is_refused(place: Place) -> None:
    (place.top / "packed" / "faces.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    place.refuses(place.top / "packed" / "faces.jpg", "no archive", "tar.zst")
    (place.top / "packed" / "empty.zip").write_bytes(b"")
    place.refuses(place.top / "packed" / "empty.zip", "no archive")


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_said_and_left_as_it_was(place: Place, small_disk: Path, kind: Kind) -> None:
    archive = pack(place.archive(kind), kind, [Item("a.bin", os.urandom(2_000_000))])
    with pytest.raises(StorageError, match=r"the disk is full|there is no room") as caught:
        unpack(archive, small_disk / "data", lambda line: None)
    assert "larger disk" in caught.value.remedy
    assert list((small_disk / "data").iterdir()) == []
