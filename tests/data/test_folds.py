"""Folds of a split: groups whole, every image once, and splits of their own."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agecls.bins import Bins
from agecls.data.faces import Faces
from agecls.data.folds import ALWAYS_TRAIN, Folds, draw_folds
from agecls.data.split import Part, Split
from agecls.errors import LeakageError, SplitError, UsageError

MANIFEST = {"bins": Bins.parse("4").to_json(), "fingerprint": "0" * 64, "sources": [], "on_conflict": "train"}


def faces_of(sizes: list[int], start: int) -> Faces:
    """Groups of the sizes given, with labels that vary from image to image."""
    groups = [f"g{start + number}" for number, size in enumerate(sizes) for _ in range(size)]
    numbers = start * 100 + np.arange(len(groups))
    ages = numbers * 7 % 90
    table = pd.DataFrame(
        {
            "path": [f"{number}.png" for number in numbers],
            "age_low": ages,
            "age_high": ages,
            "gender": np.where(numbers % 2, "male", "female"),
            "ethnicity": np.where(numbers % 3, "white", "asian"),
            "source": "csv",
            "sha256": [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers],
            "group": groups,
        }
    )
    return Faces(table)


def split_of(sizes: list[int], folder: Path = Path("nowhere")) -> Split:
    half = len(sizes) // 2
    parts: dict[Part, Faces] = {
        "train": faces_of(sizes[:half], 0), "valid": faces_of(sizes[half:], half), "test": faces_of([1, 2], 900)
    }  # fmt: skip
    return Split(folder, parts, MANIFEST)


GROUPS = st.lists(st.integers(1, 6), min_size=12, max_size=60)


@settings(deadline=None, max_examples=60)
@given(sizes=GROUPS, count=st.integers(2, 12), seed=st.integers(0, 3))
def test_groups_are_whole_and_every_image_is_judged_once(sizes: list[int], count: int, seed: int) -> None:
    split = split_of(sizes)
    folds = draw_folds(split, count, seed)
    everything = sorted([*split.parts["train"].table["path"], *split.parts["valid"].table["path"]])
    held = [folds.parts(fold)["valid"].table for fold in range(count)]
    assert sorted(path for table in held for path in table["path"]) == everything
    assert folds.kept_to_train == 0
    for fold in range(count):
        parts = folds.parts(fold)
        assert sorted([*parts["train"].table["path"], *parts["valid"].table["path"]]) == everything
        assert not set(parts["train"].table["group"]) & set(parts["valid"].table["group"])
        assert parts["test"] is split.parts["test"]
    counts = np.bincount(folds.numbers, minlength=count)
    assert counts.all(), "an empty fold"
    assert np.abs(counts - sum(sizes) / count).max() <= 2 * max(sizes), "folds of very different size"


@settings(deadline=None, max_examples=20)
@given(sizes=GROUPS, count=st.integers(2, 5))
def test_the_order_of_the_rows_and_the_parts_they_stood_in_do_not_matter(sizes: list[int], count: int) -> None:
    split = split_of(sizes)
    train, valid = split.parts["train"], split.parts["valid"]
    turned = Split(
        split.folder,
        {
            "train": valid.select(np.arange(len(valid))[::-1].copy()),
            "valid": train.select(np.arange(len(train))[::-1].copy()),
            "test": split.parts["test"],
        },
        MANIFEST,
    )
    first, second = draw_folds(split, count), draw_folds(turned, count)
    assert (first.numbers == second.numbers).all()
    assert first.faces.table.equals(second.faces.table)


def test_labels_are_shared_alike_and_the_seed_draws_others(drawn_split: Split) -> None:
    folds = draw_folds(drawn_split, 4)
    shares = [folds.faces.select(folds.numbers == fold).targets("age", Bins.parse("4")) for fold in range(4)]
    counts = np.stack([np.bincount(each, minlength=4) for each in shares])
    assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 3
    assert not (draw_folds(drawn_split, 4, seed=1).numbers == folds.numbers).all()


def test_photographs_whose_labels_disagree_stay_in_train(tmp_path: Path) -> None:
    split = split_of([2] * 20, tmp_path)
    (tmp_path / "conflicts.csv").write_text("group,path\ng3,x\ng15,y\n")
    folds = draw_folds(split, 3)
    disputed = folds.faces.table["group"].isin(["g3", "g15"]).to_numpy()
    assert (folds.numbers[disputed] == ALWAYS_TRAIN).all()
    assert folds.kept_to_train == 4
    for fold in range(3):
        assert set(folds.parts(fold)["train"].table["group"]) >= {"g3", "g15"}
    anywhere = dataclasses.replace(split, manifest={**MANIFEST, "on_conflict": "keep"})
    assert draw_folds(anywhere, 3).kept_to_train == 0


@pytest.mark.parametrize("count", [-1, 0, 1, 13])
def test_an_impossible_number_of_folds_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match="--folds takes 2 or more"):
        draw_folds(split_of([1] * 12), count)


def freeze(split: Split, folder: Path) -> tuple[Folds, Split]:
    folds = draw_folds(split, 3)
    return folds, folds.freeze(1, folder / folds.name(1))


def test_a_frozen_fold_is_a_split_that_names_where_it_is_from(drawn_split: Split, tmp_path: Path) -> None:
    folds, frozen = freeze(drawn_split, tmp_path)
    assert frozen.name == "drawn-fold-2-of-3"
    for part, faces in folds.parts(1).items():
        assert sorted(frozen.parts[part].table["path"]) == sorted(faces.table["path"])
    assert frozen.fingerprint != drawn_split.fingerprint
    assert (frozen.folder / "test.csv").read_bytes() == (drawn_split.folder / "test.csv").read_bytes()
    manifest = json.loads((frozen.folder / "manifest.json").read_text())
    assert manifest["seed"] is manifest["fractions"] is None
    assert manifest["counts"]["valid"] == len(folds.parts(1)["valid"])
    assert manifest["derived"]["fingerprint"] == drawn_split.fingerprint
    again = freeze(drawn_split, tmp_path / "again")[1]
    assert (again.folder / "manifest.json").read_bytes() == (frozen.folder / "manifest.json").read_bytes()
    with pytest.raises(SplitError, match="never written over"):
        freeze(drawn_split, tmp_path)


def test_a_fold_of_a_split_that_leaks_leaks_as_well(drawn_split: Split, tmp_path: Path) -> None:
    test = drawn_split.parts["test"].table
    strays = drawn_split.parts["train"].table.head(2).assign(path=["a.png", "b.png"])
    parts = {**drawn_split.parts, "test": Faces(pd.concat([test, strays], ignore_index=True))}
    leaky = dataclasses.replace(drawn_split, parts=parts, leakage_allowed=True)
    assert leaky.leaks == 2
    frozen = freeze(leaky, tmp_path)[1]
    assert (frozen.leaks, frozen.manifest["leaks"]) == (2, 2)
    assert len(pd.read_csv(frozen.folder / "leaks.csv")) == 2
    with pytest.raises(LeakageError):
        Split.load(frozen.folder)
