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

    warped: npt.NDArray[np.bool_]
    """Whether it is shifted, scaled, rotated or mirrored, and cropped by the way, shape (B,)."""
    maps: Floats
    """Where in the old image each pixel of a warped one lies, shape (B, 2, 3), in pixels."""
    cropped: npt.NDArray[np.bool_]
    """Whether it is cropped and nothing else, shape (B,)."""
    boxes: npt.NDArray[np.int64]
    """Left, top and side of the part kept, shape (B, 3), in pixels."""
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

    All numbers of a batch are drawn at once, and all moves of an image are one map, so that it is interpolated once:
    four times as fast as a chain of transforms called image by image.

    Args:
        images: uint8, shape (B, S, S) or (B, S, S, 3).
        augmentation: what ``build_augmentation`` made; None leaves the images as they are.
        seed: any whole number below 2**32.
    """
    if augmentation is None:
        return images
    shape = (augmentation.size, augmentation.size)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    draws = _draw(augmentation, len(images), np.random.default_rng(seed))
    # A kernel of three standard deviations to each side.
    widths = 1 + 2 * np.ceil(3 * draws.sigmas - 0.5).clip(min=0).astype(np.int64)
    changed = np.empty_like(images)
    for row, image in enumerate(images):
        if draws.warped[row]:
            image = cv2.warpAffine(image, draws.maps[row], shape, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        elif draws.cropped[row]:
            left, top, side = draws.boxes[row].tolist()
            image = cv2.resize(image[top : top + side, left : left + side], shape)
        if widths[row] > 1:
            image = cv2.GaussianBlur(image, (int(widths[row]),) * 2, float(draws.sigmas[row]))
        if draws.toned[row]:
            image = cv2.LUT(image, draws.curves[row])
        changed[row] = image
    return changed


def _draw(augmentation: Augmentation, count: int, chance: np.random.Generator) -> _Draws:
    config, size = augmentation.config, augmentation.size

    def happens(possible: object) -> npt.NDArray[np.bool_]:
        return (chance.random(count) < config.probability) & bool(possible)

    turned = happens(config.shift or config.scale or config.rotate)
    mirrored, cropped = happens(config.flip), happens(config.crop)
    smallest = max(1, round(size * (1 - config.crop)))
    side = np.where(cropped, chance.integers(smallest, size + 1, count), size)
    corner = (chance.random((2, count)) * (size - side + 1)).astype(np.int64)
    contrast = 1 + chance.uniform(-config.contrast, config.contrast, (count, 1))
    brightness = 255 * chance.uniform(-config.brightness, config.brightness, (count, 1))
    return _Draws(
        warped=turned | mirrored,
        maps=_draw_maps(augmentation, turned, mirrored, corner, side, chance),
        cropped=cropped,
        boxes=np.stack([*corner, side], axis=1),
        sigmas=happens(config.blur) * chance.uniform(0, config.blur, count),
        toned=happens(config.brightness or config.contrast),
        curves=(np.arange(256) * contrast + brightness).round().clip(0, 255).astype(np.uint8),
    )


def _draw_maps(
    augmentation: Augmentation,
    turned: npt.NDArray[np.bool_],
    mirrored: npt.NDArray[np.bool_],
    corner: npt.NDArray[np.int64],
    side: npt.NDArray[np.int64],
    chance: np.random.Generator,
) -> Floats:
    """Maps from new pixels (x, y, 1) to old ones, shape (B, 2, 3).

    An image is shifted, scaled and turned about its centre, then mirrored, then the box at ``corner`` (2, B) of
    ``side`` (B,) pixels is cut out and scaled to size. Seen from the new image, that is the way back.
    """
    config, size, count = augmentation.config, augmentation.size, len(turned)
    angle = turned * np.radians(chance.uniform(-config.rotate, config.rotate, count))
    zoom = 1 + turned * chance.uniform(-config.scale, config.scale, count)
    shift = turned * size * chance.uniform(-config.shift, config.shift, (2, count))
    sign = np.array([np.where(mirrored, -1.0, 1.0), np.ones(count)])  # of x and y
    stretch = side / size
    # Pixel centres lie at whole numbers, so pixel u of the new image is pixel stretch * (u + 1/2) - 1/2 of its box.
    first = (
        sign * (corner + (stretch - size) / 2) - shift
    )  # old place of the new (0, 0) from the centre, before the turn
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / zoom  # (2, 2, B)
    linear = turn * sign * stretch
    offset = np.einsum("ijb,jb->ib", turn, first) + (size - 1) / 2
    return np.concatenate([linear, offset[:, None]], axis=1).transpose(2, 0, 1).copy()


def to_batch(images: Images) -> Tensor:
    """Images of shape (B, S, S) or (B, S, S, 3) as a uint8 tensor of shape (B, C, S, S), channels last in memory."""
    batch = torch.from_numpy(np.ascontiguousarray(images))
    return batch.unsqueeze(1) if batch.dim() == 3 else batch.permute(0, 3, 1, 2)


def to_input(batch: Tensor) -> Tensor:
    """Scale a uint8 batch of shape (B, C, S, S) to float32 in 0..1: the one conversion of training and prediction."""
    return batch.to(dtype=torch.float32, memory_format=torch.channels_last).div_(255.0)
