"""Adopting a split of someone else: their tables understood, their leaks listed by name, or taken out."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn import BYTE_TWINS, STAMP_TWINS
from PIL import Image

from agecls.bins import Bins
from agecls.data.adopt import Adopted, adopt_split, freeze_published
from agecls.data.duplicates import find_links
from agecls.data.faces import Faces
from agecls.data.freeze import Grouping
from agecls.data.looks import look_at
from agecls.data.published import read_published
from agecls.data.sources import SourceName, TableOptions
from agecls.data.split import PARTS, Part, Split
from agecls.errors import DataError, LeakageError, SplitError

FOUR = Bins.parse("4")
Named = dict[Part, list[str]]


def share_out(names: Sequence[str]) -> Named:
    """Stamp twins in train and test, byte twins in train and valid, the rest in turn."""
    rest = [name for name in names if name not in (*STAMP_TWINS, *BYTE_TWINS)]
    named: Named = {part: rest[number::3] for number, part in enumerate(PARTS)}
    named["train"] += [STAMP_TWINS[0], BYTE_TWINS[0]]
    named["valid"].append(BYTE_TWINS[1])
    named["test"].append(STAMP_TWINS[1])
    return named


def write_tables(folder: Path, named: Mapping[Part, Sequence[str]], header: str = "path") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        (folder / f"{part}.csv").write_text("\n".join([header, *named[part]]) + "\n", encoding="utf-8")
    return [folder / f"{part}.csv" for part in PARTS]


def adopt(
    root: Path,
    tables: Sequence[Path],
    out: Path,
    *,
    source: SourceName = "utkface",
    repair: bool = False,
    options: TableOptions | None = None,
) -> Adopted:
    return adopt_split([(source, root)], tables, out, bins=FOUR, repair=repair, options=options)


def read(path: Path) -> list[dict[str, str]]:
    return [
        {str(name): value for name, value in row.items()}
        for row in pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
    ]


def quarantine(adopted: Adopted) -> list[tuple[str, str]]:
    return [(row["path"], row["reason"]) for row in read(adopted.frozen.split.folder / "quarantine.csv")]


def paths(adopted: Adopted) -> Named:
    return {part: faces.table["path"].tolist() for part, faces in adopted.frozen.split.parts.items()}


@pytest.fixture
def names(utk_folder: Path) -> list[str]:
    """Names of all drawn images."""
    return sorted(path.name for path in utk_folder.iterdir())


def test_as_it_is_every_image_stays_and_every_leak_is_listed(
    utk_folder: Path, names: list[str], tmp_path: Path
) -> None:
    named = share_out(names)
    adopted = adopt(utk_folder, write_tables(tmp_path / "theirs", named), tmp_path / "out")
    assert paths(adopted) == {part: sorted(named[part]) for part in PARTS}
    rows = read(tmp_path / "out" / "leaks.csv")
    assert [(row["part"], row["path"], row["with"], row["with_part"], row["why"]) for row in rows] == [
        ("train", STAMP_TWINS[0], STAMP_TWINS[1], "test", "stamp"),
        ("train", BYTE_TWINS[0], BYTE_TWINS[1], "valid", "bytes"),
    ]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["adopted"] == {
        "tables": ["train.csv", "valid.csv", "test.csv"], "repaired": False, "not_named": 0, "ages_differ": None
    }  # fmt: skip
    assert (manifest["seed"], manifest["fractions"], manifest["leaks"]) == (None, None, 2)
    assert manifest["on_conflict"] == "keep"
    assert {row["path"] for row in read(tmp_path / "out" / "conflicts.csv")} == set(BYTE_TWINS)
    assert {part: sum(counts[n] for counts in manifest["strata"].values()) for n, part in enumerate(PARTS)} == {
        part: len(named[part]) for part in PARTS
    }
    assert dict(adopted.dropped) == {"train": 2, "valid": 0}
    with pytest.raises(LeakageError):
        Split.load(tmp_path / "out")
    assert Split.load(tmp_path / "out", allow_leakage=True).leaks == 2


def test_repaired_what_leaks_is_dropped_and_named(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    named = share_out(names)
    adopted = adopt(utk_folder, write_tables(tmp_path / "theirs", named), tmp_path / "out", repair=True)
    split = Split.load(tmp_path / "out")
    gone = {STAMP_TWINS[0], BYTE_TWINS[0]}
    assert paths(adopted) == {part: sorted(set(named[part]) - gone) for part in PARTS}
    assert quarantine(adopted) == [
        (STAMP_TWINS[0], f"belongs with {STAMP_TWINS[1]} of test by stamp [train.csv]"),
        (BYTE_TWINS[0], f"belongs with {BYTE_TWINS[1]} of valid by bytes [train.csv]"),
    ]
    assert {row.reason for row in adopted.frozen.rejected} == {
        "belongs with an image of test [train.csv]",
        "belongs with an image of valid [train.csv]",
    }
    assert split.manifest["adopted"]["repaired"] is True
    assert split.manifest["adopted"]["dropped"] == {"train": 2, "valid": 0}
    assert split.manifest["leaks"] == 0
    assert split.manifest["groups"]["links"] == {"bytes": 0, "pixels": 0, "near": 0, "stamp": 0}
    assert not (tmp_path / "out" / "leaks.csv").exists()


def test_a_clean_split_has_no_leaks(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    named = share_out([name for name in names if name not in (*STAMP_TWINS, *BYTE_TWINS)])
    named = {part: [n for n in each if n not in (*STAMP_TWINS, *BYTE_TWINS)] for part, each in named.items()}
    adopted = adopt(utk_folder, write_tables(tmp_path / "theirs", named), tmp_path / "out")
    assert len(adopted.leaks) == 0
    assert Split.load(tmp_path / "out").manifest["adopted"]["not_named"] == 4
    assert quarantine(adopted) == []


def test_the_order_and_place_of_the_tables_change_no_byte(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    named = share_out(names)
    for repair in (False, True):
        outs = [tmp_path / f"one-{repair}", tmp_path / f"two-{repair}"]
        adopt(utk_folder, write_tables(tmp_path / "a", named), outs[0], repair=repair)
        turned: Named = {part: each[::-1] for part, each in named.items()}
        adopt(utk_folder, write_tables(tmp_path / "b" / "c", turned), outs[1], repair=repair)
        assert {p.name: p.read_bytes() for p in outs[0].iterdir()} == {
            p.name: p.read_bytes() for p in outs[1].iterdir()
        }


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("write", ["{}", "./{}", "/home/them/UTKFace/{}", r"C:\faces\{}", r"part1\{}", "UTKFace/{}"])
def test_their_ways_to_write_a_path(
    write: str, separator: str, mark: str, utk_folder: Path, names: list[str], tmp_path: Path
) -> None:
    named = share_out(names)
    rows: Named = {
        part: [separator.join([str(n), f"{n}.0", write.format(name), "1"]) for n, name in enumerate(each)]
        for part, each in named.items()
    }
    tables = write_tables(tmp_path / "theirs", rows, mark + separator.join(["", "Unnamed: 0", "image", "gender"]))
    assert paths(adopt(utk_folder, tables, tmp_path / "out")) == {part: sorted(named[part]) for part in PARTS}


def test_an_index_never_wins_even_where_files_bear_its_numbers(
    utk_folder: Path, names: list[str], tmp_path: Path
) -> None:
    for number in range(40):
        (utk_folder / str(number)).write_text("no image")
    named = share_out(names)
    # Half of their files are missing, so the index agrees with more names on disk than the column of images.
    rows: Named = {
        part: [f"{n},{name if n % 2 else f'gone{n}.jpg'}" for n, name in enumerate(each)]
        for part, each in named.items()
    }
    adopted = adopt(utk_folder, write_tables(tmp_path / "theirs", rows, "id,image"), tmp_path / "out")
    assert paths(adopted) == {part: sorted(named[part][1::2]) for part in PARTS}


def test_the_column_that_names_most_files_wins_unless_another_is_named(
    utk_folder: Path, names: list[str], tmp_path: Path
) -> None:
    named = share_out(names)
    rows: Named = {part: [f"{each[0]},{name}" for name in each] for part, each in named.items()}
    rows["train"][0] = f"{named['train'][0]},elsewhere.jpg"
    tables = write_tables(tmp_path / "theirs", rows, "first,image")
    options = TableOptions(columns={"path": "image"})
    assert "elsewhere.jpg" in dict(quarantine(adopt(utk_folder, tables, tmp_path / "named", options=options)))
    with pytest.raises(DataError, match="lacks the column picture"):
        adopt(utk_folder, tables, tmp_path / "wrong", options=TableOptions(columns={"path": "picture"}))


def test_a_table_in_which_nothing_matches_is_refused_with_what_is_there(
    utk_folder: Path, names: list[str], tmp_path: Path
) -> None:
    named = share_out(names)
    named["valid"] = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    tables = write_tables(tmp_path / "theirs", {part: [f"{n},x" for n in each] for part, each in named.items()}, "im,l")
    with pytest.raises(DataError) as caught:
        adopt(utk_folder, tables, tmp_path / "out")
    assert "valid.csv" in caught.value.what
    assert all(each in caught.value.got for each in ("'im', 'l'", "a.jpg, b.jpg, c.jpg", *names[:3]))
    assert "--column path=" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_a_table_without_rows_is_refused(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    named = share_out(names)
    named["test"] = []
    with pytest.raises(DataError, match=r"test\.csv has no rows"):
        adopt(utk_folder, write_tables(tmp_path / "theirs", named), tmp_path / "out")


def test_rows_without_a_usable_image_go_to_quarantine_as_they_are_written(
    utk_folder: Path, names: list[str], tmp_path: Path
) -> None:
    named = share_out(names)
    (utk_folder / "30_0_0_20180101000000000.jpg").write_bytes(b"")
    (utk_folder / "short_name.jpg").write_bytes((utk_folder / names[0]).read_bytes())
    named["test"] += ["/them/gone.jpg", "30_0_0_20180101000000000.jpg", "short_name.jpg", f"./{named['test'][0]}"]
    adopted = adopt(utk_folder, write_tables(tmp_path / "theirs", named), tmp_path / "out")
    assert quarantine(adopted) == sorted(
        [
            ("/them/gone.jpg", "file is missing [test.csv]"),
            (f"./{named['test'][0]}", "second row for the same file [test.csv]"),
            ("30_0_0_20180101000000000.jpg", "empty file [test.csv]"),
            ("short_name.jpg", "name lacks a field: expected age_gender_race_stamp [test.csv]"),
        ]
    )


def test_a_part_without_any_usable_image_is_refused(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    named = share_out(names)
    (utk_folder / "30_0_0_20180101000000000.jpg").write_bytes(b"")
    named["test"] = ["30_0_0_20180101000000000.jpg", "gone.jpg"]
    with pytest.raises(DataError, match="no image of test can be used") as caught:
        adopt(utk_folder, write_tables(tmp_path / "theirs", named), tmp_path / "out")
    assert "empty file" in caught.value.got
    assert "file is missing" in caught.value.got


def test_an_image_in_two_parts_is_a_leak_or_stays_in_the_stronger(
    utk_folder: Path, names: list[str], tmp_path: Path
) -> None:
    named = share_out(names)
    shared = named["test"][0]
    for part in ("train", "valid"):
        named[part].append(shared)
    tables = write_tables(tmp_path / "theirs", named)
    rows = read(adopt(utk_folder, tables, tmp_path / "out").frozen.split.folder / "leaks.csv")
    assert [(r["part"], r["with"], r["why"]) for r in rows if r["path"] == shared] == [
        ("train", shared, "file"), ("valid", shared, "file")
    ]  # fmt: skip
    fixed = adopt(utk_folder, tables, tmp_path / "fixed", repair=True)
    assert [part for part in PARTS if shared in paths(fixed)[part]] == ["test"]
    assert (shared, "stands in test.csv too [train.csv]") in quarantine(fixed)
    assert (shared, "stands in test.csv too [valid.csv]") in quarantine(fixed)
    assert Split.load(tmp_path / "fixed").manifest["adopted"]["dropped"] == {"train": 3, "valid": 1}


def test_names_in_several_folders(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    named = share_out(names)
    one, other, third = named["train"][:3]
    for folder, name in (("a", one), ("b", one), ("a", other), ("c/d", third)):
        (utk_folder / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(utk_folder / name, utk_folder / folder / name)
    for name in (one, third):
        (utk_folder / name).unlink()
    # Two files of one name; one exactly there and in a folder too; one that agrees in a folder, and one that does not.
    named["train"] = [*named["train"][3:], f"x/{one}", other, f"/them/d/{third}"]
    named["test"].append(f"e/{third}")
    adopted = adopt(utk_folder, write_tables(tmp_path / "theirs", named), tmp_path / "out")
    assert quarantine(adopted) == sorted(
        [
            (f"x/{one}", f"2 files have this name, such as a/{one} and b/{one} [train.csv]"),
            (f"e/{third}", f"file is missing; c/d/{third} is what another row means [test.csv]"),
        ]
    )
    assert f"c/d/{third}" in paths(adopted)["train"]
    assert other in paths(adopted)["train"]
    assert f"a/{other}" not in paths(adopted)["train"]


def test_a_bare_name_takes_no_file_from_a_path_of_another_machine(
    utk_folder: Path, names: list[str], tmp_path: Path
) -> None:
    named = share_out(names)
    shared = named["train"][0]
    (utk_folder / "part1").mkdir()
    (utk_folder / shared).rename(utk_folder / "part1" / shared)
    named["test"].append(f"/home/them/UTKFace/{shared}")
    other = named["train"][1]
    (utk_folder / other).rename(utk_folder / "part1" / other)
    named["test"].append(f"part1/{other}")
    adopted = adopt(utk_folder, write_tables(tmp_path / "theirs", named), tmp_path / "out")
    assert quarantine(adopted) == []
    assert {f"part1/{shared}", f"part1/{other}"} <= set(adopted.leaks["path"])


def test_source_csv_takes_the_labels_from_the_adopted_tables(
    utk_folder: Path, names: list[str], tmp_path: Path
) -> None:
    named = share_out(names)
    shared = named["test"][0]
    named["train"].append(shared)
    rows: Named = {
        part: [f"{n},/them/{name},{20 + n},{'f' if n % 2 else 'm'}" for n, name in enumerate(each)]
        for part, each in named.items()
    }
    rows["train"][-1] = rows["test"][0]
    rows["valid"][0] = f"0,{named['valid'][0]},old,m"
    tables = write_tables(tmp_path / "theirs", rows, ",file,years,sex")
    columns, codes = {"age": "years", "gender": "sex"}, {"gender:f": "female", "gender:m": "male"}
    adopted = adopt(utk_folder, tables, tmp_path / "out", source="csv", options=TableOptions(None, columns, codes))
    table = adopted.frozen.split.parts["valid"].table.set_index("path")
    assert table.loc[named["valid"][3], ["age_low", "age_high", "gender", "source"]].tolist() == [
        23,
        23,
        "female",
        "csv",
    ]
    reason = "age 'old' is not a whole number or a range such as 20-29 [valid.csv]"
    assert quarantine(adopted) == [(named["valid"][0], reason)]
    assert adopted.ages is None
    assert [row["why"] for row in read(tmp_path / "out" / "leaks.csv") if row["path"] == shared] == ["file"]
    with pytest.raises(DataError, match=r"train\.csv lacks the column age"):
        adopt(utk_folder, tables, tmp_path / "no", source="csv")


def test_rows_with_two_labels_for_one_file_are_not_used(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    named = share_out(names)
    shared = named["test"][0]
    rows: Named = {part: [f"{name},30" for name in each] for part, each in named.items()}
    rows["train"].append(f"{shared},31")
    tables = write_tables(tmp_path / "theirs", rows, "file,age")
    adopted = adopt(utk_folder, tables, tmp_path / "out", source="csv")
    reason = "rows with different labels for the same file"
    assert quarantine(adopted) == [(shared, f"{reason} [test.csv]"), (shared, f"{reason} [train.csv]")]


def test_source_csv_with_a_table_of_its_own(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("img,years\n" + "".join(f"{name},40\n" for name in names), encoding="utf-8")
    named = share_out(names)
    rows: Named = {part: [f"{name},{41 if name == each[0] else 40}" for name in each] for part, each in named.items()}
    tables = write_tables(tmp_path / "theirs", rows, "file,Age")
    options = TableOptions(labels, {"path": "img", "age": "years"})
    adopted = adopt(utk_folder, tables, tmp_path / "out", source="csv", options=options)
    assert set(adopted.frozen.split.parts["test"].table["age_low"]) == {40}
    assert adopted.ages is not None
    assert adopted.ages.rows == 3
    assert adopted.frozen.split.manifest["adopted"]["ages_differ"] == 3


def test_ages_that_differ_from_those_of_the_source_are_counted(
    utk_folder: Path, names: list[str], tmp_path: Path
) -> None:
    named = share_out(names)
    rows: Named = {part: [f"{name},{name.split('_')[0]}.0" for name in each] for part, each in named.items()}
    first, second = named["train"][:2]
    rows["train"][:2] = [f"{first},{int(first.split('_')[0]) + 1}", f"{second},0-116"]
    rows["test"][0] = f"{named['test'][0]},child"
    adopted = adopt(utk_folder, write_tables(tmp_path / "theirs", rows, "file,age"), tmp_path / "out")
    assert adopted.ages is not None
    assert adopted.ages.rows == 1
    assert adopted.ages.example.startswith(f"{first} is {first.split('_')[0]} by the source")
    assert len(quarantine(adopted)) == 0


def test_two_sources(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    other = tmp_path / "more"
    other.mkdir()
    twin = other / "twin.jpg"
    shutil.copyfile(utk_folder / names[0], twin)
    (other / "broken.jpg").write_bytes(b"")
    (other / "labels.csv").write_text("path,age\ntwin.jpg,30\nbroken.jpg,30\n", encoding="utf-8")
    named = share_out(names)
    weaker: Part = next(part for part in PARTS if names[0] in named[part])
    named[weaker].remove(names[0])
    named["train"].append(names[0])
    named["test"] += ["twin.jpg", "broken.jpg"]
    sources: list[tuple[SourceName, Path]] = [("utkface", utk_folder), ("csv", other)]
    tables = write_tables(tmp_path / "theirs", named)
    options = TableOptions(other / "labels.csv")
    adopted = adopt_split(sources, tables, tmp_path / "out", bins=FOUR, repair=True, options=options)
    assert (names[0], "belongs with twin.jpg of test by bytes [train.csv]") in quarantine(adopted)
    assert ("broken.jpg", "empty file [test.csv]") in quarantine(adopted)
    assert Split.load(tmp_path / "out").sources == ("utkface", "csv")


def save_family(folder: Path, count: int) -> list[str]:
    """Many encodings of one photograph with rich detail, under names of their own."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))
    picture = coarse.resize((96, 96), Image.Resampling.BICUBIC)
    family = [f"40_0_0_{20190101000000000 + number}.jpg" for number in range(count)]
    for number, name in enumerate(family):
        picture.save(folder / name, quality=95 - 4 * number)
    return family


