"""The study's greyscale CNN of 1 to 5 layers, and its layer, which others are made of as well."""

from itertools import pairwise

from torch import Tensor, nn

from agecls.learn.networks.backbone import Backbone, Block


def conv_layer(before: int, after: int) -> list[nn.Module]:
    """Convolution 3x3 -> ReLU -> batch norm -> max pool by 2."""
    return [
        nn.Conv2d(before, after, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(after),
        nn.MaxPool2d(2),
    ]


class AgeCNN(Backbone):
    """Each layer doubles the features and halves the side.

    Args:
        channels: C of the images.
        size: their side S in pixels.
        layers: number of convolutions.
        features: maps of the first one.
        input_norm: whether the input passes a batch norm of its own.
    """

    def __init__(self, channels: int, size: int, *, layers: int, features: int, input_norm: bool) -> None:
        super().__init__()
        # Cameras and archives differ in brightness and contrast; a batch norm on the input takes out the set's own.
        self.input_norm = nn.BatchNorm2d(channels) if input_norm else nn.Identity()
        widths = [channels, *(features * 2**layer for layer in range(layers))]
        self.features = nn.Sequential(*(module for pair in pairwise(widths) for module in conv_layer(*pair)))
        self.width = widths[-1] * (size >> layers) ** 2

    def blocks(self) -> list[Block]:
        """The layers, the first with the batch norm of the input."""
        modules = list(self.features)
        first, *others = (tuple(modules[start : start + 4]) for start in range(0, len(modules), 4))
        return [(self.input_norm, *first), *others]

    def forward(self, images: Tensor) -> Tensor:
        """Features of shape (B, features * 2^(layers-1) * (S >> layers)^2)."""
        return self.features(self.input_norm(images)).flatten(1)  # type: ignore[no-any-return]
