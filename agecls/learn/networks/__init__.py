"""Networks: uint8 image batches in, logits out."""

from torch import nn

from agecls.config import NetworkConfig
from agecls.learn.networks.agecnn import AgeCNN


def build_network(config: NetworkConfig, classes: int) -> nn.Module:
    """Make a freshly initialised network.

    Args:
        config: its settings.
        classes: number of logits.
    """
    match config.name:
        case "agecnn":
            return AgeCNN(config, classes)