def test_a_large_family_is_taken_apart_whole(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    # Each image is linked to its closest few alone; the farthest from those of test have no link to them.
    family = save_family(utk_folder, 16)
    named = share_out(names)
    named["test"].append(family[0])
    named["train"] += family[1:]
    tables = write_tables(tmp_path / "theirs", named)
    grouping = Grouping(largest_share=0.5)
    adopted = adopt_split(
        [("utkface", utk_folder)], tables, tmp_path / "out", bins=FOUR, repair=True, grouping=grouping
    )
    split = Split.load(tmp_path / "out")
    everything = Faces.concat([split.parts[part] for part in PARTS])
    part_of = [part for part in PARTS for _ in range(len(split.parts[part]))]
    table = everything.table.assign(keys=pd.Series([()] * len(everything), dtype=object))
    found = find_links(table, look_at(everything, {"utkface": utk_folder}))
    assert not [
        (link.kind, one, other)
        for link in found
        for one, other in zip(link.first, link.second, strict=True)
        if part_of[one] != part_of[other]
    ]
    assert set(family[1:]) <= set(dict(quarantine(adopted)))


def test_images_that_no_table_names_join_nothing(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    named = share_out(names)
    train, test = named["train"][0], named["test"][0]
    stamps = [name.split("_", 3)[3] for name in (train, test)]
    # Of equal bytes, one with the stamp of a training image, the other with that of a test image.
    for stamp in stamps:
        shutil.copyfile(utk_folder / names[0], utk_folder / f"1_0_0_{stamp}")
    adopted = adopt(utk_folder, write_tables(tmp_path / "theirs", named), tmp_path / "out")
    assert adopted.frozen.split.manifest["adopted"]["not_named"] == 2
    assert train not in set(adopted.leaks["path"])


def test_a_repair_that_leaves_nothing_is_refused(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    named: Named = {"train": [STAMP_TWINS[0]], "valid": names[:20], "test": [STAMP_TWINS[1]]}
    with pytest.raises(DataError, match="the repair leaves no image in train"):
        adopt(utk_folder, write_tables(tmp_path / "theirs", named), tmp_path / "out", repair=True)


def test_what_leaks_only_by_way_of_others_of_its_part_says_so(
    utk_folder: Path, names: list[str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(
        (96, 96), Image.Resampling.BICUBIC
    )
    first, between, last = (f"40_0_0_{20190101000000000 + number}.jpg" for number in range(3))
    # Each shows nearly what the one before it shows.
    for left, name in ((0, first), (2, between), (4, last)):
        picture.crop((left, left, 72 + left, 72 + left)).save(utk_folder / name, quality=95)
    named = share_out(names)
    named["train"] += [first, between]
    named["test"].append(last)
    tables = write_tables(tmp_path / "theirs", named)
    leaks = adopt(utk_folder, tables, tmp_path / "out").leaks
    why = dict(zip(leaks["path"], leaks["why"], strict=True))
    assert (why[first], why[between]) == ("chain: near", "near")
    fixed = adopt(utk_folder, tables, tmp_path / "fixed", repair=True)
    assert first in paths(fixed)["train"]
    assert between not in paths(fixed)["train"]


def test_an_existing_split_is_never_written_over(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    tables = write_tables(tmp_path / "theirs", share_out(names))
    adopt(utk_folder, tables, tmp_path / "out")
    with pytest.raises(SplitError):
        adopt(utk_folder, tables, tmp_path / "out", repair=True)


def test_tables_of_one_name_are_told_apart_by_their_folder(utk_folder: Path, names: list[str], tmp_path: Path) -> None:
    tables = []
    for part, path in zip(PARTS, write_tables(tmp_path / "theirs", share_out(names)), strict=True):
        (tmp_path / part).mkdir()
        tables.append(path.rename(tmp_path / part / "labels.csv"))
    adopted = adopt(utk_folder, tables, tmp_path / "out", repair=True)
    told = ["train/labels.csv", "valid/labels.csv", "test/labels.csv"]
    assert adopted.frozen.split.manifest["adopted"]["tables"] == told
    assert all(reason.endswith("[train/labels.csv]") for _, reason in quarantine(adopted))


@pytest.fixture
def real_faces(utkface: Path, tmp_path: Path) -> Path:
    """Every image that shares its bytes or its stamp with another, and every fourth of the rest."""
    files = pd.Series(sorted(path for path in utkface.iterdir() if path.name.count("_") >= 3))
    digests = files.map(lambda path: hashlib.sha256(path.read_bytes()).hexdigest())
    stamps = files.map(lambda path: path.name.split("_")[3].partition(".")[0])
    chosen = digests.duplicated(keep=False) | stamps.duplicated(keep=False) | (files.index % 4 == 0)
    (tmp_path / "real").mkdir()
    for path in files[chosen]:
        (tmp_path / "real" / path.name).hardlink_to(path)
    return tmp_path / "real"


@pytest.mark.real
def test_a_random_split_of_real_faces_leaks_and_can_be_repaired(real_faces: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in real_faces.iterdir())
    np.random.default_rng(0).shuffle(names)
    bounds = [int(0.6 * len(names)), int(0.8 * len(names))]
    named: Named = {
        part: [f"{n},{name},{','.join(name.split('_')[:2])}" for n, name in enumerate(each)]
        for part, each in zip(
            PARTS, (names[: bounds[0]], names[bounds[0] : bounds[1]], names[bounds[1] :]), strict=True
        )
    }
    tables = write_tables(tmp_path / "theirs", named, ",filename,age,gender")
    published = read_published([("utkface", real_faces)], tables, TableOptions(), Grouping())
    assert published.ages is not None
    assert (published.not_named, published.ages.rows, published.rejected) == (0, 0, [])
    leaky = freeze_published(published, tmp_path / "leaky", bins=FOUR)
    assert len(leaky.leaks) > 200
    with pytest.raises(LeakageError):
        Split.load(tmp_path / "leaky")
    fixed = freeze_published(published, tmp_path / "fixed", bins=FOUR, repair=True)
    split = Split.load(tmp_path / "fixed")
    assert len(split.parts["test"]) == len(names) - bounds[1]
    assert sum(map(len, split.parts.values())) + sum(fixed.dropped.values()) == len(names)
    assert 0 < sum(fixed.dropped.values()) <= len(leaky.leaks)
