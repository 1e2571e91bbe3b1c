"""What drawn faces are made with: a brush in picture coordinates, and the camera that takes the painting."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Tone = tuple[int, int, int]
Points = npt.NDArray[np.float64]

OVERSAMPLING: Final = 2


class Shot(NamedTuple):
    """How a face was photographed.

    Attributes:
        turn: rotation in degrees.
        shift: right and down, in half picture widths.
        zoom: 1 as painted, above 1 nearer.
        light: brightness, 1 as painted.
        slope: how much brighter the right edge is than the left one, and the lower than the upper.
        noise: standard deviation of the grain, in grey levels 0..255.
    """

    turn: float
    shift: tuple[float, float]
    zoom: float
    light: float
    slope: tuple[float, float]
    noise: float


class Brush:
    """Draws in a frame of -1..1 both ways, the origin in the middle, y downwards.

    Args:
        size: edge of the finished picture in pixels; the canvas is larger, so that lines come out smooth.
    """

    def __init__(self, size: int) -> None:
        edge = size * OVERSAMPLING
        self.half = edge / 2
        self.image = Image.new("RGB", (edge, edge))
        self.draw = ImageDraw.Draw(self.image)

    def _box(self, x: float, y: float, rx: float, ry: float) -> list[float]:
        return [(1 + value) * self.half for value in (x - rx, y - ry, x + rx, y + ry)]

    def ellipse(self, x: float, y: float, rx: float, ry: float, tone: Tone) -> None:
        """Fill an ellipse of half axes ``rx`` and ``ry`` round (x, y)."""
        self.draw.ellipse(self._box(x, y, rx, ry), fill=tone)

    def ring(self, x: float, y: float, rx: float, ry: float, tone: Tone, width: float) -> None:
        """Draw the outline of an ellipse."""
        self.draw.ellipse(self._box(x, y, rx, ry), outline=tone, width=self._width(width))

    def arc(self, x: float, y: float, rx: float, ry: float, degrees: tuple[float, float], tone: Tone, w: float) -> None:
        """Draw a part of an ellipse, from one angle to another, clockwise from the right."""
        self.draw.arc(self._box(x, y, rx, ry), *degrees, fill=tone, width=self._width(w))

    def line(self, points: list[tuple[float, float]], tone: Tone, width: float) -> None:
        """Draw a line through points."""
        placed = [((1 + x) * self.half, (1 + y) * self.half) for x, y in points]
        self.draw.line(placed, fill=tone, width=self._width(width), joint="curve")

    def shape(self, points: Points, tone: Tone) -> None:
        """Fill a polygon; points of shape (N, 2)."""
        self.draw.polygon(((1 + points) * self.half).ravel().tolist(), fill=tone)

    def _width(self, width: float) -> int:
        return max(1, round(width * self.half))


def tone(level: float, tint: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Tone:
    """Return the RGB colour of a grey level in 0..1 under a tint."""
    red, green, blue = (round(255 * min(max(level, 0.0), 1.0) * part) for part in tint)
    return red, green, blue


def photograph(painted: Image.Image, shot: Shot, size: int, rng: np.random.Generator) -> Image.Image:
    """Turn a painted canvas into a picture of ``size`` by ``size`` pixels, as ``shot`` says."""
    middle = painted.width / 2
    cos, sin = np.cos(np.radians(shot.turn)) / shot.zoom, np.sin(np.radians(shot.turn)) / shot.zoom
    x, y = (middle * (1 + moved) for moved in shot.shift)
    back = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    placed = painted.transform(
        painted.size, Image.Transform.AFFINE, back, Image.Resampling.BILINEAR, fillcolor=painted.getpixel((1, 1))
    )
    pixels = np.asarray(placed.reduce(OVERSAMPLING), dtype=np.float32)
    across = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    light = shot.light + shot.slope[0] * across[None, :] + shot.slope[1] * across[:, None]
    grain = rng.standard_normal((size, size), dtype=np.float32) * shot.noise
    lit = pixels * light[:, :, None] + grain[:, :, None]
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
