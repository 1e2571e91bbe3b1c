"""Freezing a split: the same bytes everywhere, twins kept together, nothing lost, nothing half-written."""

import csv
import json
import os
import shutil
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn import BYTE_TWINS, STAMP_TWINS
from PIL import Image

from agecls.bins import Bins
from agecls.data.conflicts import find_conflicts
from agecls.data.duplicates import Links, group_names
from agecls.data.faces import Faces
from agecls.data.freeze import Frozen, divide, freeze_split
from agecls.data.sources import SourceName
from agecls.data.split import PARTS, Split
from agecls.errors import DataError, SplitError, UsageError

GOLDEN = Path(__file__).parent / "golden"
COMMITTED = Path(__file__).parents[2] / "splits" / "utkface"
TABLES = [*(f"{part}.csv" for part in PARTS), "quarantine.csv", "conflicts.csv", "links.csv", "rows.txt"]
FILES = [*TABLES, "manifest.json"]
SEVEN = Bins.parse("7")

FREEZE = """
import sys
from pathlib import Path
from agecls.bins import Bins
from agecls.data.freeze import freeze_split
from agecls.data.sources import TableOptions
from agecls.errors import AgeclsError

source, root, out, table = sys.argv[1:5]
options = TableOptions(table=Path(table)) if table else None
try:
    freeze_split([(source, Path(root))], Path(out), fractions=(0.6, 0.2, 0.2), seed=42, bins=Bins.parse("7"),
                 options=options)
except AgeclsError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def freeze(root: Path, out: Path, source: SourceName = "utkface", seed: int = 42) -> Frozen:
    return freeze_split([(source, root)], out, fractions=(0.6, 0.2, 0.2), seed=seed, bins=SEVEN)


def command(source: str, root: Path, out: Path, table: Path | str = "") -> list[str]:
    return [sys.executable, "-c", FREEZE, source, str(root), str(out), str(table)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def part_of(split: Split) -> dict[str, str]:
    return {path: part for part in PARTS for path in split.parts[part].table["path"]}


def write_bitmap(path: Path, colour: int) -> None:
    """Write a BMP of 2 by 2 pixels of one colour byte by byte, so that its hash depends on no library."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = colour.to_bytes(3, "little") * 2 + bytes(2)
    header = (
        b"BM" + struct.pack("<IHHI", 70, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 24, 0, 16, 0, 0, 0, 0)
    )
    path.write_bytes(header + row * 2)


