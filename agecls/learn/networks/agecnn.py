"""The study's greyscale CNN of 1 to 5 layers.

Each layer is convolution 3x3 -> ReLU -> batch norm -> max pool and doubles the features; a hidden layer and the output
follow.
"""

import torch
from torch import Tensor, nn

from agecls.config import NetworkConfig


class AgeCNN(nn.Module):
    """Images to logits.

    Args:
        config: channels C, image size S, layers, features, hidden neurons, dropout, input norm.
        classes: number of logits K.
    """

    def __init__(self, config: NetworkConfig, classes: int) -> None:
        super().__init__()
        # Cameras and archives differ in brightness and contrast; a batch norm on the input takes out the set's own.
        self.input_norm = nn.BatchNorm2d(config.channels) if config.input_norm else nn.Identity()
        width = config.channels
        blocks: list[nn.Module] = []
        for layer in range(config.layers):
            features = config.features * 2**layer
            blocks += [
                nn.Conv2d(width, features, kernel_size=3, padding=1),
                nn.ReLU(inplace=True),
                nn.BatchNorm2d(features),
                nn.MaxPool2d(2),
            ]
            width = features
        self.features = nn.Sequential(*blocks)
        side = config.image_size >> config.layers
        self.hidden = nn.Linear(width * side * side, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, K) from images of shape (B, C, S, S), float in 0..1."""
        maps = self.features(self.input_norm(images))  # (B, features * 2^(layers-1), S >> layers, S >> layers)
        hidden = torch.relu(self.hidden(maps.flatten(1)))  # (B, hidden)
        return self.output(self.dropout(hidden))  # type: ignore[no-any-return]
