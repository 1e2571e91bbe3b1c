"""The contact sheet of ``predict --plot``: faces in a grid, what was predicted under each."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont, ImageOps

from agecls.errors import UsageError

CAPTION = str | tuple[str, float]
"""One line under a face; with a probability in 0..1 a bar is drawn below the text."""

SHOWN: Final = 64
"""Most faces on one sheet; the sheet says how many more there were."""

_FACE, _GAP, _MARGIN = 168, 18, 24  # pixels
_LINE, _BAR = 20, 5  # pixels; height of a text line and of a probability bar
_COLUMNS: Final = 8
_INK, _MUTED, _TRACK, _BLUE, _RED = "#1d2433", "#5b6475", "#e3e7ee", "#2a4d7e", "#b3261e"


def contact_sheet(
    images: Sequence[Image.Image],
    captions: Sequence[Sequence[CAPTION]],
    *,
    title: str = "",
    leaked: bool = False,
    columns: int | None = None,
) -> Image.Image:
    """Draw faces in a grid with lines of text under each.

    Args:
        images: at least one image of any mode and size; the first 64 are shown.
        captions: as many as images; lines under each image, each text or ``(text, probability in 0..1)``.
        title: one line above the grid.
        leaked: whether to mark the sheet LEAKED.
        columns: faces in a row; by default as many as make the grid about square, at most 8.

    Returns:
        RGB image.

    Raises:
        UsageError: there is no image, or the numbers of images and captions differ.
    """
    if not images or len(images) != len(captions):
        got = f"{len(images)} images, {len(captions)} captions"
        raise UsageError("a contact sheet needs one caption for each of at least one image", got=got)
    more = len(images) - SHOWN
    images, captions = images[:SHOWN], captions[:SHOWN]
    columns = columns or min(_COLUMNS, math.ceil(math.sqrt(len(images))))
    rows = math.ceil(len(images) / columns)
    cell = _FACE + 8 + max(_height(lines) for lines in captions)
    width = max(2 * _MARGIN + columns * (_FACE + _GAP) - _GAP, 2 * _MARGIN + 2 * _FACE)
    top = _MARGIN + (40 if leaked else 0) + (36 if title else 0)
    height = top + rows * (cell + _GAP) - _GAP + _MARGIN + (28 if more > 0 else 0)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    if leaked:
        draw.rectangle((0, 0, width, 40), fill=_RED)
        _line(draw, (_MARGIN, 10), "LEAKED", width - 2 * _MARGIN, "white", 16, bold=True)
    if title:
        _line(draw, (_MARGIN, top - 36), title, width - 2 * _MARGIN, _INK, 18, bold=True)
    for place, (image, lines) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(place, columns)
        left, upper = _MARGIN + column * (_FACE + _GAP), top + row * (cell + _GAP)
        sheet.paste(ImageOps.pad(image.convert("RGB"), (_FACE, _FACE), color=_TRACK), (left, upper))
        _captions(draw, left, upper + _FACE + 8, lines)
    if more > 0:
        _line(draw, (_MARGIN, height - _MARGIN - 16), f"and {more:,} more", width - 2 * _MARGIN, _MUTED, 14)
    return sheet


def _height(lines: Sequence[CAPTION]) -> int:
    return sum(_LINE if isinstance(line, str) else _LINE + _BAR + 4 for line in lines)


def _captions(draw: ImageDraw.ImageDraw, left: int, upper: int, lines: Sequence[CAPTION]) -> None:
    for line in lines:
        text = line if isinstance(line, str) else line[0]
        _line(draw, (left, upper), text, _FACE, _INK, 13)
        upper += _LINE
        if not isinstance(line, str):
            share = min(max(line[1], 0.0), 1.0)
            draw.rectangle((left, upper, left + _FACE - 1, upper + _BAR - 1), fill=_TRACK)
            if share * _FACE >= 1:
                draw.rectangle((left, upper, left + round(share * _FACE) - 1, upper + _BAR - 1), fill=_BLUE)
            upper += _BAR + 4


def _line(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, ink: str, size: int, *, bold: bool = False
) -> None:
    """Write one line of at most ``width`` pixels; what does not fit is cut and ends in an ellipsis."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    font = ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / name, size)
    text = " ".join(text.split()).encode("utf-8", "backslashreplace").decode()
    shown = text
    while shown and draw.textlength(shown, font=font) > width:
        text = text[:-1]
        shown = f"{text}…" if text else ""
    draw.text(at, shown, fill=ink, font=font)
