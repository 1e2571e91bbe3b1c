"""Gender and ethnicity: one vocabulary, and the codes each source uses for it.

The labels are annotations, not facts about people: UTKFace's were estimated by a network and checked by annotators,
FairFace's were crowd-sourced. The vocabulary is UTKFace's, the coarsest of the sources, so that the others map into it.
"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

Gender = Literal["male", "female"]
Ethnicity = Literal["white", "black", "asian", "indian", "others"]
Task = Literal["age", "gender", "ethnicity"]
TrainTask = Literal["age", "gender", "ethnicity", "multitask", "age-regression"]
Source = Literal["utkface", "fairface", "adience", "imdb_wiki", "csv", "synthetic"]

GENDERS: Final[tuple[str, ...]] = get_args(Gender)
ETHNICITIES: Final[tuple[str, ...]] = get_args(Ethnicity)

GROUPINGS: Final[Mapping[str, tuple[str, ...]]] = {"gender": GENDERS, "ethnicity": ETHNICITIES}
"""Labels that part the images into groups, with their values."""

UNKNOWN: Final = ""
"""What a table holds where its source does not know the gender or the ethnicity."""

AGE_MIN: Final = 0
AGE_MAX: Final = 116
"""Ages are whole years in 0..116, the range of UTKFace."""

UTKFACE_GENDER: Final = {"0": "male", "1": "female"}
UTKFACE_ETHNICITY: Final = {"0": "white", "1": "black", "2": "asian", "3": "indian", "4": "others"}

FAIRFACE_GENDER: Final = {"Male": "male", "Female": "female"}
FAIRFACE_ETHNICITY: Final = {
    "White": "white",
    "Black": "black",
    "East Asian": "asian",
    "Southeast Asian": "asian",
    "Indian": "indian",
    "Middle Eastern": "others",
    "Latino_Hispanic": "others",
}
"""UTKFace counts Hispanic, Latino and Middle Eastern faces among its Others, so FairFace's do here."""

ADIENCE_GENDER: Final = {"m": "male", "f": "female", "u": UNKNOWN, "": UNKNOWN}

IMDB_WIKI_GENDER: Final = {0: "female", 1: "male"}
"""Opposite to UTKFace; NaN stands for unknown."""
