"""The CNN of Levi and Hassner, "Age and gender classification using convolutional neural networks" (2015).

Its two hidden layers of 512 are the head's. As in the authors' Caffe model, poolings round up, so that 227 pixels give
maps of 28, 14 and 7. Weights start as PyTorch has it: the paper's deviation of 0.01 is for pixels in 0..255.
"""

from torch import Tensor, nn

from agecls.learn.networks.backbone import Backbone, Block


class LeviHassner(Backbone):
    """Three convolutions of 96, 256 and 384 maps; local response normalisation after the first two.

    Args:
        channels: C of the images.
        size: their side S in pixels.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 96, kernel_size=7, stride=4)
        self.conv2 = nn.Conv2d(96, 256, kernel_size=5, padding=2)
        self.conv3 = nn.Conv2d(256, 384, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        side = (size - 7) // 4 + 1
        for _ in range(3):
            side = -(-(side - 3) // 2) + 1
        self.width = 384 * side**2

    def blocks(self) -> list[Block]:
        """The convolutions."""
        return [(self.conv1,), (self.conv2,), (self.conv3,)]

    def forward(self, images: Tensor) -> Tensor:
        """Features of shape (B, 384 * 7 * 7) for 227 pixels."""
        maps = self.norm(self.pool(self.conv1(images).relu()))
        maps = self.norm(self.pool(self.conv2(maps).relu()))
        return self.pool(self.conv3(maps).relu()).flatten(1)  # type: ignore[no-any-return]
