"""Small folders of drawn faces, named as UTKFace names its images."""

import shutil
from pathlib import Path
from typing import Final

from agecls.data.synthetic import Person, draw_face
from agecls.labels import ETHNICITIES, GENDERS

STAMP_TWINS: Final = ("24_0_1_20170201000000000.jpg.chip.jpg", "31_1_0_20170201000000000.jpg.chip.jpg")
"""Two different pictures with one stamp."""

BYTE_TWINS: Final = ("50_1_2_20170202000000000.jpg.chip.jpg", "52_1_2_20170202000000001.jpg.chip.jpg")
"""One picture under two names and two ages."""


def utk_name(person: Person, stamp: int) -> str:
    """Name the image of a person; ``stamp`` is counted in milliseconds from the start of 2017."""
    gender, race = GENDERS.index(person.gender), ETHNICITIES.index(person.ethnicity)
    return f"{person.age}_{gender}_{race}_{20170101000000000 + stamp}.jpg.chip.jpg"


def draw_utkface(folder: Path, count: int = 60, seed: int = 3, size: int = 48) -> list[str]:
    """Draw ``count`` faces with stamps of their own, then ``STAMP_TWINS`` and ``BYTE_TWINS``; return all names, sorted.

    Sixty faces of seed 3 cover every bin of preset 7, every gender and every ethnicity.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number in range(count):
        person, picture = draw_face(seed, number, size)
        names.append(utk_name(person, number))
        picture.save(folder / names[-1], quality=90)
    for number, name in enumerate((*STAMP_TWINS, BYTE_TWINS[0]), start=count):
        draw_face(seed, number, size)[1].save(folder / name, quality=90)
    shutil.copyfile(folder / BYTE_TWINS[0], folder / BYTE_TWINS[1])
    return sorted([*names, *STAMP_TWINS, *BYTE_TWINS])
