"""The record of a hierarchy: groups, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from agecls.data.split import Split
from agecls.learn.chain import Chain, group_names, group_of, only_of

CHAIN = Chain(("gender",), "hard", 0.5, ("male",), {"female": "2 training images of 0-2, fewer than 10"})


def test_groups_are_every_combination_with_the_last_label_fastest() -> None:
    assert group_names(("gender",)) == ("male", "female")
    names = group_names(("gender", "ethnicity"))
    assert len(names) == 10
    assert names[:2] == ("male/white", "male/black")
    assert only_of(("gender", "ethnicity"), "male/black") == {"gender": "male", "ethnicity": "black"}


def test_group_of_numbers_each_face_as_the_names_do(drawn_split: Split) -> None:
    faces = drawn_split.parts["train"]
    by = ("ethnicity", "gender")
    names = np.array(group_names(by))[group_of(faces, by)]
    assert names.tolist() == [f"{row.ethnicity}/{row.gender}" for row in faces.table.itertuples()]


def test_an_unknown_label_belongs_to_no_group(drawn_split: Split) -> None:
    faces = drawn_split.parts["valid"]
    table = faces.table.assign(gender=["", *faces.table["gender"][1:]])
    numbers = group_of(replace(faces, table=table), ("gender",))
    assert numbers[0] == -1
    assert (numbers[1:] >= 0).all()


def test_the_record_comes_back_as_it_was() -> None:
    assert Chain.from_json(CHAIN.to_json()) == CHAIN
    assert CHAIN.expert_numbers == {0: "male"}


@pytest.mark.parametrize(
    "change",
    [
        {"by": ()},
        {"by": ("gender", "gender")},
        {"by": ("age",)},
        {"routing": "oracle"},
        {"threshold": 1.5},
        {"experts": ()},
        {"experts": ("male", "white")},
        {"experts": ("male", "female")},
    ],
)
def test_impossible_records_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"by|routing|experts"):
        Chain.from_json({**CHAIN.to_json(), **change})
