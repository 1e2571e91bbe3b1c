"""A network: normalisation, backbone, head."""

from typing import Any

import torch
from torch import Tensor, nn

from agecls.learn.networks.backbone import Backbone, Block


class Normalise(nn.Module):
    """Subtract a mean and divide by a standard deviation.

    It stands in the network and in its weights, so that prediction cannot disagree with training.

    Args:
        mean: of each colour, for images in 0..1.
        std: likewise.
        channels: 3 for RGB; 1 for grey, which takes the averages over the colours.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float], channels: int) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            buffer = torch.tensor(values if channels == 3 else [sum(values) / 3])
            self.register_buffer(name, buffer.view(1, channels, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images of shape (B, C, S, S), float."""
        return (images - self.mean) / self.std


class Network(nn.Module):
    """Images to logits.

    Args:
        normalise: what the images pass first.
        backbone: images to features.
        head: features to logits.

    Attributes:
        frozen: modules that stay in evaluation mode while the others train: batch norms keep their statistics.
    """

    def __init__(self, normalise: nn.Module, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        self.head = head
        self.frozen: Block = ()
        self.register_load_state_dict_pre_hook(_rename_old)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (B, K) from images of shape (B, C, S, S), float in 0..1."""
        return self.head(self.features(images))  # type: ignore[no-any-return]

    def features(self, images: Tensor) -> Tensor:
        """Features of shape (B, F), for one head or several."""
        return self.backbone(self.normalise(images))  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> "Network":
        """Change the mode of all but what is frozen."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


_OLD_NAMES = {
    "input_norm.": "backbone.input_norm.",
    "features.": "backbone.features.",
    "hidden.": "head.hidden.0.",
    "output.": "head.output.",
}
"""Names of the tensors of agecnn in runs from before there were backbones and heads."""


def present_name(name: str) -> str:
    """Today's name of a tensor of a run."""
    old = next((each for each in _OLD_NAMES if name.startswith(each)), None)
    return name if old is None else _OLD_NAMES[old] + name.removeprefix(old)


def _rename_old(module: nn.Module, state: dict[str, Any], prefix: str, *rest: object) -> None:
    for name in [each for each in state if each.startswith(prefix)]:
        present = prefix + present_name(name.removeprefix(prefix))
        if present != name:
            state[present] = state.pop(name)
