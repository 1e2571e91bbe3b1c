"""A frozen split: read back whole, or refused by the name of what was changed."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agecls.bins import Bins
from agecls.data.faces import Faces
from agecls.data.freeze import freeze_split
from agecls.data.split import PARTS, Part, Split, fingerprint, parse_fractions, refuse_shared_groups
from agecls.errors import LeakageError, SplitError, UsageError

FILES = [*(f"{part}.csv" for part in PARTS), "quarantine.csv"]


@pytest.fixture(scope="session")
def frozen(utk_original: Path, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """The drawn faces, frozen; treat the folder as read-only."""
    folder = tmp_path_factory.mktemp("frozen")
    faces = shutil.copytree(utk_original, folder / "faces")
    (faces / "notes.txt").write_text("no image")
    out = folder / "split"
    return freeze_split([("utkface", faces)], out, fractions=(0.6, 0.2, 0.2), seed=42, bins=Bins.parse("7")).split


@pytest.fixture
def copy(frozen: Split, tmp_path: Path) -> Path:
    """A copy of the frozen split's folder."""
    return shutil.copytree(frozen.folder, tmp_path / "split")


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def seal(folder: Path) -> None:
    """Make the manifest agree with the files, as an edit that hides itself would."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["sha256"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
        manifest["fingerprint"] = fingerprint(manifest["sha256"])

    edit_manifest(folder, change)


def test_what_was_frozen_reads_back(frozen: Split) -> None:
    split = Split.load(frozen.folder)
    assert split.name == "split"
    assert split.sources == ("utkface",)
    assert split.fingerprint == frozen.fingerprint
    assert len(split.fingerprint) == 64
    assert split.manifest["counts"] == {**{part: len(split.parts[part]) for part in PARTS}, "quarantine": 1}
    assert sum(len(split.parts[part]) for part in PARTS) == 64


def test_a_moved_split_is_the_same_split(frozen: Split, copy: Path) -> None:
    assert Split.load(copy).fingerprint == frozen.fingerprint


@pytest.mark.parametrize("name", FILES)
@given(place=st.integers(0, 10_000), change=st.integers(1, 255))
def test_any_changed_byte_is_refused_by_the_name_of_its_file(
    name: str, place: int, change: int, frozen: Split, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "tampered"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(frozen.folder, folder)
    content = bytearray((folder / name).read_bytes())
    content[place % len(content)] ^= change
    (folder / name).write_bytes(content)
    with pytest.raises(SplitError, match=f"{name} is not the file that was frozen"):
        Split.load(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "change",
    [lambda text: text + b"\n", lambda text: text[:-1], lambda text: text.replace(b"\n", b"\r\n"), lambda _: b""],
)
def test_other_edits_are_refused_as_well(name: str, change: Callable[[bytes], bytes], copy: Path) -> None:
    (copy / name).write_bytes(change((copy / name).read_bytes()))
    with pytest.raises(SplitError, match=f"{name} is not the file that was frozen"):
        Split.load(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(SplitError, match=f"lacks {name}"):
        Split.load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.update(fingerprint="0" * 64), "manifest of .* was edited"),
        (lambda manifest: manifest["sha256"].update({"test.csv": "0" * 64}), "test.csv is not the file"),
        (lambda manifest: manifest["sha256"].pop("test.csv"), "test.csv is not the file"),
        (lambda manifest: manifest["sha256"].pop("quarantine.csv"), "quarantine.csv is not the file"),
        (lambda manifest: manifest.update(sha256=[]), "manifest of .* was edited"),
        (lambda manifest: manifest.update(schema=2), "no manifest of schema 1"),
        (lambda manifest: manifest.pop("schema"), "no manifest of schema 1"),
        (lambda manifest: manifest.pop("sha256"), "lacks 'sha256'"),
        (lambda manifest: manifest.pop("fingerprint"), "lacks 'fingerprint'"),
        (lambda manifest: manifest.pop("bins"), "lacks 'bins'"),
        (lambda manifest: manifest["sources"][0].update(name="csv"), "manifest of .* was edited"),
        (lambda manifest: manifest["sources"][0].update(images=3), "manifest of .* was edited"),
        (lambda manifest: manifest["sources"].append({"name": "csv", "images": 1}), "manifest of .* was edited"),
        (lambda manifest: manifest.update(sources=[]), "manifest of .* was edited"),
        (lambda manifest: manifest.update(sources=5), "manifest of .* was edited"),
        (lambda manifest: manifest.update(sources=["utkface"]), "manifest of .* was edited"),
    ],
)
def test_an_edited_manifest_is_refused(change: Callable[[dict[str, Any]], object], message: str, copy: Path) -> None:
    edit_manifest(copy, change)
    with pytest.raises(SplitError, match=message) as refused:
        Split.load(copy)
    assert refused.value.remedy


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"'])
def test_a_manifest_that_is_none_is_refused(content: str, copy: Path) -> None:
    (copy / "manifest.json").write_text(content)
    with pytest.raises(SplitError, match=r"manifest\.json"):
        Split.load(copy)


def test_where_there_is_no_split_it_says_how_to_freeze_one(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="there is no split at") as refused:
        Split.load(tmp_path / "nowhere")
    assert refused.value.got == "no such folder"
    assert f"agecls split --out {tmp_path / 'nowhere'}" in refused.value.remedy
    with pytest.raises(SplitError, match="there is no split at") as refused:
        Split.load(tmp_path)
    assert refused.value.got == "a folder without manifest.json"


def test_a_group_in_two_parts_is_leakage_and_both_images_are_named(frozen: Split) -> None:
    train, valid = frozen.parts["train"].table, frozen.parts["valid"].table
    moved = valid.assign(group=[train["group"].iloc[0], *valid["group"].iloc[1:]])
    parts: dict[Part, Faces] = {**frozen.parts, "valid": Faces(moved)}
    with pytest.raises(LeakageError, match="1 group stands in more than one part") as refused:
        Split(frozen.folder, parts, frozen.manifest)
    assert refused.value.exit_code == 3
    assert f"{train['path'].iloc[0]} in train" in refused.value.got
    assert f"{valid['path'].iloc[0]} in valid" in refused.value.got


def test_one_content_in_two_parts_is_leakage_whatever_its_groups_say(frozen: Split) -> None:
    train, test = frozen.parts["train"].table, frozen.parts["test"].table
    copied = test.assign(sha256=[train["sha256"].iloc[0], *test["sha256"].iloc[1:]])
    parts: dict[Part, Faces] = {**frozen.parts, "test": Faces(copied)}
    with pytest.raises(LeakageError, match="1 image content stands in more than one part"):
        Split(frozen.folder, parts, frozen.manifest)


def test_two_parts_of_one_table_share_every_group(frozen: Split) -> None:
    count = frozen.parts["test"].table["group"].nunique()
    with pytest.raises(LeakageError, match=f"{count} groups stand in more than one part"):
        refuse_shared_groups({"valid": frozen.parts["test"], "test": frozen.parts["test"]})


def test_a_split_on_disk_that_leaks_is_refused_even_if_its_hashes_agree(copy: Path) -> None:
    lines = (copy / "train.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    moved = lines.pop()
    group = lines[1].rsplit(",", 1)[1]
    (copy / "train.csv").write_text("".join(lines), encoding="utf-8")
    with (copy / "test.csv").open("a", encoding="utf-8") as file:
        file.write(moved.rsplit(",", 1)[0] + "," + group)
    seal(copy)
    with pytest.raises(LeakageError) as refused:
        Split.load(copy)
    assert refused.value.exit_code == 3


def test_the_fingerprint_follows_the_three_tables_alone(frozen: Split) -> None:
    digests = dict(frozen.manifest["sha256"])
    assert fingerprint({**digests, "quarantine.csv": "0"}) == frozen.fingerprint
    others = {fingerprint({**digests, f"{part}.csv": "0"}) for part in PARTS}
    assert len({frozen.fingerprint, *others}) == 4


def test_roots_are_paired_in_the_order_of_the_manifest(frozen: Split, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    manifest = {**frozen.manifest, "sources": [{"name": "utkface", "images": 1}, {"name": "csv", "images": 1}]}
    split = Split(frozen.folder, frozen.parts, manifest)
    assert split.roots([one, two]) == {"utkface": one, "csv": two}
    assert split.roots([one]) == {"utkface": one, "csv": one}
    with pytest.raises(UsageError, match="one --root or 2"):
        split.roots([one, two, one])
    with pytest.raises(UsageError, match="one --root or 2"):
        split.roots([])
    with pytest.raises(UsageError, match=f"there is no folder {tmp_path / 'three'}"):
        split.roots([one, tmp_path / "three"])


def test_fractions_are_read_as_written() -> None:
    assert parse_fractions("0.6,0.2,0.2") == (0.6, 0.2, 0.2)
    assert parse_fractions(" .7, 0.15 ,1.5e-1") == (0.7, 0.15, 0.15)


@pytest.mark.parametrize(
    "text",
    ["", "0.5,0.5", "0.6,0.2,0.1,0.1", "0.6,0.2,0.3", "1,0,0", "0.8,0.4,-0.2", "a,b,c", "nan,0.5,0.5", "inf,0,0"],
)
def test_fractions_that_are_no_shares_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--fractions takes the shares") as refused:
        parse_fractions(text)
    assert refused.value.got == text
