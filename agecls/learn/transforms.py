"""From uint8 pixels to network input: random changes for training (albumentations, here alone), none otherwise."""

import os
import random
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agecls.config import AugmentConfig

# Importing albumentations would ask the network for a newer version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A  # noqa: N812 - as its documentation has it
import cv2

Images = npt.NDArray[np.uint8]
Augmentation: TypeAlias = tuple[A.BasicTransform, ...]


class ShiftScaleRotate(A.ImageOnlyTransform):  # type: ignore[misc]
    """Shift, scale and turn about the centre in one interpolation, mirroring what comes in at the edges.

    albumentations' own ``Affine`` (2.0.8) spends most of its time around the map rather than on it, and with it most of
    the augmentation's time on small images; ``scripts/bench pipeline`` measures both.

    Args:
        shift: largest shift as a fraction of the side.
        scale: largest change of scale, 0..1.
        rotate: largest rotation in degrees.
        p: chance that an image is changed.
    """

    class InitSchema(A.BasicTransform.InitSchema):  # type: ignore[misc]
        """What albumentations checks the arguments against."""

        shift: float
        scale: float
        rotate: float

    def __init__(self, shift: float, scale: float, rotate: float, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.shift, self.scale, self.rotate = shift, scale, rotate

    def get_params(self) -> dict[str, float]:
        """Draw angle in degrees, zoom, and shift as fractions of the sides."""
        draw = self.py_random.uniform
        return {
            "angle": draw(-self.rotate, self.rotate),
            "zoom": 1 + draw(-self.scale, self.scale),
            "right": draw(-self.shift, self.shift),
            "down": draw(-self.shift, self.shift),
        }

    def apply(self, img: Images, angle: float, zoom: float, right: float, down: float, **params: Any) -> Images:
        """Change one image, shape (S, S) or (S, S, 3)."""
        height, width = img.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, zoom)
        matrix[:, 2] += right * width, down * height
        border = cv2.BORDER_REFLECT_101
        return np.asarray(
            cv2.warpAffine(img, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border), np.uint8
        )


def build_augmentation(config: AugmentConfig, size: int) -> Augmentation | None:
    """Make the random changes of training, or None where every one is switched off.

    They work on uint8 images before any conversion to float: several times faster, and the same to within rounding.

    Args:
        config: ranges and probability.
        size: side of the images in pixels.
    """
    chance = config.probability
    changes: list[A.BasicTransform] = []
    if config.shift or config.scale or config.rotate:
        changes.append(ShiftScaleRotate(config.shift, config.scale, config.rotate, p=chance))
    if config.crop:
        smallest = max(1, round(size * (1 - config.crop)))
        changes.append(A.RandomSizedCrop((smallest, size), size=(size, size), p=chance))
    if config.flip:
        changes.append(A.HorizontalFlip(p=0.5))
    if config.blur:
        changes.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, config.blur), p=chance))
    if config.brightness or config.contrast:
        changes.append(
            A.RandomBrightnessContrast(brightness_limit=config.brightness, contrast_limit=config.contrast, p=chance)
        )
    return tuple(changes) if changes and chance else None


def augment(images: Images, augmentation: Augmentation | None, seed: int) -> Images:
    """Change each image of a batch at random, the same way again for the same ``seed``.

    The changes are called one after another, and only those that happen: albumentations' ``Compose`` would check for
    each image again what holds for the whole cache.

    Args:
        images: uint8, shape (B, S, S) or (B, S, S, 3).
        augmentation: what ``build_augmentation`` made; None leaves the images as they are.
        seed: any whole number below 2**32.
    """
    if augmentation is None:
        return images
    numbers, draws = np.random.default_rng(seed), random.Random(seed)
    for change in augmentation:
        change.set_random_state(numbers, draws)
    changed = np.empty_like(images)
    for row, image in enumerate(images):
        for change in augmentation:
            if draws.random() < change.p:
                image = change(image=image, force_apply=True)["image"]
        changed[row] = image
    return changed


def to_batch(images: Images) -> Tensor:
    """Images of shape (B, S, S) or (B, S, S, 3) as a uint8 tensor of shape (B, C, S, S), channels last in memory."""
    batch = torch.from_numpy(np.ascontiguousarray(images))
    return batch.unsqueeze(1) if batch.dim() == 3 else batch.permute(0, 3, 1, 2)


def to_input(batch: Tensor) -> Tensor:
    """Scale a uint8 batch of shape (B, C, S, S) to float32 in 0..1: the one conversion of training and prediction."""
    return batch.to(dtype=torch.float32, memory_format=torch.channels_last).div_(255.0)
