"""Draw faces whose age, gender and ethnicity can be seen, for tests, demonstrations and machines without real faces.

A drawing is a caricature made to be learnt from: babies have round heads and large low eyes, old people wrinkles and
grey hair, and so on. It says nothing about real people, and a network trained on it knows nothing about them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from agecls.bins import Bins
from agecls.data.brush import Shot
from agecls.data.portrait import Look, paint
from agecls.errors import DataError, UsageError
from agecls.labels import ETHNICITIES, GENDERS

MIN_SIZE: Final = 32
"""Edge in pixels below which the labels can no longer be seen."""

_BINS: Final = Bins.parse("7")
_SHARES: Final = (0.13, 0.12, 0.14, 0.18, 0.14, 0.16, 0.13)
"""Share of each of the seven published age bins."""


class Person(NamedTuple):
    """The labels of a drawn face; ``age`` in whole years, 0..116."""

    age: int
    gender: str
    ethnicity: str


class _Features(NamedTuple):
    """What tells the drawn ethnicities apart; units as in ``Look``."""

    skin: float
    hair: tuple[float, float]
    eye_open: float
    nose_width: float
    lips: float
    curl: float
    brow: float


_FEATURES: Final = {
    "white": _Features(skin=0.9, hair=(0.22, 0.7), eye_open=0.62, nose_width=0.085, lips=0.9, curl=0.0, brow=0.8),
    "black": _Features(skin=0.4, hair=(0.05, 0.12), eye_open=0.66, nose_width=0.16, lips=1.7, curl=0.09, brow=1.0),
    "asian": _Features(skin=0.84, hair=(0.04, 0.12), eye_open=0.3, nose_width=0.11, lips=1.0, curl=0.0, brow=0.8),
    "indian": _Features(skin=0.6, hair=(0.04, 0.12), eye_open=0.68, nose_width=0.1, lips=1.2, curl=0.0, brow=1.5),
    "others": _Features(skin=0.74, hair=(0.12, 0.3), eye_open=0.58, nose_width=0.13, lips=1.25, curl=0.07, brow=1.2),
}


def draw_faces(
    root: Path, count: int, seed: int = 0, size: int = 96, on_face: Callable[[], None] | None = None
) -> None:
    """Draw faces into ``root/faces`` and write their labels to ``root/labels.csv``, the table last.

    The same seed gives the same bytes, and each face depends on its own number alone: more faces leave the first ones
    as they were.

    Args:
        root: folder to draw into, made if need be.
        count: how many faces, at least 1.
        seed: 0 or above.
        size: edge of the pictures in pixels, at least 32.
        on_face: called after each face, for a progress bar.

    Raises:
        UsageError: a number out of its range.
        DataError: ``root`` holds a label table already, or cannot be written.
    """
    for name, value, least in (("count", count, 1), ("seed", seed, 0), ("size", size, MIN_SIZE)):
        if value < least:
            raise UsageError(f"the {name} of drawn faces is too small", got=str(value), remedy=f"give at least {least}")
    table = root / "labels.csv"
    if table.exists():
        raise DataError(f"{table} exists already", remedy="use the faces in that folder, or draw into another one")
    rows = []
    try:
        (root / "faces").mkdir(parents=True, exist_ok=True)
        for number in range(count):
            person, face = draw_face(seed, number, size)
            path = f"faces/{number:05d}.jpg"
            face.save(root / path, quality=90)
            rows.append((path, *person))
            if on_face:
                on_face()
        draft = root / f".labels.{os.getpid()}.csv"
        pd.DataFrame(rows, columns=["path", *Person._fields]).to_csv(draft, index=False, lineterminator="\n")
        draft.replace(table)
    except OSError as error:
        raise DataError(f"cannot draw faces into {root}", got=error.strerror or str(error)) from None


def draw_face(seed: int, number: int, size: int) -> tuple[Person, Image.Image]:
    """Draw face ``number`` of a seed: its labels and an RGB picture of ``size`` by ``size`` pixels."""
    rng = np.random.default_rng([seed, number])
    low, high = _BINS.ranges[rng.choice(len(_BINS), p=_SHARES)]
    # Few people are older than 95; a third of the oldest bin would be otherwise.
    age = int(rng.integers(low, high + 1)) if high < 116 else min(high, low + int(rng.gamma(2.0, 7.0)))
    person = Person(age, str(rng.choice(GENDERS)), str(rng.choice(ETHNICITIES)))
    return person, paint(_look(person, rng), _shot(rng), size, rng)


def _look(person: Person, rng: np.random.Generator) -> Look:
    # People look older or younger than they are: without that, the age of a drawing could be read off exactly.
    age = person.age * float(np.exp(rng.normal(0, 0.07)))
    male, adult = person.gender == "male", age >= 15
    # Likewise nobody's features are wholly those of their gender.
    manly = float(np.clip(rng.normal(0.8 if male else 0.2, 0.2), 0, 1))
    features = _FEATURES[person.ethnicity]

    def by_age(years: list[float], values: list[float], spread: float = 0.03) -> float:
        return float(np.interp(age, years, values) * rng.normal(1, spread))

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    grey = float(np.clip(rng.normal((age - 38) / 32, 0.12), 0, 1)) if age > 30 else 0.0
    hair = float(rng.uniform(*features.hair))
    balding = male and age > 35 and chance(min(0.7, (age - 30) / 70))
    long_hair = age > 3 and chance(0.06 if male else 0.8)
    wrinkles = float(np.interp(age, [26, 33, 42, 65, 85], [0, 0.22, 0.45, 0.8, 1]))
    return Look(
        width=by_age([0, 3, 8, 18], [0.63, 0.59, 0.55, 0.52]) * (0.97 + 0.06 * manly),
        height=by_age([0, 3, 8, 18], [0.62, 0.64, 0.68, 0.72]),
        jaw=(0.05 + 0.7 * manly) * float(np.interp(age, [4, 18], [0.2, 1])) + rng.uniform(0, 0.15),
        eye_y=by_age([0, 3, 7, 15, 30], [0.2, 0.12, 0.05, -0.02, -0.06], 0.1),
        eye_size=by_age([0, 3, 7, 15, 40, 90], [0.165, 0.145, 0.125, 0.11, 0.105, 0.09]),
        eye_open=features.eye_open * rng.normal(1, 0.08) * float(np.interp(age, [0, 8, 50, 90], [1.25, 1.1, 1, 0.8])),
        eye_gap=by_age([0, 10], [0.27, 0.235]),
        lash=0.055 - 0.035 * manly,
        brow=by_age([0, 3, 18], [0.015, 0.03, 0.045], 0.1) * features.brow * (0.75 + 0.6 * manly),
        nose_length=by_age([0, 3, 8, 18, 90], [0.15, 0.19, 0.25, 0.32, 0.38], 0.05),
        nose_width=features.nose_width * by_age([0, 18, 90], [0.8, 1, 1.15], 0.08),
        lips=0.032 * features.lips * by_age([20, 80], [1, 0.6], 0.1) * (1.25 - 0.4 * manly),
        mouth_width=by_age([0, 5, 18], [0.12, 0.15, 0.2], 0.1),
        smile=float(rng.normal(0.04, 0.04)),
        skin=features.skin * rng.normal(1, 0.09),
        hair=hair + (0.86 - hair) * grey,
        hairline=max(
            by_age([0, 1.5, 3, 6, 40, 80], [-0.97, -0.9, -0.72, -0.58, -0.58, -0.7], 0.04) - 0.2 * balding,
            -0.84 if adult else -1.0,
        ),
        hair_length=float(rng.uniform(0.45, 0.95)) if long_hair else -1.0,
        hair_volume=by_age([0, 2, 6], [0.0, 0.02, 0.07], 0.2) * (1.3 if long_hair else 1),
        curl=features.curl * float(np.interp(age, [0, 4], [0.2, 1])),
        bald=balding and chance(min(0.8, (age - 30) / 60)),
        beard=float(rng.uniform(0.35, 0.95)) if male and age > 18 and chance(0.45) else 0.0,
        wrinkles=min(1.0, wrinkles * rng.uniform(0.8, 1.2)),
        forehead_lines=round(by_age([30, 34, 50, 75], [0, 1, 2, 4], 0.15)),
        spots=int(rng.poisson(max(0.0, (age - 60) / 8))),
        earrings=not male and age > 3 and chance(0.5),
        glasses=adult and chance(0.15),
        wall=(float(rng.uniform(0.15, 0.95)), float(rng.uniform(0.15, 0.95))),
        clothes=float(rng.uniform(0.1, 0.95)),
    )


def _shot(rng: np.random.Generator) -> Shot:
    x, y, across, down = rng.uniform(-1, 1, 4).tolist()
    return Shot(
        turn=float(rng.normal(0, 5)),
        shift=(x * 0.07, y * 0.07),
        zoom=float(rng.uniform(0.9, 1.15)),
        light=float(rng.normal(1, 0.08)),
        slope=(across * 0.3, down * 0.2),
        noise=float(rng.uniform(2, 10)),
    )
