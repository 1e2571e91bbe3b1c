"""Attention-56 of Wang et al., "Residual attention network for image classification" (2017).

Three stages, each a residual unit and an attention module, then three residual units. An attention module multiplies
what its trunk finds by 1 + a mask, which a small hourglass draws between 0 and 1. The paper's p = 1, t = 2 and r = 1.
"""

from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from agecls.learn.networks.backbone import Backbone, Block


class ResidualUnit(nn.Module):
    """Pre-activation bottleneck (He et al. 2016, "Identity mappings"): 1x1, 3x3 and 1x1 added to the input.

    Args:
        before: feature maps of the input.
        after: feature maps of the result; a quarter of it within.
        stride: of the 3x3 convolution.
    """

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        within = after // 4
        self.first = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(inplace=True))
        self.rest = nn.Sequential(
            nn.Conv2d(before, within, 1, bias=False),
            nn.BatchNorm2d(within),
            nn.ReLU(inplace=True),
            nn.Conv2d(within, within, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(within),
            nn.ReLU(inplace=True),
            nn.Conv2d(within, after, 1, bias=False),
        )
        same = before == after and stride == 1
        self.shortcut = None if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of shape (B, after, H / stride, W / stride)."""
        ready = self.first(maps)
        kept = maps if self.shortcut is None else self.shortcut(ready)
        return kept + self.rest(ready)  # type: ignore[no-any-return]


class Hourglass(nn.Module):
    """Halve the side so many times and go back, each level with a bridge across.

    Args:
        width: feature maps throughout.
        depth: how many times.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.down = ResidualUnit(width, width)
        self.bridge = ResidualUnit(width, width) if depth > 1 else None
        self.inner = Hourglass(width, depth - 1) if depth > 1 else None
        self.up = ResidualUnit(width, width)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the input's shape."""
        low = self.down(max_pool2d(maps, 3, stride=2, padding=1))
        if self.inner is not None and self.bridge is not None:
            low = self.inner(low) + self.bridge(low)
        return interpolate(self.up(low), size=maps.shape[-2:], mode="bilinear", align_corners=False)


class Attention(nn.Module):
    """A trunk of two units, masked.

    Args:
        width: feature maps of input and result.
        depth: how many times the mask's hourglass halves the side.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.before = ResidualUnit(width, width)
        self.trunk = nn.Sequential(ResidualUnit(width, width), ResidualUnit(width, width))
        self.mask = nn.Sequential(
            Hourglass(width, depth),
            *(layer for _ in range(2) for layer in (nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1))),
            nn.Sigmoid(),
        )
        self.after = ResidualUnit(width, width)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the input's shape."""
        maps = self.before(maps)
        return self.after((1 + self.mask(maps)) * self.trunk(maps))  # type: ignore[no-any-return]


class ResidualAttention(Backbone):
    """Images to 2,048 features.

    Args:
        channels: C of the images.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = 2048
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.Sequential(
            ResidualUnit(64, 256),
            Attention(256, 3),
            ResidualUnit(256, 512, stride=2),
            Attention(512, 2),
            ResidualUnit(512, 1024, stride=2),
            Attention(1024, 1),
            ResidualUnit(1024, 2048, stride=2),
            ResidualUnit(2048, 2048),
            ResidualUnit(2048, 2048),
        )
        self.last = nn.Sequential(nn.BatchNorm2d(2048), nn.ReLU(inplace=True))

    def blocks(self) -> list[Block]:
        """The stem and each unit or attention module; the last batch norm belongs to the last unit."""
        *stages, end = self.stages
        return [(self.stem,), *((stage,) for stage in stages), (end, self.last)]

    def forward(self, images: Tensor) -> Tensor:
        """Features of shape (B, 2048)."""
        return self.last(self.stages(self.stem(images))).mean(dim=(2, 3))  # type: ignore[no-any-return]
