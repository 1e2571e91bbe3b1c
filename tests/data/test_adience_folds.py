"""Adience's folds as splits: test as published, users whole, leaks of pixels named or dropped."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agecls.bins import Bins
from agecls.data.adience_folds import freeze_folds
from agecls.data.sources.adience import FoldRow, fold_tables, image_path, parse_ages, read_folds
from agecls.data.split import PARTS, Split
from agecls.data.synthetic import draw_face
from agecls.errors import DataError, SplitError

Call = Callable[..., Any]
ADIENCE = Bins.parse("adience")
AGES = ("(0, 2)", "(4, 6)", "(8, 13)", "(15, 20)", "(25, 32)", "(38, 43)", "(48, 53)", "(60, 100)", "35")
HEADER = "user_id\toriginal_image\tface_id\tage\tgender\tx"


def rows_of(fold: int, users: int = 4, images: int = 9) -> list[FoldRow]:
    """Four users a fold, each with a face of every age group, and one between the groups."""
    return [
        FoldRow(fold, f"{fold}{user}@N0", f"{image}_o.jpg", str(user), AGES[image], "fm"[(user + image) % 2])
        for user in range(users)
        for image in range(images)
    ]


def write_fold(root: Path, fold: int, rows: list[FoldRow], name: str = "fold_{}_data.txt") -> None:
    lines = [HEADER, *("\t".join((*row[1:], "1")) for row in rows)]
    (root / name.format(fold)).write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adience") / "faces"
    root.mkdir()
    number = 0
    for fold in range(5):
        rows = rows_of(fold)
        write_fold(root, fold, rows)
        for row in rows:
            file = root / image_path(row, "aligned")
            file.parent.mkdir(parents=True, exist_ok=True)
            draw_face(5, number, 48)[1].save(file, quality=90)
            number += 1
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "adience")


def freeze(root: Path, *folds: int, repair: bool = False, seed: int = 42) -> list[Any]:
    outs = {fold: root.parent / f"adience-{fold}" for fold in folds}
    return list(freeze_folds(root, outs, valid_share=0.25, seed=seed, bins=ADIENCE, repair=repair))


def users(split: Split, part: str) -> set[str]:
    return {path.split("/")[1] for path in split.parts[part].table["path"]}  # type: ignore[index]


def test_test_is_the_fold_and_the_rest_is_shared_out_by_users(root: Path) -> None:
    splits = [adopted.frozen.split for adopted in freeze(root, *range(5))]
    everything = sorted(image_path(row, "aligned") for row in read_folds(root))
    tests = [path for split in splits for path in split.parts["test"].table["path"]]
    assert sorted(tests) == everything, "every image is test of one fold"
    for fold, split in enumerate(splits):
        assert users(split, "test") == {f"{fold}{user}@N0" for user in range(4)}
        assert sorted(path for part in PARTS for path in split.parts[part].table["path"]) == everything
        assert not users(split, "train") & users(split, "valid")
        assert len(users(split, "valid")) == 4, "a quarter of sixteen"
        told = split.manifest["protocol"]
        assert told["users"] == {"train": 12, "valid": 4, "test": 4}
        assert (told["fold"], told["shared_users"], told["seed"], told["valid_share"]) == (fold, 0, 42, 0.25)
        # Eight groups; 35 lies between two of them.
        assert np.bincount(split.parts["test"].targets("age", ADIENCE) + 1).tolist() == [4] * 9
    assert len({split.fingerprint for split in splits}) == 5
    shutil.rmtree(root.parent / "adience-0")
    assert freeze(root, 0)[0].frozen.split.fingerprint == splits[0].fingerprint
    shutil.rmtree(root.parent / "adience-0")
    assert freeze(root, 0, seed=1)[0].frozen.split.fingerprint != splits[0].fingerprint


def test_one_photograph_in_two_albums_is_named_or_leaves_train(root: Path) -> None:
    twin = root / "aligned/00@N0/landmark_aligned_face.0.3_o.jpg"
    shutil.copyfile(twin, root / "aligned/12@N0/landmark_aligned_face.2.3_o.jpg")
    (adopted,) = freeze(root, 0)
    assert adopted.leaks["path"].str.contains("12@N0").all()
    assert len(adopted.leaks) == 9, "through it the two albums are one"
    assert sorted(set(adopted.leaks["why"])) == ["bytes identity", "identity"]
    shutil.rmtree(root.parent / "adience-0")
    (repaired,) = freeze(root, 0, repair=True)
    split = repaired.frozen.split
    assert sum(repaired.dropped.values()) == 9
    assert len(split.parts["test"]) == 36, "test stays as published"
    assert sum(map(len, split.parts.values())) == 171
    assert "12@N0" not in users(split, "train") | users(split, "valid")


def test_a_user_in_two_folds_is_counted_and_leaks(root: Path) -> None:
    moved = [row._replace(user="00@N0", original_image=f"x{row.original_image}") for row in rows_of(1)[:3]]
    for row, old in zip(moved, rows_of(1)[:3], strict=True):
        (root / image_path(old, "aligned")).rename(root / image_path(row, "aligned"))
    write_fold(root, 1, [*moved, *rows_of(1)[3:]])
    (adopted,) = freeze(root, 0)
    assert adopted.frozen.split.manifest["protocol"]["shared_users"] == 1
    assert len(adopted.leaks) == 3
    assert set(adopted.leaks["why"]) == {"identity"}


def test_frontal_tables_serve_where_the_whole_ones_are_not_there(root: Path) -> None:
    for fold in range(5):
        (root / f"fold_{fold}_data.txt").unlink()
        write_fold(
            root, fold, [row for row in rows_of(fold) if row.original_image != "0_o.jpg"], "fold_frontal_{}_data.txt"
        )
    (adopted,) = freeze(root, 2)
    assert len(adopted.frozen.split.parts["test"]) == 32
    assert sum(row.reason == "no row in the label table" for row in adopted.frozen.rejected) == 20
    write_fold(root, 0, rows_of(0))
    assert list(fold_tables(root)) == [0], "of both kinds the whole tables count"


def test_a_fold_without_a_table_and_an_existing_folder_are_refused(root: Path) -> None:
    (root / "fold_3_data.txt").unlink()
    with pytest.raises(DataError, match="no table of Adience's fold 3"):
        freeze(root, 0, 3)
    assert not (root.parent / "adience-0").exists()
    freeze(root, 0)
    with pytest.raises(SplitError, match="never written over"):
        freeze(root, 1, 0)
    assert not (root.parent / "adience-1").exists()


def test_the_command(agecls: Call, root: Path, workplace: Path) -> None:
    code, out, err = agecls("split", "--source", "adience", "--root", root, "--fold", "all")
    assert code == 0, err
    assert "users: 12 in train, 4 in valid, 4 in test; of fold 4 none in another fold" in out
    assert "--bins not given: using adience" in err
    assert sorted(path.name for path in Path("splits").iterdir()) == [f"adience-{fold}" for fold in range(5)]
    twin = root / "aligned/00@N0/landmark_aligned_face.0.3_o.jpg"
    shutil.copyfile(twin, root / "aligned/12@N0/landmark_aligned_face.2.3_o.jpg")
    code, out, err = agecls("split", "--source", "adience", "--root", root, "--fold", "0", "--out", "leaky")
    assert code == 1, err
    assert "LEAKS" in out
    repair = ("split", "--source", "adience", "--root", root, "--fold", "0", "--out", "fixed", "--repair")
    assert agecls(*repair).code == 0
    assert Split.load(Path("fixed")).leaks == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--source", "adience", "--fold", "5"), "--fold takes a published fold of Adience"),
        (("--source", "utkface", "--fold", "1"), "give it with --source adience alone"),
        (("--fold", "1"), "give it with --source adience alone"),
        (("--source", "adience", "--fold", "1", "--adopt", "a,b,c"), "give it with --source adience alone"),
        (("--source", "adience", "--fold", "1", "--conflicts", "drop"), "--conflicts has no say"),
    ],
)
def test_what_does_not_go_together(agecls: Call, root: Path, workplace: Path, arguments: Any, expected: str) -> None:
    code, _, err = agecls("split", "--root", root, *arguments)
    assert code == 2
    assert expected in err


def test_the_protocol_from_the_split_to_exact_and_one_off_accuracy(
    agecls: Call, root: Path, workplace: Path, tiny: tuple[str, ...]
) -> None:
    assert agecls("split", "--source", "adience", "--root", root, "--fold", "1").code == 0
    sets = [part for each in (*tiny, "train.epochs=1") for part in ("--set", each)]
    given = ("--split", "splits/adience-1", "--root", root)
    trained = agecls("train", "--task", "age", "--bins", "adience", *given, *sets, "--out", "runs/one")
    assert trained.code == 0, trained.err
    scored = agecls("evaluate", "runs/one", "--part", "test", "--json", "one.json")
    assert scored.code == 0, scored.err
    measured = json.loads(Path("one.json").read_text())
    assert measured["classes"] == list(ADIENCE.names)
    assert measured["n"] == 32, "ages between the groups have no label"
    confusion = np.array(measured["confusion"])
    assert measured["accuracy"] == pytest.approx(np.trace(confusion) / 32)
    near = sum(np.trace(confusion, offset) for offset in (-1, 0, 1))
    assert measured["off_by_one_accuracy"] == pytest.approx(near / 32)


def test_the_folds_together(agecls: Call, root: Path, workplace: Path, tiny: tuple[str, ...]) -> None:
    assert agecls("split", "--source", "adience", "--root", root, "--fold", "all").code == 0
    sets = [part for each in (*tiny, "train.epochs=1") for part in ("--set", each)]
    given = ("train", "--task", "age", "--bins", "adience", "--root", root, *sets)
    named = "splits/adience-1,splits/adience-3"
    code, out, err = agecls(*given, "--folds", named, "--out", "runs/adience", "--json", "adience.json")
    assert code == 0, err
    assert "2 folds of adience-1, adience-3, test of each, 64 images" in out
    told = json.loads(Path("adience.json").read_text())
    scores = told["tasks"]["age"]
    assert [fold["n"] for fold in scores["folds"]] == [32, 32]
    for name in ("accuracy", "off_by_one_accuracy"):
        assert scores["mean"][name] == pytest.approx(scores["pooled"][name])
        assert name in scores["std"]
    for number, run in enumerate(("adience-1", "adience-3"), start=1):
        folder = Path(f"runs/adience/fold-{number}")
        assert json.loads((folder / "run.json").read_text())["split"]["name"] == run
        assert len(json.loads((folder / "ledger.json").read_text())["openings"]) == 1
    assert not any("chose the best epoch" in note for note in told["notes"]), "valid is not what judges here"
    again = agecls(*given, "--folds", named, "--out", "runs/adience", "--resume")
    assert again.code == 0, again.err
    other = agecls(*given, "--folds", "splits/adience-1,splits/adience-2", "--out", "runs/adience", "--resume")
    assert other.code == 2
    assert "started with other split" in other.err
    both = agecls(*given, "--folds", named, "--split", "splits/adience-1")
    assert "leave --split out" in both.err


@pytest.mark.real
def test_the_published_folds_share_no_user_and_no_photograph(shared_data: Path) -> None:
    rows = pd.DataFrame(read_folds(shared_data / "adience"))
    assert rows["user"].nunique() == 168
    for column in ("user", "original_image", "face_id"):
        assert rows.groupby(column)["fold"].nunique().max() == 1, column
    assert rows.groupby("fold")["user"].nunique().tolist() == [34, 34, 34, 33, 33]
    ages = [parse_ages(text) for text in rows["age"]]
    labels = np.array([-2 if isinstance(each, str) else int(ADIENCE.index_of_range(*each)) for each in ages])
    assert (labels == -2).sum() == 753
    assert (labels == -1).sum() == 923
    counts = np.array([np.bincount(labels[(rows["fold"] == fold) & (labels >= 0)], minlength=8) for fold in range(5)])
    assert counts.sum(axis=1).tolist() == [4391, 3288, 3355, 3081, 3696]
    assert counts.min() > 0
