"""From an image file to a square uint8 array: the one decoder of splitting, training and predicting."""

import errno
import io
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from agecls.errors import DataError

DECODER_VERSION: Final = 1
"""Raised whenever the same bytes would decode to other pixels, so that no cache outlives its decoder."""

MODES: Final = {1: "L", 3: "RGB"}


def read_whole(path: Path) -> bytes:
    """Read a file.

    Raises:
        DataError: it cannot be read; the reason is the error's symbol (such as EACCES), the same on every machine.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({errno.errorcode.get(error.errno or 0, 'OSError')})") from None


def open_image(content: bytes) -> Image.Image:
    """Decode the whole of an image, upright.

    Raises:
        DataError: empty, truncated, or not an image that Pillow can read.
    """
    return _decode(content, None, None)


def decode_square(content: bytes, size: int, channels: int) -> npt.NDArray[np.uint8]:
    """Decode an image, scale its shorter side to ``size`` pixels and keep the centre square.

    Args:
        content: the file's bytes.
        size: side of the result in pixels.
        channels: 1 for grey (ITU-R 601 luma), 3 for RGB.

    Returns:
        uint8 of shape (size, size) for grey and (size, size, 3) for RGB.

    Raises:
        DataError: empty, truncated, or not an image that Pillow can read.
    """
    return square(_decode(content, size, MODES[channels]), size, channels)


def square(image: Image.Image, size: int, channels: int) -> npt.NDArray[np.uint8]:
    """Scale the shorter side of an open image to ``size`` and keep the centre square; shapes as ``decode_square``."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    fitted = image.convert(MODES[channels]).resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side), reducing_gap=3.0
    )
    return np.asarray(fitted)


def _decode(content: bytes, size: int | None, mode: str | None) -> Image.Image:
    if not content:
        raise DataError("empty file")
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        if size is not None:
            # A JPEG can be decoded straight to grey and to a fraction of its size: several times faster.
            image.draft(mode, (size, size))
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
            # Pillow clips these when converting; scale sixteen-bit greys to eight bits instead.
            upright = Image.fromarray((np.asarray(upright, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
        return _on_white(upright)
    except Image.DecompressionBombError:
        raise DataError("image of too many pixels") from None
    except Exception:  # damaged files make Pillow's plugins raise nearly anything
        raise DataError("unreadable or truncated image") from None


def _on_white(image: Image.Image) -> Image.Image:
    """Lay a picture with transparency on white; hidden colours under alpha are arbitrary."""
    if image.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and "transparency" not in image.info:
        return image
    seen = image.convert("RGBA")
    ground = Image.new("RGBA", seen.size, "white")
    ground.alpha_composite(seen)
    return ground.convert("RGB")