def golden_faces(folder: Path) -> Path:
    with (GOLDEN / "faces.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            write_bitmap(folder / row["file"], int(row["colour"]))
    (folder / "readme.txt").write_text("no image")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_a_fixed_folder_gives_the_golden_files(name: str, tmp_path: Path) -> None:
    out = freeze(golden_faces(tmp_path / "faces"), tmp_path / "split").split.folder
    expected, found = ((folder / name).read_bytes() for folder in (GOLDEN, out))
    if name == "manifest.json":
        golden, manifest = json.loads(expected), json.loads(found)
        assert set(manifest.pop("software")) == {"agecls", "numpy", "pandas", "pillow"}
        assert list(manifest) == list(golden)
        assert manifest == golden
    else:
        assert found == expected


def test_the_same_folder_gives_the_same_bytes_from_another_place_in_another_order(
    utk_folder: Path, tmp_path: Path
) -> None:
    (utk_folder / "notes.txt").write_text("no image")
    (utk_folder / "20_0_0_1.jpg").write_text("no picture")
    first = freeze(utk_folder, tmp_path / "first").split.folder
    moved = tmp_path / "elsewhere" / "renamed"
    moved.mkdir(parents=True)
    for path in sorted(utk_folder.iterdir(), reverse=True):
        shutil.copyfile(path, moved / path.name)
    second = freeze(moved, tmp_path / "other name").split.folder
    assert set(contents(first)) == set(FILES)
    assert contents(first) == contents(second)


def test_the_language_of_the_machine_changes_nothing(utk_folder: Path, tmp_path: Path) -> None:
    for name in ("\xe9t\xe9", "Zebra", "apple", "\u5e74"):
        (utk_folder / name).mkdir()
        shutil.copyfile(utk_folder / BYTE_TWINS[0], utk_folder / name / "30_0_0_20170401000000000.jpg")
    (utk_folder / "\xe4_name.jpg").touch()
    outs = []
    for number, language in enumerate(["C", "C.UTF-8"]):
        environment = {**os.environ, "LC_ALL": language, "LANG": language, "PYTHONHASHSEED": str(number)}
        outs.append(tmp_path / f"out{number}")
        subprocess.run(command("utkface", utk_folder, outs[-1]), env=environment, check=True)
    assert contents(outs[0]) == contents(outs[1])
    assert "\xe9t\xe9/30_0_0_20170401000000000.jpg" in part_of(Split.load(outs[0]))


def test_another_seed_gives_another_split(utk_folder: Path, tmp_path: Path) -> None:
    splits = [freeze(utk_folder, tmp_path / str(seed), seed=seed).split for seed in (1, 2)]
    assert splits[0].fingerprint != splits[1].fingerprint
    assert part_of(splits[0]).keys() == part_of(splits[1]).keys()
    assert [split.manifest["seed"] for split in splits] == [1, 2]


@pytest.mark.parametrize("seed", range(8))
def test_images_of_one_stamp_or_the_same_bytes_share_a_part(utk_folder: Path, tmp_path: Path, seed: int) -> None:
    frozen = freeze(utk_folder, tmp_path / "split", seed=seed)
    part = part_of(frozen.split)
    assert part[STAMP_TWINS[0]] == part[STAMP_TWINS[1]]
    assert part[BYTE_TWINS[0]] == part[BYTE_TWINS[1]]
    groups = frozen.split.manifest["groups"]
    assert (groups["total"], groups["of_several_images"], groups["largest"]) == (62, 2, 2)
    assert groups["links"] == {"bytes": 1, "pixels": 0, "near": 0, "stamp": 1}


@pytest.mark.parametrize("seed", range(8))
def test_a_chain_of_twins_shares_a_part(utk_folder: Path, tmp_path: Path, seed: int) -> None:
    # BYTE_TWINS[1] and link have one stamp; link and end the same bytes; end and STAMP_TWINS one stamp.
    link, end = "70_0_0_20170202000000001.jpg", "1_0_0_20170201000000000.jpg"
    Image.new("RGB", (40, 40), (9, 99, 9)).save(utk_folder / link)
    shutil.copyfile(utk_folder / link, utk_folder / end)
    split = freeze(utk_folder, tmp_path / "split", seed=seed).split
    chain = [*BYTE_TWINS, link, end, *STAMP_TWINS]
    assert len({part_of(split)[name] for name in chain}) == 1
    table = Faces.concat(list(split.parts.values())).table.set_index("path")
    assert len(set(table.loc[chain, "group"])) == 1
    assert split.manifest["groups"]["largest"] == 6


def test_what_cannot_be_used_is_quarantined_with_its_reason_and_nothing_is_lost(
    utk_folder: Path, tmp_path: Path
) -> None:
    whole = (utk_folder / BYTE_TWINS[0]).read_bytes()
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(whole)
    stamp = "20170501000000000.jpg"
    (utk_folder / f"20_0_0_{stamp}").touch()
    (utk_folder / f"21_0_0_{stamp}").write_bytes(whole[: len(whole) // 2])
    (utk_folder / f"22_0_0_{stamp}").write_text("this is text")
    (utk_folder / f"23_0_0_{stamp}").symlink_to(outside)
    (utk_folder / f"24_0_0_{stamp}").symlink_to(utk_folder / "nowhere.jpg")
    (utk_folder / f"25_0_0_{stamp}").symlink_to(utk_folder / BYTE_TWINS[0])
    (utk_folder / f"117_0_0_{stamp}").write_bytes(whole)
    (utk_folder / f"20_2_0_{stamp}").write_bytes(whole)
    (utk_folder / f"20_0_5_{stamp}").write_bytes(whole)
    (utk_folder / f"x_0_0_{stamp}").write_bytes(whole)
    (utk_folder / "39_1_20170116174525125.jpg.chip.jpg").write_bytes(whole)
    (utk_folder / "sub").mkdir()
    (utk_folder / "sub" / "labels, old.txt").write_text("x")
    (utk_folder / "26_0_0_bad\nline.jpg").write_bytes(whole)
    (utk_folder / "linked").symlink_to(tmp_path)
    frozen = freeze(utk_folder, tmp_path / "split")
    quarantine = pd.read_csv(tmp_path / "split" / "quarantine.csv", dtype=str)
    assert list(quarantine.columns) == ["path", "reason"]
    assert dict(zip(quarantine["path"], quarantine["reason"], strict=True)) == {
        "117_0_0_20170501000000000.jpg": "age 117 is outside 0..116",
        "20_0_0_20170501000000000.jpg": "empty file",
        "20_0_5_20170501000000000.jpg": "unknown race code '5'",
        "20_2_0_20170501000000000.jpg": "unknown gender code '2'",
        "21_0_0_20170501000000000.jpg": "unreadable or truncated image",
        "22_0_0_20170501000000000.jpg": "unreadable or truncated image",
        "23_0_0_20170501000000000.jpg": "symbolic link out of the root",
        "24_0_0_20170501000000000.jpg": "dangling symbolic link",
        "26_0_0_bad\\nline.jpg": "control character in the file name",
        "39_1_20170116174525125.jpg.chip.jpg": "name lacks a field: expected age_gender_race_stamp",
        "linked": "symbolic link to a folder is not followed",
        "sub/labels, old.txt": "not an image file",
        "x_0_0_20170501000000000.jpg": "age 'x' is not a whole number",
    }
    assert quarantine["path"].is_monotonic_increasing
    assert [tuple(row) for row in frozen.rejected] == list(quarantine.itertuples(index=False, name=None))
    every = [path for path in utk_folder.rglob("*") if path.is_symlink() or path.is_file()]
    assert len(part_of(frozen.split)) + len(quarantine) == len(every)
    assert frozen.split.manifest["counts"]["quarantine"] == len(quarantine)
    assert frozen.split.manifest["sources"] == [{"name": "utkface", "images": len(part_of(frozen.split))}]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_image_without_permission_is_quarantined(utk_folder: Path, tmp_path: Path) -> None:
    (utk_folder / BYTE_TWINS[0]).chmod(0)
    assert freeze(utk_folder, tmp_path / "split").rejected == [(BYTE_TWINS[0], "cannot be read (EACCES)")]


def write_table(folder: Path, rows: list[tuple[str, str, str, str, str]]) -> Path:
    for number, (path, *_) in enumerate(rows):
        write_bitmap(folder / path, 50_000 + number)
    table = pd.DataFrame(rows, columns=["path", "age", "gender", "ethnicity", "identity"])
    table.to_csv(folder / "labels.csv", index=False)
    return folder


def test_several_sources_keep_their_names_and_their_age_ranges(utk_folder: Path, tmp_path: Path) -> None:
    ages = ["16-25", "25-35", "70-116", "40"]
    rows = [(f"{n}.bmp", ages[n % 4], ["male", ""][n % 2], ["", "asian"][n % 2], f"p{n // 2}") for n in range(20)]
    shutil.copyfile(utk_folder / BYTE_TWINS[0], utk_folder / "3.bmp")
    (utk_folder / "3.bmp").rename(utk_folder / "30_0_0_5.jpg")
    table = write_table(tmp_path / "mine", rows)
    (table / "stray.bmp").touch()
    (utk_folder / "stray.bmp").touch()
    sources: list[tuple[SourceName, Path]] = [("csv", table), ("utkface", utk_folder)]
    frozen = freeze_split(sources, tmp_path / "split", fractions=(0.5, 0.25, 0.25), seed=1, bins=SEVEN)
    split = Split.load(tmp_path / "split")
    assert split.sources == ("csv", "utkface")
    assert split.manifest["sources"] == [{"name": "csv", "images": 20}, {"name": "utkface", "images": 65}]
    assert [tuple(row) for row in frozen.rejected] == [
        ("stray.bmp", "name lacks a field: expected age_gender_race_stamp [utkface]"),
        ("stray.bmp", "no row in the label table [csv]"),
    ]
    every = Faces.concat(list(split.parts.values())).table.set_index("path")
    assert set(every.loc[[path for path, *_ in rows], "source"]) == {"csv"}
    assert every.loc["1.bmp", ["age_low", "age_high"]].tolist() == [25, 35]
    assert every.loc["0.bmp", "group"] == every.loc["1.bmp", "group"] != every.loc["2.bmp", "group"]
    # 25-35 stands across 15-30 and 31-40; a range inside one bin is as good as an age.
    for faces in split.parts.values():
        targets = pd.Series(faces.targets("age", SEVEN), index=faces.table["path"])
        for path, age, *_ in rows:
            if path in targets:
                assert targets[path] == {"16-25": 3, "25-35": -1, "70-116": 6, "40": 4}[age]
    unlabelled = sum(labels["age"].get("unlabelled", 0) for labels in split.manifest["labels"].values())
    assert unlabelled == 5
    assert (tmp_path / "split" / "train.csv").read_text().splitlines()[0].endswith(",group,age_low,age_high")


def test_range_columns_stand_only_in_the_parts_that_need_them(tmp_path: Path) -> None:
    rows = [(f"{n}.bmp", "20", "male", "white", "") for n in range(30)] + [("r.bmp", "3-9", "male", "white", "")]
    split = freeze(write_table(tmp_path / "mine", rows), tmp_path / "split", source="csv").split
    for part in PARTS:
        header = (tmp_path / "split" / f"{part}.csv").read_text().splitlines()[0]
        assert header.endswith("age_low,age_high") == ("r.bmp" in set(split.parts[part].table["path"]))


def test_one_source_twice_is_refused(utk_folder: Path, tmp_path: Path) -> None:
    sources: list[tuple[SourceName, Path]] = [("utkface", utk_folder), ("utkface", utk_folder)]
    with pytest.raises(UsageError, match="--source utkface is given twice"):
        freeze_split(sources, tmp_path / "split", fractions=(0.6, 0.2, 0.2), seed=1, bins=SEVEN)


@pytest.mark.parametrize("kind", ["split", "file", "folder", "link", "dangling link"])
def test_nothing_that_exists_is_written_over(kind: str, utk_folder: Path, tmp_path: Path) -> None:
    out, target = tmp_path / "split", tmp_path / "target"
    match kind:
        case "split":
            freeze(utk_folder, out, seed=1)
        case "file":
            out.write_text("kept")
        case "folder":
            (out / "kept").mkdir(parents=True)
        case "link":
            target.mkdir()
            out.symlink_to(target)
        case _:
            out.symlink_to(target)
    before = sorted((str(path), path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*"))
    with pytest.raises(SplitError, match="exists already; a frozen split is never written over"):
        freeze(utk_folder, out, seed=2)
    assert sorted((str(path), path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*")) == before


def test_an_empty_folder_may_become_a_split(utk_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    freeze(utk_folder, tmp_path / "split")
    assert set(contents(tmp_path / "split")) == set(FILES)


@pytest.mark.parametrize(("count", "what"), [(2, "2 usable images are too few to split"), (3, "no image falls to")])
def test_too_few_images_are_refused_and_nothing_is_written(count: int, what: str, tmp_path: Path) -> None:
    rows = [(f"{n}.bmp", "20", "male", "white", "one person") for n in range(count)]
    root = write_table(tmp_path / "mine", rows)
    with pytest.raises(DataError, match=what):
        freeze(root, tmp_path / "out" / "split", source="csv")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing_half_written(utk_folder: Path, tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n" + FREEZE
    arguments = command("utkface", utk_folder, tmp_path / "splits" / "mine")
    done = subprocess.run([*arguments[:2], limited, *arguments[3:]], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert done.returncode != 0
    assert list((tmp_path / "splits").iterdir()) == []


def test_of_two_processes_that_freeze_at_once_exactly_one_wins(tmp_path: Path) -> None:
    rows = [(f"{n}.bmp", str(n % 100), "male", "white", "") for n in range(60)]
    root = write_table(tmp_path / "mine", rows)
    content = (root / "labels.csv").read_bytes()
    (root / "labels.csv").unlink()
    out, processes, pipes = tmp_path / "splits" / "mine", [], []
    for number in range(2):
        pipes.append(tmp_path / f"table{number}.csv")
        os.mkfifo(pipes[-1])
        arguments = command("csv", root, out, pipes[-1])
        processes.append(subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True))
    # A pipe opens only once its process reads it: both have then seen that nothing is there yet.
    opened = [pipe.open("wb") for pipe in pipes]
    for file in opened:
        file.write(content)
        file.close()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1]
    assert "SplitError" in "".join(errors)
    assert "exists already" in "".join(errors)
    assert sum(Split.load(out).manifest["counts"].values()) == 60
    assert list(out.parent.iterdir()) == [out]


def test_the_manifest_counts_what_the_tables_hold(utk_folder: Path, tmp_path: Path) -> None:
    split = freeze(utk_folder, tmp_path / "split").split
    strata: Counter[str] = Counter()
    for number, part in enumerate(PARTS):
        faces, labels = split.parts[part], split.manifest["labels"][part]
        assert labels["age_mean"] == pytest.approx(faces.years.mean(), abs=1e-4)
        assert list(labels["age"].values()) == np.bincount(faces.targets("age", SEVEN), minlength=7).tolist()
        assert labels["gender"] == faces.table["gender"].value_counts().to_dict()
        strata[part] = sum(counts[number] for counts in split.manifest["strata"].values())
        assert strata[part] == len(faces) == split.manifest["counts"][part]
    assert split.manifest["bins"] == SEVEN.to_json()
    assert split.manifest["fractions"] == [0.6, 0.2, 0.2]


@pytest.fixture(scope="module")
def real(utkface: Path, tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    """The shared UTKFace, frozen as the committed split was."""
    return freeze(utkface, tmp_path_factory.mktemp("real") / "split")


@pytest.mark.real
def test_utkface_is_split_evenly_and_without_a_twin_across(real: Frozen) -> None:
    split = real.split
    assert {row.path: row.reason for row in real.rejected} == dict.fromkeys(
        [
            "39_1_20170116174525125.jpg.chip.jpg",
            "61_1_20170109142408075.jpg.chip.jpg",
            "61_1_20170109150557335.jpg.chip.jpg",
        ],
        "name lacks a field: expected age_gender_race_stamp",
    )
    every = Faces.concat(list(split.parts.values()))
    assert len(every) == 18_963
    for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
        faces = split.parts[part]
        assert abs(len(faces) - share * len(every)) <= split.manifest["groups"]["largest"]
        assert abs(faces.years.mean() - every.years.mean()) < 0.3
        for task in ("age", "gender", "ethnicity"):
            here, whole = (np.bincount(each.targets(task, SEVEN)) / len(each) for each in (faces, every))
            assert np.abs(here - whole).max() < 0.005
    part_of_row = pd.concat([split.parts[part].table.assign(part=part) for part in PARTS])
    stamp = part_of_row["path"].str.extract(r"_([0-9]{17})[^_]*$")[0]
    assert stamp.notna().mean() > 0.99
    assert part_of_row["part"].groupby(stamp).nunique().max() == 1
    assert part_of_row.groupby("sha256")["part"].nunique().max() == 1
    assert part_of_row["sha256"].duplicated().sum() > 100


@pytest.mark.real
@pytest.mark.skipif(not COMMITTED.is_dir(), reason="splits/utkface is not there to compare with")
def test_the_committed_split_follows_from_the_images_and_its_person_links(real: Frozen, tmp_path: Path) -> None:
    # Embedding every face takes some twenty minutes, so what the faces say is taken from the committed links.
    told = pd.read_csv(COMMITTED / "links.csv", dtype=str, keep_default_na=False)
    ours = pd.read_csv(real.split.folder / "links.csv", dtype=str, keep_default_na=False)
    assert told[told["kind"] != "person"].reset_index(drop=True).equals(ours)
    table = pd.concat([faces.table for faces in real.split.parts.values()]).sort_values("path", ignore_index=True)
    row = {path: number for number, path in enumerate(table["path"])}
    links = [
        Links(str(kind), each["first"].map(row).to_numpy(np.int64), each["second"].map(row).to_numpy(np.int64))
        for kind, each in told.groupby("kind")
    ]
    faces = Faces(table.assign(group=group_names(table["sha256"].tolist(), links)))
    conflicting = set(faces.table["group"][find_conflicts(faces.table, links) != ""])
    parts, _ = divide(faces, SEVEN, (0.6, 0.2, 0.2), 42, conflicting)
    for part in PARTS:
        parts[part].to_csv(tmp_path / f"{part}.csv")
        assert (tmp_path / f"{part}.csv").read_bytes() == (COMMITTED / f"{part}.csv").read_bytes()


@pytest.mark.real
@pytest.mark.skipif(not COMMITTED.is_dir(), reason="splits/utkface is not there")
def test_the_committed_split_has_nothing_of_one_group_across_its_parts() -> None:
    split = Split.load(COMMITTED)
    part = part_of(split)
    links = pd.read_csv(COMMITTED / "links.csv", dtype=str)
    assert set(links["kind"]) == {"bytes", "near", "stamp", "person"}
    assert (links["first"].map(part) == links["second"].map(part)).all()
    ages = [split.parts[each].table["age_low"].mean() for each in PARTS]
    assert max(ages) - min(ages) < 0.3
