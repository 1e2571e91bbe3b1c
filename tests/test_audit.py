"""Auditing a split: each kind of tampering and each leak is found, and its culprit named."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest
from drawn import STAMP_TWINS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from agecls.audit import Audit, Check, audit
from agecls.audit.spanning import spanning
from agecls.bins import Bins
from agecls.data.duplicates import Links, components
from agecls.data.faces import Faces
from agecls.data.freeze import Grouping, freeze_split
from agecls.data.publish import count_parts, describe_labels, describe_strata
from agecls.data.seal import seals
from agecls.data.split import PARTS, Part, Split, fingerprint
from agecls.data.stratify import name_strata
from agecls.errors import RunError, SplitError, UsageError
from agecls.learn.run import Run

Call = Callable[..., Any]
Row = dict[str, str]


class Forger:
    """Someone with a copy of a split and of its images."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root

    def rows(self, part: str) -> list[Row]:
        with (self.folder / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def write(self, part: str, rows: list[Row]) -> None:
        table = pd.DataFrame(sorted(rows, key=lambda row: row["path"]), dtype=object)
        table.to_csv(self.folder / f"{part}.csv", index=False, lineterminator="\n")

    def edit(self, part: str, number: int = 0, **values: str) -> str:
        rows = self.rows(part)
        rows[number] |= values
        self.write(part, rows)
        return rows[number]["path"]

    def move(self, from_part: str, to_part: str, number: int = 0) -> str:
        """Move a row that is alone in its group."""
        rows = self.rows(from_part)
        groups = [row["group"] for part in PARTS for row in self.rows(part)]
        chosen = [row for row in rows if groups.count(row["group"]) == 1][number]
        rows.remove(chosen)
        self.write(from_part, rows)
        self.write(to_part, [*self.rows(to_part), chosen])
        return chosen["path"]

    def manifest(self, **values: Any) -> dict[str, Any]:
        path = self.folder / "manifest.json"
        manifest: dict[str, Any] = {**json.loads(path.read_text()), **values}
        path.write_text(json.dumps(manifest))
        return manifest

    def reseal(self, *, rows: bool = False) -> None:
        """Make the manifest fit the tables again, and the seals of the rows as well where ``rows`` says so."""
        parts: dict[Part, Faces] = {part: Faces.from_csv(self.folder / f"{part}.csv") for part in PARTS}
        if rows:
            (self.folder / "rows.txt").write_text("".join(f"{seal}\n" for seal in seals(parts)))
        told = self.manifest()
        bins = Bins.from_names(told["bins"]["names"])
        table = pd.concat([faces.table.assign(part=part) for part, faces in parts.items()], ignore_index=True)
        table = table.sort_values(["path", "source"], ignore_index=True)
        strata = name_strata(table, bins, min(told["fractions"] or [0.2]))
        sizes = table["group"].value_counts()
        digests = {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in told["sha256"]}
        self.manifest(
            sha256=digests,
            fingerprint=fingerprint(digests),
            counts={**told["counts"], **count_parts(parts)},
            labels=describe_labels(parts, bins),
            sources=[{**told["sources"][0], "images": len(table)}],
            strata=describe_strata([f"{each}/{part}" for each, part in zip(strata, table["part"], strict=True)]),
            groups={
                **told["groups"],
                "total": len(sizes),
                "of_several_images": int((sizes > 1).sum()),
                "largest": int(sizes.max()),
                "largest_group": min(sizes.index[sizes == sizes.max()]),
                "largest_links": {},
            },
        )

    def plant(self, change: Callable[[Image.Image], Image.Image] | None, name: str, **saving: Any) -> tuple[str, str]:
        """Add a changed copy of the first train image to test, forging everything; return both paths."""
        original = self.rows("train")[0]
        path = f"faces/{name}"
        if change is None:
            shutil.copyfile(self.root / original["path"], self.root / path)
        else:
            with Image.open(self.root / original["path"]) as image:
                change(image.convert("RGB")).save(self.root / path, **saving)
        digest = hashlib.sha256((self.root / path).read_bytes()).hexdigest()
        new = {**original, "path": path, "sha256": digest, "group": f"g{digest[:16]}"}
        self.write("test", [*self.rows("test"), new])
        with (self.root / "labels.csv").open("a", encoding="utf-8") as file:
            file.write(",".join((path, new["age"], new["gender"], new["ethnicity"])) + "\n")
        self.reseal(rows=True)
        return original["path"], path

    def audit(self, **options: Any) -> Audit:
        return audit(self.folder, [self.root], **options)


@pytest.fixture
def forger(drawn_split: Split, drawn_faces: Path, tmp_path: Path) -> Forger:
    """Copies of the drawn faces and their split."""
    return Forger(
        Path(shutil.copytree(drawn_split.folder, tmp_path / "split")),
        Path(shutil.copytree(drawn_faces, tmp_path / "faces")),
    )


def named(found: Audit, name: str) -> Check:
    """The check of that name."""
    return next(check for check in found.checks if check.name == name)


def not_ok(found: Audit) -> set[str]:
    return {check.name for check in found.checks if not check.ok}


def told(check: Check) -> list[tuple[str, ...]]:
    """What was found, and the paths of the images."""
    return [(finding.what, *(place.path for place in finding.images)) for finding in check.findings]


CHECKS: Final = [
    "manifest", "rows", "placement", "groups", "bytes", "images", "labels", "pixels", "near", "conflicts",
    "balance:age", "balance:gender", "balance:ethnicity",
]  # fmt: skip


def test_clean_split_exits_with_0_and_the_json_of_the_contract(
    agecls: Call, drawn_split: Split, drawn_faces: Path, workplace: Path
) -> None:
    code, out, err = agecls("audit", drawn_split.folder, "--root", drawn_faces, "--json", "a.json")
    assert code == 0, out + err
    content = json.loads((workplace / "a.json").read_text())
    assert set(content) == {"schema", "split", "fingerprint", "clean", "checks", "not_checked", "notes"}
    assert content["schema"] == 1
    assert content["split"] == drawn_split.name
    assert content["fingerprint"] == drawn_split.fingerprint
    assert content["clean"] is True
    assert [check["name"] for check in content["checks"]] == CHECKS
    assert all(set(check) == {"name", "ok", "count", "examples"} for check in content["checks"])
    assert all(check["ok"] is True and check["count"] == 0 for check in content["checks"])
    balance = content["checks"][-1]["examples"][0]
    assert set(balance) == {"what", "images", "score"}
    assert balance["what"].startswith("p ")
    assert [each["name"] for each in content["not_checked"]] == ["person"]
    assert "clean" in out
    assert err == ""


def test_without_images_the_tables_alone_are_checked(agecls: Call, drawn_split: Split, workplace: Path) -> None:
    code, out, _ = agecls("audit", drawn_split.folder, "--json", "a.json", "--pictures", "p.png")
    assert code == 0
    content = json.loads((workplace / "a.json").read_text())
    assert {"images", "labels", "pixels", "near", "person"} <= {each["name"] for each in content["not_checked"]}
    assert not {"images", "labels", "pixels", "near", "person"} & {each["name"] for each in content["checks"]}
    assert "not checked: near: no images; give --root" in out
    assert not (workplace / "p.png").exists()


def test_root_is_found_as_in_other_commands(
    agecls: Call, drawn_split: Split, drawn_faces: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "data").symlink_to(drawn_faces)
    assert "using data/" in agecls("audit", drawn_split.folder).err
    monkeypatch.setenv("AGECLS_ROOT", str(workplace / "nowhere"))
    code, _, err = agecls("audit", drawn_split.folder)
    assert code == 2
    assert "there is no folder" in err


def test_no_split_and_no_run_are_bad_input(
    agecls: Call, drawn_split: Split, drawn_faces: Path, workplace: Path
) -> None:
    for folder in ("nowhere", workplace):
        code, out, err = agecls("audit", folder)
        assert (code, out) == (2, "")
        assert "there is no split at" in err
    code, _, err = agecls("audit", drawn_split.folder, "--root", drawn_faces, "--run", "nowhere")
    assert code == 2
    assert "there is no run at nowhere" in err
    with pytest.raises(UsageError, match="one --root"):
        audit(drawn_split.folder, [drawn_faces, drawn_faces])


def test_manifest_of_another_schema_is_left_to_its_own_version(forger: Forger) -> None:
    forger.manifest(schema=2)
    with pytest.raises(SplitError, match="schema 1"):
        forger.audit()


@pytest.mark.parametrize(("from_part", "to_part"), [("test", "train"), ("train", "test"), ("valid", "test")])
def test_row_moved_by_hand_is_named(
    from_part: str, to_part: str, forger: Forger, agecls: Call, workplace: Path
) -> None:
    moved = forger.move(from_part, to_part)
    found = forger.audit()
    assert told(named(found, "rows")) == [(f"moved from {from_part}", moved)]
    assert (f"drawn again it falls to {from_part}", moved) in told(named(found, "placement"))
    assert {f"{part}.csv is not the file that was frozen" for part in (from_part, to_part)} <= {
        finding.what.partition(":")[0] for finding in named(found, "manifest").findings
    }
    assert {"manifest", "rows", "placement"} <= not_ok(found)
    code, out, _ = agecls("audit", forger.folder, "--root", forger.root)
    assert code == 1
    assert f"moved from {from_part}" in out
    assert moved in out


def test_row_moved_with_hashes_recomputed_is_named_by_its_seal(forger: Forger) -> None:
    moved = forger.move("test", "train")
    forger.reseal()
    found = forger.audit()
    assert not_ok(found) == {"rows", "placement"}
    assert told(named(found, "rows")) == [("moved from test", moved)]


def test_row_moved_with_everything_recomputed_is_named_by_drawing_again(forger: Forger) -> None:
    moved = forger.move("test", "train")
    forger.reseal(rows=True)
    found = forger.audit()
    assert not_ok(found) == {"placement"}
    assert told(named(found, "placement")) == [("drawn again it falls to test", moved)]
    assert named(found, "placement").count == 1


@pytest.mark.parametrize(("column", "value"), [("age", "116"), ("gender", ""), ("ethnicity", "")])
def test_edited_label_is_named_with_both_values(column: str, value: str, forger: Forger) -> None:
    before = forger.rows("test")[0][column]
    path = forger.edit("test", **{column: value})
    forger.reseal()
    assert told(named(forger.audit(), "rows")) == [("edited or added", path)]
    forger.reseal(rows=True)
    labels = named(forger.audit(), "labels")
    assert told(labels) == [(f"{column} {value or 'unknown'}, the source says {before}", path)]
    assert not labels.ok


def test_row_that_the_source_does_not_name_is_told(forger: Forger) -> None:
    labels = forger.root / "labels.csv"
    before = labels.read_text()
    _, planted = forger.plant(lambda image: image, "planted.jpg", quality=60)
    labels.write_text(before)
    ((what, path),) = told(named(forger.audit(), "labels"))
    assert what.startswith("the source does not name it")
    assert path == planted


def test_edited_group_is_named(forger: Forger) -> None:
    path = forger.edit("valid", group="g0000000000000000")
    found = forger.audit()
    assert told(named(found, "rows")) == [("edited or added", path)]
    assert "manifest" in not_ok(found)


def test_group_in_two_parts_is_named_with_both_rows(forger: Forger) -> None:
    first = forger.rows("train")[0]
    path = forger.edit("test", group=first["group"])
    forger.reseal(rows=True)
    groups = named(forger.audit(), "groups")
    assert not groups.ok
    assert ("groups", first["path"], path) in told(groups)
    shared = [row for row in forger.rows("train") if row["group"] == first["group"]]
    assert groups.count == len(shared)


def test_rows_that_are_gone_are_counted(forger: Forger) -> None:
    forger.write("test", forger.rows("test")[3:])
    forger.reseal()
    assert told(named(forger.audit(), "rows")) == [("3 rows gone",)]


def test_split_of_an_earlier_version_is_to_be_frozen_anew(forger: Forger) -> None:
    (forger.folder / "rows.txt").unlink()
    told_hashes = forger.manifest()["sha256"]
    forger.manifest(sha256={name: digest for name, digest in told_hashes.items() if name != "rows.txt"})
    found = forger.audit()
    assert not_ok(found) == {"rows"}
    assert "freeze it anew" in told(named(found, "rows"))[0][0]


def test_swapped_and_deleted_images_are_named(forger: Forger) -> None:
    first, second, third = (forger.rows("test")[number]["path"] for number in range(3))
    shutil.copyfile(forger.root / second, forger.root / first)
    (forger.root / third).unlink()
    found = forger.audit()
    assert not_ok(found) == {"images"}
    assert told(named(found, "images")) == [
        (f"is not the image that was split but that of {second}", first),
        ("is missing", third),
    ]


def test_path_that_leaves_the_root_is_not_followed(forger: Forger) -> None:
    (forger.root.parent / "elsewhere.jpg").write_bytes((forger.root / forger.rows("test")[0]["path"]).read_bytes())
    forger.edit("test", path="../elsewhere.jpg")
    assert ("its path leaves the folder of its source", "../elsewhere.jpg") in told(named(forger.audit(), "images"))


@pytest.mark.parametrize(
    ("statement", "value", "check", "said"),
    [
        ("counts", {"train": 1, "valid": 72, "test": 72, "quarantine": 0}, "manifest", "counts.train: the manifest"),
        ("labels", {}, "manifest", "labels.train"),
        ("sources", [{"name": "synthetic", "images": 3}], "manifest", "sources.synthetic: the manifest tells 3"),
        ("sources", 7, "manifest", "tells no sources"),
        ("groups", {"total": 3}, "manifest", "groups.total: the manifest tells 3"),
        ("strata", {}, "manifest", "strata."),
        ("conflicts", 4, "manifest", "conflicts: the manifest tells 4, the tables hold 0"),
        ("leaks", 4, "manifest", "leaks: the manifest tells 4"),
        ("fingerprint", "0", "manifest", "fingerprint"),
        ("sha256", [], "manifest", "the manifest tells none"),
        ("seed", 1, "placement", "drawn again it falls to"),
        ("seed", None, "placement", "tells no seed"),
        ("fractions", [0.2, 0.2, 0.6], "placement", "drawn again it falls to"),
        ("fractions", [1, 2], "placement", "no three fractions"),
        ("bins", {"names": ["0-50", "51-116"], "gaps": False}, "manifest", "labels.train.age.0-50"),
        ("bins", 3, "placement", "tells no age bins"),
    ],
)
def test_edited_statement_of_the_manifest_is_found(
    statement: str, value: Any, check: str, said: str, forger: Forger
) -> None:
    forger.manifest(**{statement: value})
    found = audit(forger.folder)
    assert check in not_ok(found)
    assert any(said in finding.what for finding in named(found, check).findings)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_unreadable_manifest_leaves_the_rest_to_be_checked(content: str, forger: Forger) -> None:
    moved = forger.move("test", "train")
    (forger.folder / "manifest.json").write_text(content)
    found = forger.audit()
    assert told(named(found, "rows")) == [("moved from test", moved)]
    assert {"manifest", "placement"} <= not_ok(found)
    assert named(found, "near").ok


def test_unreadable_table_leaves_the_others_to_be_checked(forger: Forger) -> None:
    moved = forger.move("test", "train")
    forger.edit("valid", age="old")
    found = forger.audit()
    assert ("moved from test", moved) in told(named(found, "rows"))
    for name in ("manifest", "rows", "placement", "groups", "bytes", "images", "labels", "balance:age"):
        assert not named(found, name).ok
        assert any("no whole age in years" in finding.what for finding in named(found, name).findings), name
    (forger.folder / "train.csv").unlink()
    (forger.folder / "test.csv").write_bytes(b"\xff")
    found = forger.audit()
    assert {"rows", "groups", "bytes", "balance:age"} <= not_ok(found)
    assert "near" in {each.name for each in found.not_checked}


def crop(image: Image.Image, share: float = 0.03) -> Image.Image:
    edge = round(share * image.width)
    return image.crop((edge, edge, image.width - edge, image.height - edge)).resize(image.size)


@pytest.mark.parametrize(
    ("change", "saving", "kind"),
    [
        (None, {}, "bytes"),
        (lambda image: image, {"format": "PNG"}, "pixels"),
        (lambda image: image, {"quality": 60}, "near"),
        (ImageOps.mirror, {"quality": 90}, "near"),
        (crop, {"quality": 90}, "near"),
        (lambda image: ImageEnhance.Brightness(image).enhance(1.1), {"quality": 90}, "near"),
    ],
    ids=["bytes", "pixels", "jpeg", "mirror", "crop", "brightness"],
)
def test_planted_twin_is_named_beside_its_original(
    change: Any, saving: dict[str, Any], kind: str, forger: Forger
) -> None:
    original, planted = forger.plant(change, "planted.png" if "format" in saving else "planted.jpg", **saving)
    found = forger.audit()
    # One more row moves others; a group is named after its content, so a copy bears the name of its original.
    assert {kind} <= not_ok(found) <= {kind, "placement", *(["groups"] if kind == "bytes" else [])}
    check = named(found, kind)
    assert check.count == 1
    assert told(check) == [(kind, original, planted)]
    assert [place.part for place in check.findings[0].images] == ["train", "test"]
    if kind == "near":
        assert check.findings[0].score is not None
        assert 0.75 <= check.findings[0].score <= 1


def test_stamp_in_two_parts_is_named(utk_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "split"
    freeze_split([("utkface", utk_folder)], out, fractions=(0.6, 0.2, 0.2), seed=42, bins=Bins.parse("4"))
    forger = Forger(out, utk_folder)
    assert named(forger.audit(), "stamp").ok
    here = next(part for part in PARTS if any(row["path"] == STAMP_TWINS[0] for row in forger.rows(part)))
    there = "test" if here != "test" else "train"
    rows = forger.rows(here)
    chosen = next(row for row in rows if row["path"] == STAMP_TWINS[0])
    rows.remove(chosen)
    forger.write(here, rows)
    forger.write(there, [*forger.rows(there), {**chosen, "group": "g0000000000000000"}])
    forger.reseal(rows=True)
    stamp = named(forger.audit(), "stamp")
    assert not stamp.ok
    assert stamp.count == 1
    assert {place.path for place in stamp.findings[0].images} == set(STAMP_TWINS)


@pytest.mark.parametrize("on_conflict", ["train", "drop", "keep"])
def test_split_is_clean_whatever_became_of_conflicts(on_conflict: Any, utk_folder: Path, tmp_path: Path) -> None:
    frozen = freeze_split(
        [("utkface", utk_folder)], tmp_path / "split", fractions=(0.6, 0.2, 0.2), seed=42, bins=Bins.parse("4"),
        grouping=Grouping(on_conflict=on_conflict),
    )  # fmt: skip
    assert frozen.split.manifest["conflicts"] == 2
    found = audit(tmp_path / "split", [utk_folder])
    assert not_ok(found) == set(), [told(check) for check in found.checks if not check.ok]


def test_conflicting_labels_in_test_are_named_unless_they_were_to_be_kept(forger: Forger) -> None:
    _, planted = forger.plant(lambda image: image, "planted.jpg", quality=60)
    rows = forger.rows("test")
    number = next(n for n, row in enumerate(rows) if row["path"] == planted)
    forger.edit("test", number, age=str((int(rows[number]["age"]) + 50) % 100))
    forger.reseal(rows=True)
    conflicts = named(forger.audit(), "conflicts")
    assert told(conflicts) == [("labels of one photograph differ: age", planted)]
    assert not conflicts.ok
    forger.manifest(on_conflict="keep")
    found = forger.audit()
    assert named(found, "conflicts").ok
    assert any("1 image of valid and test" in note for note in found.notes)


def test_parts_that_are_not_alike_are_told(forger: Forger) -> None:
    rows = [row for part in PARTS for row in forger.rows(part)]
    rows.sort(key=lambda row: (row["gender"], row["path"]))
    for part, chosen in zip(PARTS, (rows[:216], rows[216:288], rows[288:]), strict=True):
        forger.write(part, chosen)
    found = audit(forger.folder)
    assert not named(found, "balance:gender").ok
    assert "gender is not shared alike" in told(named(found, "balance:gender"))[0][0]
    assert "mean age" in told(named(found, "balance:age"))[0][0]


def test_split_adopted_with_its_leaks_audits_as_what_it_is(forger: Forger, agecls: Call) -> None:
    first = forger.rows("train")[0]
    forger.edit("test", group=first["group"])
    forger.reseal(rows=True)
    forger.manifest(seed=None, fractions=None, adopted={"tables": ["a.csv"], "repaired": False}, on_conflict="keep")
    found = forger.audit()
    assert not_ok(found) == {"groups"}
    assert [each.name for each in found.not_checked] == ["placement", "person"]
    assert agecls("audit", forger.folder, "--root", forger.root).code == 1


def test_pairs_are_drawn_side_by_side(forger: Forger, agecls: Call, workplace: Path) -> None:
    sheet = workplace / "pairs.png"
    assert "no pair to show" in agecls("audit", forger.folder, "--root", forger.root, "--pictures", sheet).err
    assert not sheet.exists()
    forger.plant(lambda image: image, "planted.jpg", quality=60)
    code, out, err = agecls("audit", forger.folder, "--root", forger.root, "--pictures", sheet)
    assert code == 1
    assert f"pictures: {sheet}" in err
    assert "planted.jpg" in out
    with Image.open(sheet) as image:
        left, right = (np.asarray(image.convert("L"), np.float64)[70:210, x : x + 140] for x in (40, 226))
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.95


@pytest.fixture
def other(drawn_faces: Path, tmp_path: Path) -> Split:
    """The drawn faces, split with another seed."""
    source: Any = [("synthetic", drawn_faces)]
    return freeze_split(source, tmp_path / "other", fractions=(0.6, 0.2, 0.2), seed=1, bins=Bins.parse("4")).split


@pytest.mark.parametrize("with_images", [True, False])
def test_run_of_another_split_was_fitted_on_this_one(
    with_images: bool, drawn_run: Run, drawn_split: Split, other: Split, drawn_faces: Path
) -> None:
    fitted = set(drawn_split.parts["train"].table["sha256"])
    tables = {part: other.parts[part].table for part in ("valid", "test")}
    expected = {path for table in tables.values() for path in table["path"][table["sha256"].isin(fitted)]}
    assert len(expected) > 20
    found = audit(other.folder, [drawn_faces] if with_images else None, runs=[drawn_run.folder])
    lineage = named(found, f"lineage:{drawn_run.folder.as_posix()}")
    assert not lineage.ok
    exact = {finding.images[0].path for finding in lineage.findings if finding.what.endswith("was fitted on it")}
    assert exact == expected
    assert lineage.count == len(lineage.findings)
    assert any("helped to select" in note for note in found.notes)
    assert with_images == (f"{lineage.name}:near" not in {each.name for each in found.not_checked})


def test_run_of_this_split_is_clean_and_what_it_was_selected_on_is_said(
    drawn_run: Run, drawn_split: Split, drawn_faces: Path, agecls: Call
) -> None:
    code, out, err = agecls("audit", drawn_split.folder, "--root", drawn_faces, "--run", drawn_run.folder)
    assert code == 0, out
    assert "72 images of valid and test helped to select run gender (early stopping)" in err


def test_test_image_that_a_run_was_fitted_on_as_a_near_twin_is_named(
    drawn_run: Run, forger: Forger, agecls: Call
) -> None:
    _, planted = forger.plant(lambda image: image, "planted.jpg", quality=60)
    lineage = named(forger.audit(runs=[drawn_run.folder]), f"lineage:{drawn_run.folder.as_posix()}")
    assert ("gender was fitted on a near twin of it", planted) in told(lineage)


def test_leaked_run_and_run_without_lineage(drawn_run: Run, drawn_split: Split, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(drawn_run.folder, tmp_path / "run"))
    replace(Run.load(folder), leaked=True, leaked_count=7).save()
    lineage = named(audit(drawn_split.folder, runs=[folder]), f"lineage:{folder.as_posix()}")
    assert (lineage.ok, lineage.count) == (False, 7)
    assert "LEAKED" in lineage.findings[0].what
    (folder / "lineage.npz").unlink()
    with pytest.raises(RunError, match="lineage"):
        audit(drawn_split.folder, runs=[folder])


@st.composite
def linked_rows(draw: st.DrawFn) -> tuple[pd.DataFrame, Links]:
    count = draw(st.integers(2, 12))
    rank = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    ends = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] != pair[1])
    pairs = draw(st.lists(ends, max_size=10))
    rows = pd.DataFrame({
        "path": [f"{number}.jpg" for number in range(count)],
        "source": "synthetic",
        "part": [PARTS[each] for each in rank],
        "rank": rank,
    })  # fmt: skip
    first, second = (np.array([pair[end] for pair in pairs], dtype=np.int64) for end in (0, 1))
    return rows, Links("near", first, second, np.full(len(pairs), 0.9, np.float32))


