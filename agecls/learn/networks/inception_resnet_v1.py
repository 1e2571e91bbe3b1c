"""Inception-ResNet v1 as FaceNet has it: Szegedy et al., "Inception-v4, Inception-ResNet" (2017), part 3.2.

Layers and tensor names are those of David Sandberg's weights as facenet-pytorch publishes them (MIT licence), so that
its VGGFace2 and CASIA-WebFace files load one to one. The features are the 512 of the embedding after its batch norm;
they are not scaled to length 1, as the layer of identities that the files were trained with took them.
"""

from typing import Final

import torch
from torch import Tensor, nn

from agecls.learn.networks.backbone import Backbone, Block

MEAN: Final = (127.5 / 255,) * 3
STD: Final = (128 / 255,) * 3
"""What the published weights were trained with: (pixel - 127.5) / 128."""

_STEM: Final = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a", "conv2d_4b")


class ConvNorm(nn.Module):
    """Convolution -> batch norm -> ReLU."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of shape (B, after, H', W')."""
        return torch.relu(self.bn(self.conv(maps)))


class Branches(nn.Module):
    """Branches side by side on one input, joined; they are named ``branch0``, ``branch1`` and so on."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)
        self.count = len(branches)

    def join(self, maps: Tensor) -> Tensor:
        """What the branches give, one after another."""
        return torch.cat([self.get_submodule(f"branch{number}")(maps) for number in range(self.count)], dim=1)

    def forward(self, maps: Tensor) -> Tensor:
        """The branches joined."""
        return self.join(maps)


class Residual(Branches):
    """Branches joined, brought to the input's width, scaled and added to it.

    Args:
        scale: factor of what is added, which keeps deep stacks stable.
        joined: feature maps of all branches together.
        width: feature maps of the input.
        branches: side by side.
        relu: whether a ReLU ends it.
    """

    def __init__(self, scale: float, joined: int, width: int, *branches: nn.Module, relu: bool = True) -> None:
        super().__init__(*branches)
        self.conv2d = nn.Conv2d(joined, width, kernel_size=1)
        self.scale, self.relu = scale, relu

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the input's shape."""
        added = maps + self.scale * self.conv2d(self.join(maps))
        return torch.relu(added) if self.relu else added


def _block35() -> Residual:
    return Residual(
        0.17,
        96,
        256,
        ConvNorm(256, 32, 1),
        nn.Sequential(ConvNorm(256, 32, 1), ConvNorm(32, 32, 3, padding=1)),
        nn.Sequential(ConvNorm(256, 32, 1), ConvNorm(32, 32, 3, padding=1), ConvNorm(32, 32, 3, padding=1)),
    )


def _block17() -> Residual:
    long = (ConvNorm(128, 128, (1, 7), padding=(0, 3)), ConvNorm(128, 128, (7, 1), padding=(3, 0)))
    return Residual(0.10, 256, 896, ConvNorm(896, 128, 1), nn.Sequential(ConvNorm(896, 128, 1), *long))


def _block8(scale: float = 0.20, *, relu: bool = True) -> Residual:
    long = (ConvNorm(192, 192, (1, 3), padding=(0, 1)), ConvNorm(192, 192, (3, 1), padding=(1, 0)))
    return Residual(scale, 384, 1792, ConvNorm(1792, 192, 1), nn.Sequential(ConvNorm(1792, 192, 1), *long), relu=relu)


class InceptionResnetV1(Backbone):
    """Images to the 512 features of an embedding.

    Args:
        channels: C of the images.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = 512
        self.conv2d_1a = ConvNorm(channels, 32, 3, stride=2)
        self.conv2d_2a = ConvNorm(32, 32, 3)
        self.conv2d_2b = ConvNorm(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = ConvNorm(64, 80, 1)
        self.conv2d_4a = ConvNorm(80, 192, 3)
        self.conv2d_4b = ConvNorm(192, 256, 3, stride=2)
        self.repeat_1 = nn.Sequential(*(_block35() for _ in range(5)))
        self.mixed_6a = Branches(
            ConvNorm(256, 384, 3, stride=2),
            nn.Sequential(ConvNorm(256, 192, 1), ConvNorm(192, 192, 3, padding=1), ConvNorm(192, 256, 3, stride=2)),
            nn.MaxPool2d(3, stride=2),
        )
        self.repeat_2 = nn.Sequential(*(_block17() for _ in range(10)))
        self.mixed_7a = Branches(
            nn.Sequential(ConvNorm(896, 256, 1), ConvNorm(256, 384, 3, stride=2)),
            nn.Sequential(ConvNorm(896, 256, 1), ConvNorm(256, 256, 3, stride=2)),
            nn.Sequential(ConvNorm(896, 256, 1), ConvNorm(256, 256, 3, padding=1), ConvNorm(256, 256, 3, stride=2)),
            nn.MaxPool2d(3, stride=2),
        )
        self.repeat_3 = nn.Sequential(*(_block8() for _ in range(5)))
        self.block8 = _block8(1.0, relu=False)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=0.001)

    def blocks(self) -> list[Block]:
        """The stem, each Inception block, and the embedding."""
        inner = (*self.repeat_1, self.mixed_6a, *self.repeat_2, self.mixed_7a, *self.repeat_3, self.block8)
        stem = tuple(self.get_submodule(name) for name in _STEM)
        return [stem, *((block,) for block in inner), (self.last_linear, self.last_bn)]

    def forward(self, images: Tensor) -> Tensor:
        """Features of shape (B, 512)."""
        maps = self.pool(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(images))))
        maps = self.repeat_1(self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(maps))))
        maps = self.repeat_2(self.mixed_6a(maps))
        maps = self.block8(self.repeat_3(self.mixed_7a(maps)))
        return self.last_bn(self.last_linear(maps.mean(dim=(2, 3))))  # type: ignore[no-any-return]
