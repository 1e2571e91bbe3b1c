"""Near twins: every small change of a photograph is seen through, and different photographs stay apart."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from agecls.data import near
from agecls.data.looks import look
from agecls.data.near import likeness, near_pairs
from agecls.data.spectrum import SIDE, perceptual_hashes, spectrum
from agecls.data.synthetic import draw_face

Change = Callable[[Image.Image], Image.Image]


def crop(left: float, upper: float, right: float, lower: float) -> Change:
    def change(image: Image.Image) -> Image.Image:
        width, height = image.size
        box = (round(width * left), round(height * upper), round(width * (1 - right)), round(height * (1 - lower)))
        return image.crop(box).resize(image.size, Image.Resampling.BICUBIC)

    return change


CHANGES: dict[str, Change] = {
    "as it is": lambda image: image,
    "resized": lambda image: image.resize((180, 180), Image.Resampling.BICUBIC).resize((200, 200)),
    "mirrored": ImageOps.mirror,
    "cropped by 3 %": crop(0.03, 0.03, 0.03, 0.03),
    "cropped by 6 %": crop(0.06, 0.06, 0.06, 0.06),
    "cropped at one corner": crop(0.03, 0, 0, 0.03),
    "brighter": lambda image: image.point(lambda value: min(255, value + 15)),
    "flatter": lambda image: image.point(lambda value: 40 + value // 2),
    "mirrored and cropped": lambda image: crop(0.03, 0.03, 0.03, 0.03)(ImageOps.mirror(image)),
}


def thumbnail(image: Image.Image, quality: int = 60) -> npt.NDArray[np.uint8]:
    """Of the image as JPEG, so that no two are equal."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return look(buffer.getvalue())[: SIDE * SIDE].reshape(SIDE, SIDE)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [draw_face(11, number, 200)[1] for number in range(40)]


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_found_among_others(name: str, pictures: list[Image.Image]) -> None:
    originals = [thumbnail(each, 95) for each in pictures]
    copies = [thumbnail(CHANGES[name](each)) for each in pictures]
    found = near_pairs(np.stack([*originals, *copies]))
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert {(row, row + len(pictures)) for row in range(len(pictures))} <= pairs
    assert (found.score >= near.DOUBTFUL).all()


def test_different_faces_are_not_one_photograph(pictures: list[Image.Image]) -> None:
    assert not len(near_pairs(np.stack([thumbnail(each, 95) for each in pictures])).first)


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(16)))
def test_the_order_of_the_images_does_not_matter(order: list[int]) -> None:
    faces = [draw_face(12, number, 96)[1] for number in range(8)]
    images = np.stack(
        [thumbnail(each, 95) for each in faces] + [thumbnail(CHANGES["mirrored"](each)) for each in faces]
    )
    found = near_pairs(images[order])
    named = {frozenset((order[one], order[two])) for one, two in zip(found.first, found.second, strict=True)}
    assert named == {frozenset((number, number + 8)) for number in range(8)}


def test_a_family_larger_than_the_neighbours_asked_for_hangs_together(pictures: list[Image.Image]) -> None:
    family = np.stack([thumbnail(pictures[0], quality) for quality in range(40, 95, 4)])
    assert len(family) > 2 * near.NEIGHBOURS
    found = near_pairs(np.concatenate([family, np.stack([thumbnail(each) for each in pictures[1:]])]))
    reached, before = {0}, set[int]()
    while reached != before:
        before = set(reached)
        for one, two in zip(found.first.tolist(), found.second.tolist(), strict=True):
            reached |= {one, two} if {one, two} & reached else set()
    assert reached == set(range(len(family)))


def test_blank_images_are_no_twins_and_no_error() -> None:
    blank = np.stack([np.full((SIDE, SIDE), level, np.uint8) for level in (0, 1, 100, 254)])
    assert not len(near_pairs(blank).first)
    assert likeness(blank[0], blank[1]) == 0
    assert not spectrum(blank).any()


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare_is_no_error(count: int) -> None:
    assert not len(near_pairs(np.zeros((count, SIDE, SIDE), np.uint8)).first)


def test_the_index_of_large_sets_finds_what_the_exact_one_finds(
    pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    base = np.stack([thumbnail(each, 95) for each in pictures]).astype(np.float64)
    mixed = base[rng.integers(0, 40, (3, 4000))].mean(axis=0)
    images = np.concatenate([mixed, mixed[:200] + rng.normal(0, 4, (200, SIDE, SIDE))]).clip(0, 255).astype(np.uint8)
    exact = near_pairs(images)
    monkeypatch.setattr(near, "EXACT", 1000)
    cells = near_pairs(images)
    planted = {(row, 4000 + row) for row in range(200)}
    assert planted <= set(zip(exact.first.tolist(), exact.second.tolist(), strict=True))
    assert planted <= set(zip(cells.first.tolist(), cells.second.tolist(), strict=True))


def test_zooming_a_spectrum_is_zooming_its_image(pictures: list[Image.Image]) -> None:
    image = pictures[3]
    zoomed = crop(0.05, 0.05, 0.05, 0.05)(image)
    plain, magnified = np.stack([thumbnail(image, 95)]), np.stack([thumbnail(zoomed, 95)])
    assert float((spectrum(plain, zoom=1 / 0.9) * spectrum(magnified)).sum()) > 0.99
    assert float((spectrum(plain) * spectrum(magnified)).sum()) < 0.97
    mirrored = np.ascontiguousarray(plain[:, :, ::-1])
    np.testing.assert_allclose(spectrum(plain, mirrored=True), spectrum(mirrored), atol=1e-5)


def test_perceptual_hashes_of_a_copy_agree_and_of_others_do_not(pictures: list[Image.Image]) -> None:
    ours = perceptual_hashes(np.stack([thumbnail(each, 95) for each in pictures]))
    copies = perceptual_hashes(np.stack([thumbnail(CHANGES["brighter"](each)) for each in pictures]))
    assert ours.shape == (40, 22)
    distance = np.unpackbits(ours[:, None] ^ copies[None], axis=2).sum(axis=2)
    same = np.eye(40, dtype=bool)
    assert distance[same].max() <= 12
    assert distance[~same].min() > 19


@pytest.mark.real
def test_planted_copies_of_real_faces_are_found(utkface: Path) -> None:
    files = sorted(utkface.iterdir())[::12]
    images = [Image.open(file).convert("RGB") for file in files]
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(files))[:50]
    unique = {look(file.read_bytes()).tobytes(): row for row, file in enumerate(files)}
    originals = np.stack([thumbnail(images[row], 95) for row in unique.values()])
    for name in CHANGES:
        copies = np.stack([thumbnail(CHANGES[name](images[row])) for row in chosen])
        found = near_pairs(np.concatenate([originals, copies]))
        held = {
            two - len(originals)
            for one, two in zip(found.first, found.second, strict=True)
            if two >= len(originals) > one
        }
        assert len(held) >= 49, name
