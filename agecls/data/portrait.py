"""Paint one face from a few dozen numbers; what the numbers mean for age or gender is decided in ``synthetic``."""

from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from agecls.data.brush import Brush, Points, Shot, Tone, photograph, tone

_SKIN_TINT: Final = (1.0, 0.84, 0.73)
_HAIR_TINT: Final = (1.0, 0.88, 0.78)
_AROUND: Final = np.linspace(-np.pi, np.pi, 41)
"""Angles round the head: 0 is the top, both ends are the chin."""


class Look(NamedTuple):
    """One face. Lengths are in half picture widths, tones in 0 (black) to 1 (white).

    Attributes:
        width: half the width of the head.
        height: half its height, chin to crown.
        jaw: 0 for a round chin line, 1 for a square one.
        eye_y: height of the eyes, below the middle of the head.
        eye_size: half the width of an eye.
        eye_open: height of an eye over its width.
        eye_gap: distance of each eye from the middle.
        lash: thickness of the upper lid.
        brow: thickness of the eyebrows.
        nose_length: from the eyes down.
        nose_width: half the distance of the nostrils.
        lips: thickness of the mouth.
        mouth_width: half the width of the mouth.
        smile: upwards bend of the mouth; negative when it hangs.
        skin: tone of the skin.
        hair: tone of the hair.
        hairline: height of the front hairline on the head, -1 the crown, 0 the middle; below -0.85 only a tuft is left.
        hair_length: how far the hair falls behind the head, -1 not at all, 1 to the lower edge of the picture.
        hair_volume: thickness of the hair round the skull.
        curl: radius of the locks along the hair's outline.
        bald: whether the crown is bare, with hair at the sides alone.
        beard: 0 none, up to 1 for a full one.
        wrinkles: depth of the folds, 0 to 1.
        forehead_lines: how many lines cross the forehead.
        spots: how many age spots.
        earrings: whether there are any.
        glasses: whether there are any.
        wall: tones of the background, top and bottom.
        clothes: tone of the shoulders.
    """

    width: float
    height: float
    jaw: float
    eye_y: float
    eye_size: float
    eye_open: float
    eye_gap: float
    lash: float
    brow: float
    nose_length: float
    nose_width: float
    lips: float
    mouth_width: float
    smile: float
    skin: float
    hair: float
    hairline: float
    hair_length: float
    hair_volume: float
    curl: float
    bald: bool
    beard: float
    wrinkles: float
    forehead_lines: int
    spots: int
    earrings: bool
    glasses: bool
    wall: tuple[float, float]
    clothes: float


def paint(look: Look, shot: Shot, size: int, rng: np.random.Generator) -> Image.Image:
    """Paint one face.

    Args:
        look: the face.
        shot: how it is photographed.
        size: edge of the picture in pixels.
        rng: places spots, things in the background and grain.

    Returns:
        RGB, ``size`` by ``size`` pixels.
    """
    brush = Brush(size)
    _background(brush, look, rng)
    _hair_behind(brush, look)
    _head(brush, look, rng)
    _age_lines(brush, look)
    _eyes(brush, look)
    _nose_and_mouth(brush, look)
    _hair_in_front(brush, look)
    _extras(brush, look)
    return photograph(brush.image, shot, size, rng)


def _skin(look: Look, shade: float = 1.0) -> Tone:
    return tone(look.skin * shade, _SKIN_TINT)


def _hair(look: Look, shade: float = 1.0) -> Tone:
    return tone(look.hair * shade, _HAIR_TINT)


def _outline(look: Look, grow: float = 0.0) -> Points:
    """Points round the head, shape (41, 2), from the chin over one ear, the crown and the other ear to the chin."""
    height = -np.cos(_AROUND)
    roundness = np.sqrt(np.maximum(1 - np.abs(height) ** (2.0 + look.jaw), 0))
    chin = 1 - (0.28 - 0.16 * look.jaw) * np.maximum(height, 0) ** 2
    side = np.sign(np.sin(_AROUND)) * roundness * chin
    return np.stack([side * (look.width + grow), height * (look.height + grow)], axis=1)


