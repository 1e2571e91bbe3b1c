"""The two-branch CNN: what faces share is learnt once, then gender takes a short way and age a longer one."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal

import torch
from torch import Tensor, nn

from agecls.learn.networks.agecnn import conv_layer
from agecls.learn.networks.backbone import Backbone, Block

Branch = Literal["age", "gender"]

SHARED: Final = (16, 32, 64)
BRANCHES: Final[dict[Branch, tuple[int, ...]]] = {"gender": (128,), "age": (128, 256, 512)}
"""Feature maps of the layers of each part."""


class TwoBranch(Backbone):
    """Shared layers, then one branch or both; each ends in the average over its maps.

    Args:
        channels: C of the images.
        branches: which branches there are; their features come side by side.
    """

    def __init__(self, channels: int, branches: Sequence[Branch]) -> None:
        super().__init__()
        self.shared = nn.Sequential(*_layers((channels, *SHARED)))
        self.branches = nn.ModuleDict({name: _branch((SHARED[-1], *BRANCHES[name])) for name in branches})
        self.widths = {name: BRANCHES[name][-1] for name in branches}
        self.width = sum(self.widths.values())

    def blocks(self) -> list[Block]:
        """The shared layers, then those of the branches, which stand side by side, counted from their ends."""
        longest = max(len(BRANCHES[name]) for name in self.widths)
        blocks: list[Block] = [*_fours(self.shared), *[()] * longest]
        for name in self.widths:
            layers = _fours(list(self.branches[name].children())[:-2])
            for place, layer in enumerate(layers, start=len(blocks) - len(layers)):
                blocks[place] += layer
        return blocks

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, F) of the branches in their order, each of its width in ``widths``."""
        maps = self.shared(images)
        return torch.cat([branch(maps) for branch in self.branches.values()], dim=1)


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    return [module for pair in pairwise(widths) for module in conv_layer(*pair)]


def _branch(widths: Sequence[int]) -> nn.Sequential:
    # The average takes the place of the last pooling, so that the age branch works from 32 pixels.
    return nn.Sequential(*_layers(widths)[:-1], nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _fours(modules: nn.Sequential | list[nn.Module]) -> list[Block]:
    every = list(modules)
    return [tuple(every[start : start + 4]) for start in range(0, len(every), 4)]
