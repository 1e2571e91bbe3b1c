"""Near twins by hash: copies are found, other faces are not."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from agecls.data.looks import look
from agecls.data.spectrum import Thumbnails, perceptual_hashes
from agecls.data.synthetic import draw_face
from agecls.learn.alike import find_alike
from agecls.learn.lineage import Lineage

Change = Callable[[Image.Image], Image.Image]


def crop(image: Image.Image, left: float, upper: float, right: float, lower: float) -> Image.Image:
    width, height = image.size
    box = (round(left * width), round(upper * height), round((1 - right) * width), round((1 - lower) * height))
    return image.crop(box).resize(image.size, Image.Resampling.BICUBIC)


def smaller(image: Image.Image) -> Image.Image:
    side = round(0.9 * image.width)
    return image.resize((side, side), Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)


CHANGES: dict[str, Change] = {
    "encoded anew": lambda image: image,
    "resized": smaller,
    "mirrored": ImageOps.mirror,
    "grey": lambda image: image.convert("L"),
    "brighter": lambda image: image.point(lambda value: min(value + 15, 255)),
    "cropped": lambda image: crop(image, 0.03, 0.03, 0.03, 0.03),
    "cropped at two sides": lambda image: crop(image, 0.03, 0.0, 0.0, 0.03),
    "cropped and mirrored": lambda image: ImageOps.mirror(crop(image, 0.03, 0.03, 0.03, 0.03)),
}
"""Ways to store one photograph twice."""


def thumbnails(images: list[Image.Image]) -> Thumbnails:
    looks = []
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=60)
        looks.append(look(buffer.getvalue())[: 64 * 64].reshape(64, 64))
    return np.stack(looks)


@pytest.fixture(scope="module")
def drawn() -> list[Image.Image]:
    return [draw_face(5, number, 128)[1] for number in range(80)]


@pytest.mark.parametrize(("name", "least"), [(name, 1.0 if "crop" not in name else 0.85) for name in CHANGES])
def test_copies_of_drawn_faces_are_found(name: str, least: float, drawn: list[Image.Image]) -> None:
    found = find_alike(perceptual_hashes(thumbnails(drawn)), thumbnails([CHANGES[name](image) for image in drawn]))
    assert (found == np.arange(len(drawn))).mean() >= least
    assert np.isin(found, [-1, *range(len(drawn))]).all()


def test_other_drawn_faces_are_not_alike(drawn: list[Image.Image]) -> None:
    others = thumbnails([draw_face(6, number, 128)[1] for number in range(120)])
    assert (find_alike(perceptual_hashes(thumbnails(drawn)), others) == -1).all()


def test_blank_images_are_alike_to_nothing() -> None:
    blank = np.full((3, 64, 64), 200, np.uint8)
    assert (find_alike(perceptual_hashes(blank), blank) == -1).all()


def test_nothing_to_compare() -> None:
    some = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    assert find_alike(np.empty((0, 22), np.uint8), some).tolist() == [-1, -1]
    assert find_alike(perceptual_hashes(some), some[:0]).tolist() == []
    assert find_alike(perceptual_hashes(some), some).tolist() == [0, 1]


def test_near_twins_count_except_for_ancestors_of_the_very_split(drawn: list[Image.Image]) -> None:
    originals, copies = thumbnails(drawn), thumbnails([ImageOps.mirror(image) for image in drawn])
    names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(160)]
    fitted, asked = (names[:80], perceptual_hashes(originals)), names[80:]
    own = Lineage.of("run", "s", fitted=fitted)
    assert own.meet(asked, copies, "s").count == 0
    assert own.meet(asked, copies, "t").near.all()
    assert own.meet(asked, copies).near.all()
    assert own.meet(fitted[0], originals, "s").exact.all()
    child = Lineage.of("child", "t", parents=[own])
    assert child.meet(asked, copies, "t").fitters[0].run == "run"
    chosen = Lineage.of("run", "s", selected=fitted)
    assert chosen.meet(asked, copies).count == 0


@pytest.mark.real
def test_copies_of_real_faces_are_found_and_other_people_are_not(utkface: Path) -> None:
    files = sorted(utkface.rglob("*.jpg"))[::23]
    images = [Image.open(file).convert("RGB") for file in files[:800]]
    fitted, others = images[:400], images[400:]
    hashes = perceptual_hashes(thumbnails(fitted))
    found = find_alike(hashes, thumbnails(others))
    assert (found >= 0).sum() <= 1
    for name, change in CHANGES.items():
        found = find_alike(hashes, thumbnails([change(image) for image in fitted[::4]]))
        share = (found == np.arange(0, 400, 4)).mean()
        assert share >= (0.9 if "crop" in name else 1.0), (name, share)