def _background(brush: Brush, look: Look, rng: np.random.Generator) -> None:
    top, bottom = look.wall
    for number, level in enumerate(np.linspace(top, bottom, 8).tolist()):
        brush.shape(
            np.array([[-1, number / 4 - 1], [1, number / 4 - 1], [1, number / 4 - 0.7], [-1, number / 4 - 0.7]]),
            tone(level),
        )
    for x, y, rx, ry, level in rng.uniform((-1, -1, 0.1, 0.1, 0.1), (1, 0.6, 0.5, 0.6, 0.95), (4, 5)).tolist():
        brush.ellipse(x, y, rx, ry, tone(level))
    brush.ellipse(0, 1.25, 0.95, 0.55, tone(look.clothes))
    brush.shape(np.array([[-0.24, 0.4], [0.24, 0.4], [0.28, 0.9], [-0.28, 0.9]]), _skin(look, 0.8))


def _hair_behind(brush: Brush, look: Look) -> None:
    if look.hair_length > -1:
        wide = look.width + look.hair_volume + 0.08
        brush.ellipse(0, -0.05, wide, look.height + look.hair_volume, _hair(look, 0.8))
        corners = [[-wide, -0.1], [wide, -0.1], [wide * 0.95, look.hair_length], [-wide * 0.95, look.hair_length]]
        brush.shape(np.array(corners), _hair(look, 0.8))
        if look.curl:
            for y in np.arange(0.0, look.hair_length, 0.16).tolist():
                brush.ellipse(-wide, y, look.curl, 0.1, _hair(look, 0.8))
                brush.ellipse(wide, y, look.curl, 0.1, _hair(look, 0.8))


