"""Augmentation and the conversion to network input."""

import albumentations as A
import cv2
import numpy as np
import pytest
import torch

from agecls.config import AugmentConfig
from agecls.data.synthetic import draw_face
from agecls.learn.transforms import ShiftScaleRotate, augment, build_augmentation, to_batch, to_input

EVERYTHING = AugmentConfig(probability=1.0, flip=True)
NOTHING = {"shift": 0.0, "scale": 0.0, "rotate": 0.0, "crop": 0.0, "blur": 0.0, "brightness": 0.0, "contrast": 0.0}


def faces(count: int, channels: int = 1) -> np.ndarray:
    mode = "L" if channels == 1 else "RGB"
    return np.stack([np.asarray(draw_face(0, number, 64)[1].convert(mode)) for number in range(count)])


@pytest.mark.parametrize("channels", [1, 3])
def test_same_seed_same_pixels_and_another_seed_others(channels: int) -> None:
    images, change = faces(6, channels), build_augmentation(EVERYTHING, 64)
    first, second, other = (augment(images, change, seed) for seed in (5, 5, 6))
    assert first.dtype == np.uint8
    assert first.shape == images.shape
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(augment(images, build_augmentation(EVERYTHING, 64), 5), first)


def test_images_of_a_batch_change_differently() -> None:
    images = np.repeat(faces(1), 8, axis=0)
    changed = augment(images, build_augmentation(EVERYTHING, 64), 3)
    assert len({image.tobytes() for image in changed}) == 8


def test_nothing_to_do_is_none_and_leaves_the_images() -> None:
    assert build_augmentation(AugmentConfig(**NOTHING), 64) is None
    assert build_augmentation(AugmentConfig(probability=0.0), 64) is None
    images = faces(2)
    assert augment(images, None, 1) is images


@pytest.mark.parametrize(
    "setting", [{"shift": 0.1}, {"scale": 0.3}, {"rotate": 30}, {"crop": 0.3}, {"blur": 2.0}, {"brightness": 0.3}, {"contrast": 0.3}, {"flip": True}],
)  # fmt: skip
def test_each_setting_changes_something_of_its_own(setting: dict[str, float]) -> None:
    change = build_augmentation(AugmentConfig(**{**NOTHING, "probability": 1.0, **setting}), 64)  # type: ignore[arg-type]
    images = faces(8)
    changed = augment(images, change, 2)
    assert not np.array_equal(changed, images)
    assert not {image.tobytes() for image in changed} & {np.zeros_like(images[0]).tobytes()}


def test_chance_is_respected() -> None:
    change = build_augmentation(AugmentConfig(**{**NOTHING, "rotate": 20, "probability": 0.25}), 64)  # type: ignore[arg-type]
    images = faces(1).repeat(400, axis=0)
    changed = (augment(images, change, 0) != images).any(axis=(1, 2)).mean()
    assert 0.18 < changed < 0.32


@pytest.mark.parametrize(
    ("angle", "zoom", "right", "down"), [(12, 1.0, 0, 0), (0, 1.1, 0, 0), (0, 1, 0.1, -0.05), (9, 0.95, 0.05, 0.1)]
)
def test_the_map_is_that_of_albumentations_affine(angle: float, zoom: float, right: float, down: float) -> None:
    image = faces(1)[0]
    ours = ShiftScaleRotate(1, 1, 1).apply(image, angle=angle, zoom=zoom, right=right, down=down)
    theirs = A.Affine(
        rotate=(-angle, -angle), scale=(zoom, zoom), p=1.0, border_mode=cv2.BORDER_REFLECT_101,
        translate_percent={"x": (right, right), "y": (down, down)},
    )(image=image)["image"]  # fmt: skip
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.mean() < 1.5


def test_draws_fill_their_ranges_and_stay_inside() -> None:
    change = ShiftScaleRotate(0.05, 0.1, 15, p=1.0)
    change.set_random_seed(0)
    drawn = [change.get_params() for _ in range(500)]
    for name, low, high in (("angle", -15, 15), ("zoom", 0.9, 1.1), ("right", -0.05, 0.05), ("down", -0.05, 0.05)):
        values = np.array([params[name] for params in drawn])
        assert low <= values.min() < low + (high - low) * 0.05
        assert high >= values.max() > high - (high - low) * 0.05


@pytest.mark.parametrize("channels", [1, 3])
def test_input_is_float_in_0_to_1_and_channels_last(channels: int) -> None:
    images = faces(3, channels)
    batch = to_batch(images)
    values = to_input(batch)
    assert batch.dtype == torch.uint8
    assert values.shape == (3, channels, 64, 64)
    assert values.dtype == torch.float32
    assert values.is_contiguous(memory_format=torch.channels_last)
    expected = images[:, None] if channels == 1 else images.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(values.numpy(), expected / 255, atol=1e-6)
