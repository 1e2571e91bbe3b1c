"""Mixup and cutmix: each training image with a part of another, and its label with that of the other."""

import torch
from torch import Tensor, nn

from agecls.config import AugmentConfig


class Mixing(nn.Module):
    """Mixes a batch of images with itself, each image with its neighbour; torchvision's transforms do the mixing.

    Draws from PyTorch's own random numbers, which the task seeds at each step.

    Args:
        config: which of the two, and how often.
        classes: number of classes K.
    """

    def __init__(self, config: AugmentConfig, classes: int) -> None:
        super().__init__()
        from torchvision.transforms.v2 import CutMix, MixUp

        self.often = config.mixed
        self.kinds = [
            kind(alpha=alpha, num_classes=classes)
            for kind, alpha in ((MixUp, config.mixup), (CutMix, config.cutmix))
            if alpha
        ]

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images and the shares of their classes, float32 (B, K); both as they came where the batch is not mixed.

        Args:
            images: float32, shape (B, C, S, S).
            targets: int64, shape (B,).
        """
        if float(torch.rand(())) >= self.often:
            return images, targets
        kind = self.kinds[int(torch.randint(len(self.kinds), ()))]
        images, targets = kind(images, targets)
        return images.contiguous(memory_format=torch.channels_last), targets


def build_mixing(config: AugmentConfig, classes: int) -> Mixing | None:
    """Make the mixing of batches, or None where it is off."""
    return Mixing(config, classes) if config.mixup or config.cutmix else None
