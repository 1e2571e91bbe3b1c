"""Decoding: whatever the file format, the same upright square picture, or a refusal."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.Image import Transpose

from agecls.data.pixels import decode_square, open_image, square
from agecls.data.synthetic import draw_face
from agecls.errors import DataError

Pixels = npt.NDArray[np.uint8]


def encode(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format_, **options)
    return buffer.getvalue()


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def face(size: int = 96) -> Image.Image:
    return draw_face(0, 1, size)[1]


def luma(rgb: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("size", [16, 48, 200])
def test_shapes(size: int) -> None:
    content = encode(face())
    grey, colour = (decode_square(content, size, channels) for channels in (1, 3))
    assert (grey.shape, grey.dtype) == ((size, size), np.uint8)
    assert (colour.shape, colour.dtype) == ((size, size, 3), np.uint8)


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    pixels = noise(32, 32, 3)
    np.testing.assert_array_equal(decode_square(encode(Image.fromarray(pixels)), 32, 3), pixels)


def test_grey_is_the_luma_of_the_colours_within_rounding() -> None:
    pixels = noise(32, 32, 3)
    grey = decode_square(encode(Image.fromarray(pixels)), 32, 1)
    assert np.abs(grey - luma(pixels)).max() <= 0.51


def test_grey_of_a_jpeg_is_the_luma_of_its_colours() -> None:
    content = encode(face(), "JPEG", quality=90)
    grey, colour = decode_square(content, 96, 1), decode_square(content, 96, 3)
    # The JPEG holds luma itself: colours are derived from it, rounded and clipped.
    difference = np.abs(grey - luma(colour))
    assert difference.mean() < 1
    assert np.quantile(difference, 0.99) < 3


def test_a_large_jpeg_shrinks_to_what_its_whole_picture_shrinks_to() -> None:
    picture = face(640)
    expected = square(picture, 64, 1).astype(float)
    assert np.abs(decode_square(encode(picture, "JPEG", quality=98), 64, 1) - expected).mean() < 2


@pytest.mark.parametrize("channels", [1, 3])
def test_an_open_image_gives_the_same_square_as_its_bytes(channels: int) -> None:
    content = encode(face().crop((0, 0, 96, 70)))
    np.testing.assert_array_equal(square(open_image(content), 48, channels), decode_square(content, 48, channels))


STORED = {
    1: None,
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}
"""How a camera that writes each EXIF orientation stores an upright picture."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_pictures_are_turned_upright_as_exif_says(orientation: int, format_: str) -> None:
    upright = face().crop((0, 0, 96, 64))
    turn = STORED[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if format_ == "PNG" else {"quality": 98, "subsampling": 0}
    decoded = decode_square(encode(stored, format_, exif=exif, **options), 64, 3).astype(float)
    expected = square(upright, 64, 3)
    assert np.abs(decoded - expected).mean() < (0.01 if format_ == "PNG" else 2)
    assert open_image(encode(stored, format_, exif=exif)).size == (96, 64)


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bit_greys_are_scaled_and_not_clipped(format_: str) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    decoded = decode_square(encode(Image.fromarray(levels * 257), format_), 16, 1)
    np.testing.assert_array_equal(decoded, levels)


def test_a_palette_gives_the_colours_it_stands_for() -> None:
    picture = face().quantize(16)
    decoded = decode_square(encode(picture), 96, 3)
    np.testing.assert_array_equal(decoded, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_white(mode: str) -> None:
    dark = Image.new("RGBA", (32, 32), (10, 20, 30, 255))
    dark.paste((200, 0, 0, 0), (0, 0, 16, 32))
    picture = dark.quantize(4) if mode == "P" else dark.convert(mode)
    decoded = decode_square(encode(picture), 32, 3)
    assert decoded[:, :16].min() == 255
    assert decoded[:, 16:].max() <= 30


def test_half_transparent_is_half_white() -> None:
    decoded = decode_square(encode(Image.new("RGBA", (16, 16), (0, 0, 0, 128))), 16, 1)
    assert abs(int(decoded[0, 0]) - 127) <= 1


@pytest.mark.parametrize("format_", ["TIFF", "JPEG"])
def test_cmyk_gives_the_colours_it_stands_for(format_: str) -> None:
    picture = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    decoded = decode_square(encode(picture, format_), 32, 3)
    assert np.abs(decoded[16, 16].astype(int) - [255, 0, 0]).max() <= 3
    assert abs(int(decode_square(encode(picture, format_), 32, 1)[16, 16]) - 76) <= 3


def test_black_and_white_is_black_and_white() -> None:
    picture = Image.fromarray(noise(32, 32)).convert("1")
    np.testing.assert_array_equal(decode_square(encode(picture), 32, 1), np.asarray(picture) * 255)


@pytest.mark.parametrize("size", [(90, 30), (30, 90)])
def test_of_a_picture_that_is_no_square_the_centre_stays(size: tuple[int, int]) -> None:
    picture = Image.new("L", size, 0)
    picture.paste(200, ((size[0] - 30) // 2, (size[1] - 30) // 2, (size[0] + 30) // 2, (size[1] + 30) // 2))
    assert (decode_square(encode(picture), 30, 1) == 200).all()


def test_an_odd_margin_is_cut_half_a_pixel_at_a_time() -> None:
    ramp = np.tile(np.arange(33, dtype=np.uint8) * 7, (32, 1))
    decoded = decode_square(encode(Image.fromarray(ramp)), 32, 1).astype(int)
    assert np.abs(decoded[0] + decoded[0, ::-1] - 32 * 7).max() <= 1


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_files_are_refused(format_: str, share: float) -> None:
    content = encode(face(), format_)
    for decode in (open_image, lambda cut: decode_square(cut, 24, 1)):
        with pytest.raises(DataError, match=r"^unreadable or truncated image$"):
            decode(content[: int(len(content) * share)])


@pytest.mark.parametrize(
    "content", [b"text, not pixels\n", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", bytes(64)]
)
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^unreadable or truncated image$"):
        open_image(content)


def test_an_empty_file_is_refused_as_such() -> None:
    with pytest.raises(DataError, match=r"^empty file$"):
        decode_square(b"", 16, 1)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_header_that_promises_billions_of_pixels_is_refused_before_they_are_made() -> None:
    with pytest.raises(DataError, match=r"^image of too many pixels$"):
        open_image(png_header(100_000, 100_000))


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        open_image(content)


JPEG = encode(face(32), "JPEG")


@given(place=st.integers(0, len(JPEG) - 1), byte=st.integers(0, 255))
def test_a_damaged_jpeg_is_decoded_or_refused(place: int, byte: int) -> None:
    content = bytearray(JPEG)
    content[place] = byte
    try:
        decoded = decode_square(bytes(content), 16, 1)
    except DataError:
        return
    assert decoded.shape == (16, 16)
