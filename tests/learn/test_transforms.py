"""Augmentation and the conversion to network input."""

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
    "setting",
    [
        {"shift": 0.1},
        {"scale": 0.3},
        {"rotate": 30},
        {"crop": 0.3},
        {"blur": 2.0},
        {"brightness": 0.3},
        {"contrast": 0.3},
        {"flip": True},
    ],
)
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


def test_the_map_shifts_turns_and_zooms_about_the_centre() -> None:
    image, change = faces(1)[0], ShiftScaleRotate(1, 1, 1)
    moved = change.apply(image, angle=0, zoom=1, right=4 / 64, down=-8 / 64)
    np.testing.assert_array_equal(moved[:-8, 4:], image[8:, :-4])
    np.testing.assert_array_equal(change.apply(image, angle=90, zoom=1, right=0, down=0), np.rot90(image))
    smaller = change.apply(image, angle=0, zoom=0.5, right=0, down=0)[16:48, 16:48].astype(float)
    halved = image.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert np.abs(smaller - halved).mean() < 2


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
