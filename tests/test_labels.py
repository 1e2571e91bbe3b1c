"""Labels: one vocabulary, and the codes of each source as their documents give them."""

import pytest

from agecls import labels
from agecls.labels import ETHNICITIES, GENDERS, UNKNOWN


def test_the_vocabulary_is_that_of_utkface() -> None:
    assert GENDERS == ("male", "female")
    assert ETHNICITIES == ("white", "black", "asian", "indian", "others")
    assert (labels.AGE_MIN, labels.AGE_MAX) == (0, 116)


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (labels.UTKFACE_GENDER, GENDERS),
        (labels.FAIRFACE_GENDER, GENDERS),
        (labels.ADIENCE_GENDER, (*GENDERS, UNKNOWN)),
        (labels.IMDB_WIKI_GENDER, GENDERS),
        (labels.UTKFACE_ETHNICITY, ETHNICITIES),
        (labels.FAIRFACE_ETHNICITY, ETHNICITIES),
    ],
)
def test_every_source_speaks_the_whole_vocabulary(codes: dict[object, str], words: tuple[str, ...]) -> None:
    assert set(codes.values()) == set(words)


def test_gender_codes_of_imdb_wiki_are_opposite_to_those_of_utkface() -> None:
    assert {code: labels.UTKFACE_GENDER[str(code)] for code in (0, 1)} == {0: "male", 1: "female"}
    assert dict(labels.IMDB_WIKI_GENDER) == {0: "female", 1: "male"}


def test_race_codes_of_utkface() -> None:
    assert [labels.UTKFACE_ETHNICITY[code] for code in "01234"] == ["white", "black", "asian", "indian", "others"]


def test_races_of_fairface_fall_into_the_coarser_five() -> None:
    assert labels.FAIRFACE_ETHNICITY["Southeast Asian"] == labels.FAIRFACE_ETHNICITY["East Asian"] == "asian"
    assert labels.FAIRFACE_ETHNICITY["Middle Eastern"] == labels.FAIRFACE_ETHNICITY["Latino_Hispanic"] == "others"
