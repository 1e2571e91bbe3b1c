"""Seals name the row that was moved or edited."""

import shutil
from pathlib import Path

import pytest

from agecls.data.faces import Faces
from agecls.data.seal import FILE, name_tampered, seals
from agecls.data.split import PARTS, Part, Split


@pytest.fixture
def sealed(drawn_split: Split) -> set[str]:
    return set((drawn_split.folder / FILE).read_text(encoding="ascii").split())


def test_an_untouched_split_is_as_it_was_sealed(drawn_split: Split, sealed: set[str]) -> None:
    assert sorted(sealed) == seals(drawn_split.parts)
    assert name_tampered(drawn_split.parts, sealed) == []
    assert len(sealed) == sum(map(len, drawn_split.parts.values()))


def test_a_moved_row_is_named_with_its_origin(drawn_split: Split, sealed: set[str]) -> None:
    tables = {part: drawn_split.parts[part].table for part in PARTS}
    row = tables["test"].iloc[[3]]
    parts: dict[Part, Faces] = {
        "train": Faces.concat([drawn_split.parts["train"], Faces(row)]),
        "valid": drawn_split.parts["valid"],
        "test": Faces(tables["test"].drop(row.index)),
    }
    assert name_tampered(parts, sealed) == [(row["path"].item(), "train", "moved from test")]


@pytest.mark.parametrize(
    ("column", "value"), [("age_low", 3), ("gender", ""), ("ethnicity", ""), ("group", "g0"), ("sha256", "0" * 64)]
)
def test_an_edited_row_is_named(drawn_split: Split, sealed: set[str], column: str, value: object) -> None:
    table = drawn_split.parts["valid"].table.copy()
    table.loc[5, column] = value
    table.loc[5, "age_high"] = max(table.loc[5, "age_low"], table.loc[5, "age_high"])
    parts: dict[Part, Faces] = {**drawn_split.parts, "valid": Faces(table)}
    assert name_tampered(parts, sealed) == [(table.loc[5, "path"], "valid", "edited or added")]


def test_the_seals_are_the_same_after_a_round_trip(drawn_split: Split, tmp_path: Path, sealed: set[str]) -> None:
    copy = shutil.copytree(drawn_split.folder, tmp_path / "copy")
    assert set(seals(Split.load(copy).parts)) == sealed
