"""From uint8 pixels to network input: random changes for training, none otherwise."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agecls.config import AugmentConfig

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Augmentation:
    """The random changes of training.

    Attributes:
        config: ranges and probability.
        size: side S of the images in pixels.
    """

    config: AugmentConfig
    size: int


class _Draws(NamedTuple):
    """What happens to each of B images."""

    moved: npt.NDArray[np.bool_]
    """Whether it is shifted, scaled, rotated, cropped or mirrored, shape (B,)."""
    maps: Floats
    """Where in the old image each pixel of the new one lies, shape (B, 2, 3), in pixels."""
    sigmas: Floats
    """Standard deviation of its blur in pixels, shape (B,); 0 for none."""
    toned: npt.NDArray[np.bool_]
    """Whether its brightness and contrast change, shape (B,)."""
    curves: Images
    """New grey level of each old one, shape (B, 256)."""


def build_augmentation(config: AugmentConfig, size: int) -> Augmentation | None:
    """Make the random changes of training, or None where every one is switched off.

    Args:
        config: ranges and probability.
        size: side of the images in pixels.
    """
    moves = (config.shift, config.scale, config.rotate, config.crop, config.flip)
    tones = (config.blur, config.brightness, config.contrast)
    return Augmentation(config, size) if config.probability and any((*moves, *tones)) else None


def augment(images: Images, augmentation: Augmentation | None, seed: int) -> Images:
    """Change each image of a batch at random, the same way again for the same ``seed``.

    All numbers of a batch are drawn at once, and all moves of an image are one map, so that it is interpolated once.
    Together that is several times faster than a chain of transforms called image by image.

    Args:
        images: uint8, shape (B, S, S) or (B, S, S, 3).
        augmentation: what ``build_augmentation`` made; None leaves the images as they are.
        seed: any whole number below 2**32.
    """
    if augmentation is None:
        return images
    side = (augmentation.size, augmentation.size)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    draws = _draw(augmentation, len(images), np.random.default_rng(seed))
    widths = (2 * np.ceil(3 * draws.sigmas - 0.5).astype(np.int64) + 1).clip(min=1).tolist()
    changed = np.empty_like(images)
    for row, (image, sigma, width) in enumerate(zip(images, draws.sigmas.tolist(), widths, strict=True)):
        if draws.moved[row]:
            image = cv2.warpAffine(image, draws.maps[row], side, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        if width > 1:
            image = cv2.GaussianBlur(image, (width, width), sigma)
        if draws.toned[row]:
            image = cv2.LUT(image, draws.curves[row])
        changed[row] = image
    return changed


def _draw(augmentation: Augmentation, count: int, chance: np.random.Generator) -> _Draws:
    config = augmentation.config

    def happens() -> npt.NDArray[np.bool_]:
        return chance.random(count) < config.probability

    turned, cropped, mirrored = happens(), happens() & (config.crop > 0), happens() & config.flip
    maps = _draw_maps(augmentation, turned, cropped, mirrored, chance)
    sigmas = happens() * chance.uniform(0, config.blur, count)
    toned = happens()
    contrast = 1 + chance.uniform(-config.contrast, config.contrast, (count, 1))
    brightness = 255 * chance.uniform(-config.brightness, config.brightness, (count, 1))
    curves = (np.arange(256) * contrast + brightness).round().clip(0, 255).astype(np.uint8)
    return _Draws(turned | cropped | mirrored, maps, sigmas, toned, curves)


def _draw_maps(
    augmentation: Augmentation,
    turned: npt.NDArray[np.bool_],
    cropped: npt.NDArray[np.bool_],
    mirrored: npt.NDArray[np.bool_],
    chance: np.random.Generator,
) -> Floats:
    """Maps from new to old pixels, shape (B, 2, 3): crop, then mirror, then shift, scale and turn about the centre."""
    config, size, count = augmentation.config, augmentation.size, len(turned)
    angle = turned * np.radians(chance.uniform(-config.rotate, config.rotate, count))
    zoom = 1 + turned * chance.uniform(-config.scale, config.scale, count)
    shift = turned * size * chance.uniform(-config.shift, config.shift, (2, count))
    kept = 1 - cropped * chance.uniform(0, config.crop, count)
    # The centre of the part kept, from the image's centre: it stays inside.
    centre = (1 - kept) * size * chance.uniform(-0.5, 0.5, (2, count))
    cos, sin, sign = np.cos(angle) / zoom, np.sin(angle) / zoom, np.where(mirrored, -1.0, 1.0)
    linear = np.array([[cos * sign, sin], [-sin * sign, cos]])  # (2, 2, B)
    middle = (size - 1) / 2  # of pixel centres
    start = centre - kept * middle - shift * np.array([sign, np.ones(count)])
    offset = np.einsum("ijb,jb->ib", linear, start) + middle
    return np.concatenate([linear * kept, offset[:, None]], axis=1).transpose(2, 0, 1).copy()


def to_batch(images: Images) -> Tensor:
    """Images of shape (B, S, S) or (B, S, S, 3) as a uint8 tensor of shape (B, C, S, S), channels last in memory."""
    batch = torch.from_numpy(np.ascontiguousarray(images))
    return batch.unsqueeze(1) if batch.dim() == 3 else batch.permute(0, 3, 1, 2)


def to_input(batch: Tensor) -> Tensor:
    """Scale a uint8 batch of shape (B, C, S, S) to float32 in 0..1: the one conversion of training and prediction."""
    return batch.to(dtype=torch.float32, memory_format=torch.channels_last).div_(255.0)