def _head(brush: Brush, look: Look, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        brush.ellipse(side * look.width, look.eye_y + 0.08, 0.09, 0.14, _skin(look, 0.85))
    brush.shape(_outline(look), _skin(look))
    for x, y, radius in rng.uniform((-0.8, -0.6, 0.015), (0.8, 0.6, 0.035), (look.spots, 3)).tolist():
        brush.ellipse(x * look.width, y * look.height, radius, radius * 0.8, _skin(look, 0.78))
    if look.beard:
        outline = _outline(look, 0.02)
        left, right = (half[half[:, 1] > look.height * 0.25] for half in np.array_split(outline, 2))
        lip_x, lip_y = look.width * 0.45, look.height * 0.5
        moustache = np.array([[-lip_x, lip_y], [0, look.height * 0.42], [lip_x, lip_y]])
        mixed = look.skin + (look.hair * 0.9 - look.skin) * look.beard
        brush.shape(np.concatenate([left, moustache, right]), tone(mixed, _HAIR_TINT))


def _age_lines(brush: Brush, look: Look) -> None:
    if look.wrinkles <= 0:
        return
    fold = _skin(look, 1 - 0.5 * look.wrinkles)
    for number in range(look.forehead_lines):
        y = look.eye_y - 0.24 - 0.09 * number
        brush.arc(0, y + 0.15, look.width * 0.75, 0.18, (230, 310), fold, 0.022)
    mouth_y = look.height * 0.55
    for side in (-1, 1):
        x = side * (look.nose_width + 0.06)
        brush.line(
            [(x, look.eye_y + look.nose_length), (x + side * 0.1, mouth_y), (x + side * 0.08, mouth_y + 0.08)],
            fold,
            0.024,
        )
        brush.arc(side * look.eye_gap, look.eye_y + 0.07, look.eye_size * 1.1, 0.07, (20, 160), fold, 0.022)
        corner = side * (look.eye_gap + look.eye_size * 1.25)
        if look.wrinkles > 0.35:
            for rise in (-0.07, 0.0, 0.07):
                brush.line([(corner, look.eye_y + rise * 0.3), (corner + side * 0.09, look.eye_y + rise)], fold, 0.018)
        if look.wrinkles > 0.6:
            brush.arc(
                side * look.width * 0.55, look.height * 0.45, 0.13, 0.2, (0, 90) if side > 0 else (90, 180), fold, 0.024
            )


def _eyes(brush: Brush, look: Look) -> None:
    tall = look.eye_size * look.eye_open
    for side in (-1, 1):
        x = side * look.eye_gap
        brush.ellipse(x, look.eye_y, look.eye_size, tall, tone(0.95))
        iris = min(look.eye_size * 0.62, tall)
        brush.ellipse(x, look.eye_y, iris, iris, tone(0.13, _HAIR_TINT))
        brush.ellipse(x - iris * 0.35, look.eye_y - iris * 0.4, iris * 0.25, iris * 0.25, tone(0.95))
        brush.arc(x, look.eye_y, look.eye_size * 1.1, tall * 1.15, (190, 350), tone(0.08), look.lash)
        if look.brow > 0:
            brow_y = look.eye_y - tall - 0.1
            inner, outer = x - side * look.eye_size * 1.1, x + side * look.eye_size * 1.3
            brush.line(
                [(inner, brow_y), (x + side * 0.02, brow_y - 0.04), (outer, brow_y + 0.01)],
                _hair(look, 0.75),
                look.brow,
            )


def _nose_and_mouth(brush: Brush, look: Look) -> None:
    tip = look.eye_y + look.nose_length
    shade = _skin(look, 0.72)
    brush.line([(0.03, look.eye_y + 0.05), (0.05, tip - 0.05)], _skin(look, 0.86), 0.03)
    brush.ellipse(0, tip - 0.01, look.nose_width, 0.05, _skin(look, 0.88))
    for side in (-1, 1):
        brush.ellipse(side * look.nose_width * 0.7, tip + 0.02, look.nose_width * 0.32, 0.028, shade)
    mouth_y = look.height * 0.6
    lip = tone(look.skin * 0.62, (1.0, 0.62, 0.6))
    brush.ellipse(0, mouth_y, look.mouth_width, look.lips, lip)
    bend = abs(look.smile) + 0.01
    if look.smile >= 0:
        brush.arc(0, mouth_y - bend, look.mouth_width * 1.1, bend * 1.3, (20, 160), tone(0.15), 0.02)
    else:
        brush.arc(0, mouth_y + bend, look.mouth_width * 1.1, bend * 1.3, (200, 340), tone(0.15), 0.02)


def _hair_in_front(brush: Brush, look: Look) -> None:
    outline = _outline(look, look.hair_volume)
    low = look.eye_y if look.hair_length < 0 else look.eye_y + 0.15
    above = outline[outline[:, 1] < low]
    line = look.hairline * look.height
    if look.bald:
        for side in (-1, 1):
            brush.ellipse(side * (look.width + 0.02), look.eye_y - 0.12, 0.07, 0.24, _hair(look))
        return
    if look.hairline < -0.85:
        brush.ellipse(0, -look.height, 0.13, 0.05, _hair(look, 1.3))
        return
    inner = look.width * 0.9
    front = np.array(
        [
            [inner, low],
            [inner * 0.9, line * 0.75],
            [inner * 0.45, line],
            [0, line * 1.03],
            [-inner * 0.45, line],
            [-inner * 0.9, line * 0.75],
            [-inner, low],
        ]
    )
    brush.shape(np.concatenate([above, front]), _hair(look))
    if look.curl:
        for x, y in above[::2].tolist():
            brush.ellipse(x, y, look.curl, look.curl, _hair(look))


def _extras(brush: Brush, look: Look) -> None:
    if look.earrings:
        for side in (-1, 1):
            brush.ellipse(side * (look.width + 0.03), look.eye_y + 0.28, 0.05, 0.06, tone(0.97, (1.0, 0.95, 0.7)))
    if look.glasses:
        for side in (-1, 1):
            brush.ring(side * look.eye_gap, look.eye_y, look.eye_gap * 0.82, 0.15, tone(0.1), 0.025)
        brush.line([(-look.eye_gap * 0.2, look.eye_y), (look.eye_gap * 0.2, look.eye_y)], tone(0.1), 0.025)