@given(linked_rows())
@settings(max_examples=200, deadline=None)
def test_every_image_of_a_component_that_spans_parts_is_named_and_counted(case: tuple[pd.DataFrame, Links]) -> None:
    rows, link = case
    check = spanning("near", rows, link)
    component = components(len(rows), [link])
    members = [np.flatnonzero(component == number) for number in np.unique(component)]
    rank = rows["rank"].to_numpy()
    spans = [rows_of for rows_of in members if len(set(rank[rows_of])) > 1]
    named_paths = {place.path for finding in check.findings for place in finding.images}
    assert named_paths == {rows["path"][row] for rows_of in spans for row in rows_of}
    assert check.count == sum(int((rank[rows_of] < rank[rows_of].max()).sum()) for rows_of in spans)
    assert check.ok == (not spans)
    for finding in check.findings:
        low, high = (PARTS.index(place.part) for place in finding.images)  # type: ignore[arg-type]
        assert low < high


def test_copies_of_a_near_twin_leak_as_well() -> None:
    rows = pd.DataFrame({
        "path": ["a.jpg", "copy.jpg", "twin.jpg"], "source": "csv", "part": ["train", "train", "test"],
        "rank": [0, 0, 2],
    })  # fmt: skip
    near = Links("near", np.array([0]), np.array([2]), np.array([0.9], np.float32))
    check = spanning("near", rows, near, [Links("bytes", np.array([0]), np.array([1]))])
    assert check.count == 2
    assert told(check) == [("near", "a.jpg", "twin.jpg"), ("near, through others", "copy.jpg", "twin.jpg")]


