"""One photograph with two labels: what counts, what does not, and where it may go."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from agecls.bins import Bins
from agecls.data.conflicts import find_conflicts
from agecls.data.duplicates import Links
from agecls.data.freeze import Frozen, Grouping, freeze_split
from agecls.data.split import PARTS
from agecls.data.synthetic import draw_face
from agecls.errors import UsageError


def differs(rows: list[tuple[int, int, str, str]], kind: str = "near") -> list[str]:
    """What differs where all rows are linked, one to the next."""
    table = pd.DataFrame(rows, columns=["age_low", "age_high", "gender", "ethnicity"])
    numbers = np.arange(len(rows))
    return find_conflicts(table, [Links(kind, numbers[:-1], numbers[1:])]).tolist()


@pytest.mark.parametrize("kind", ["bytes", "pixels", "near"])
def test_labels_of_one_photograph_are_compared(kind: str) -> None:
    assert differs([(20, 20, "male", "white"), (40, 40, "male", "white")], kind) == ["age", "age"]
    assert differs([(20, 20, "male", "white"), (20, 20, "female", "asian")], kind) == ["gender ethnicity"] * 2


@pytest.mark.parametrize("kind", ["stamp", "person", "identity"])
def test_other_groups_may_have_other_labels(kind: str) -> None:
    assert differs([(20, 20, "male", "white"), (40, 40, "female", "white")], kind) == ["", ""]


def test_a_year_is_rounding_and_an_unknown_label_no_conflict() -> None:
    assert differs([(20, 20, "male", ""), (21, 21, "", "white")]) == ["", ""]
    assert differs([(20, 20, "male", ""), (22, 22, "", "white")]) == ["age", "age"]


def test_ranges_of_ages_conflict_where_they_lie_apart() -> None:
    assert differs([(20, 29, "", ""), (25, 25, "", "")]) == ["", ""]
    assert differs([(20, 29, "", ""), (31, 39, "", "")]) == ["age", "age"]


def test_the_ends_of_a_chain_are_compared_too() -> None:
    assert differs([(20, 20, "", ""), (21, 21, "", ""), (22, 22, "", "")]) == ["age"] * 3


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Sixty drawn faces; ten of them again under another age, five again under the same."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for number in range(60):
        picture = draw_face(4, number, 96)[1]
        picture.save(folder / f"{20 + number % 40}_0_0_{20170101000000000 + number}.png")
        if number < 15:
            age = 80 if number < 10 else 20 + number % 40
            picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
                folder / f"{age}_0_0_{20180101000000000 + number}.png"
            )
    return folder


def freeze(root: Path, out: Path, grouping: Grouping | None, seed: int = 1) -> Frozen:
    bins = Bins.parse("3")
    return freeze_split([("utkface", root)], out, fractions=(0.6, 0.2, 0.2), seed=seed, bins=bins, grouping=grouping)


def ages_by_part(frozen: Frozen) -> dict[str, list[int]]:
    return {part: frozen.split.parts[part].table["age_low"].tolist() for part in PARTS}


@pytest.mark.parametrize("seed", range(3))
def test_conflicts_stay_out_of_valid_and_test(faces: Path, tmp_path: Path, seed: int) -> None:
    frozen = freeze(faces, tmp_path / "split", None, seed)
    listed = pd.read_csv(frozen.split.folder / "conflicts.csv")
    assert len(listed) == 20
    assert set(listed["differs"]) == {"age"}
    assert frozen.split.manifest["conflicts"] == 20
    ages = ages_by_part(frozen)
    assert 80 not in ages["valid"] + ages["test"]
    train = set(frozen.split.parts["train"].table["path"])
    assert set(listed["path"]) <= train
    assert frozen.split.manifest["counts"] == {"train": 45, "valid": 15, "test": 15, "quarantine": 0}


def test_conflicts_can_be_dropped_by_name(faces: Path, tmp_path: Path) -> None:
    frozen = freeze(faces, tmp_path / "split", Grouping(on_conflict="drop"))
    assert sum(map(len, frozen.split.parts.values())) == 55
    assert {row.reason for row in frozen.rejected} == {"labels of one photograph differ: age"}
    assert len(frozen.rejected) == 20


def test_conflicts_can_be_left_anywhere(faces: Path, tmp_path: Path) -> None:
    seen = set[str]()
    for seed in range(6):
        ages = ages_by_part(freeze(faces, tmp_path / str(seed), Grouping(on_conflict="keep"), seed))
        seen |= {part for part in PARTS if 80 in ages[part]}
    assert seen == set(PARTS)


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_a_largest_group_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="--largest-group takes a share"):
        Grouping(largest_share=share)