def jpeg(image: Image.Image) -> Image.Image:
    return image


def resized(image: Image.Image) -> Image.Image:
    return image.resize((180, 180), Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BILINEAR)


def brighter(image: Image.Image) -> Image.Image:
    return image.point(lambda level: min(255, level + 15))


PLANTED: Final = {
    "jpeg": (jpeg, 60),
    "resized": (resized, 90),
    "mirrored": (ImageOps.mirror, 90),
    "cropped": (crop, 90),
    "brighter": (brighter, 90),
}
"""Changes and the JPEG quality at which each is saved."""


@pytest.mark.real
def test_real_faces_audit_clean_and_planted_leaks_are_found(utkface: Path, agecls: Call, workplace: Path) -> None:
    code, out, err = agecls("split", "--root", utkface, "--out", "split")
    assert code == 0, err
    code, out, err = agecls("audit", "split", "--root", utkface, "--json", "clean.json")
    assert code == 0, out + err
    root = workplace / "faces"
    root.mkdir()
    for image in utkface.iterdir():
        (root / image.name).hardlink_to(image)
    forger = Forger(workplace / "split", root)
    rows = [row for row in forger.rows("train") if row["path"].count("_") == 3][:: 11378 // 230][:200]
    planted: dict[str, list[tuple[str, str]]] = {kind: [] for kind in PLANTED}
    new = []
    for number, row in enumerate(rows):
        kind = list(PLANTED)[number % len(PLANTED)]
        change, quality = PLANTED[kind]
        age, gender, race, _ = row["path"].split("_", 3)
        path = f"{age}_{gender}_{race}_{20990101000000000 + number}.jpg.chip.jpg"
        with Image.open(root / row["path"]) as image:
            change(image.convert("RGB")).save(root / path, format="JPEG", quality=quality)
        digest = hashlib.sha256((root / path).read_bytes()).hexdigest()
        new.append({**row, "path": path, "sha256": digest, "group": f"g{digest[:16]}"})
        planted[kind].append((row["path"], path))
    forger.write("test", [*forger.rows("test"), *new])
    forger.reseal(rows=True)
    found = forger.audit()
    pairs = {tuple(place.path for place in finding.images) for finding in named(found, "near").findings}
    recall = {kind: np.mean([pair in pairs for pair in planted[kind]]) for kind in PLANTED}
    print(recall)  # noqa: T201
    assert all(len(each) == 40 for each in planted.values())
    assert np.mean([recall[kind] for kind in list(PLANTED)[:4]]) >= 0.98, recall
    assert np.mean(list(recall.values())) >= 0.95, recall
    assert named(found, "rows").ok
    assert named(found, "images").ok
    assert named(found, "labels").ok
