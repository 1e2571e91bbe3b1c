"""Probabilities of images, in batches."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from agecls.config import PredictConfig
from agecls.learn.decoding import mean_outputs
from agecls.learn.remembered import Precision
from agecls.learn.targets import Target
from agecls.learn.transforms import to_batch, to_input


class Mirrored(nn.Module):
    """A network asked twice, for an image and for its mirror image.

    Args:
        network: gives the outputs of some targets.
        targets: these.
    """

    def __init__(self, network: nn.Module, targets: Sequence[Target]) -> None:
        super().__init__()
        self.network, self.targets = network, targets

    def forward(self, images: Tensor) -> Tensor:
        """Outputs that stand for the mean of both answers, shape (B, W) float32, of images of shape (B, C, S, S)."""
        plain, mirrored = (self.network(each).float() for each in (images, images.flip(3)))
        return mean_outputs(self.targets, plain, mirrored)


def as_asked(network: nn.Module, config: PredictConfig, targets: Sequence[Target]) -> nn.Module:
    """The network as prediction asks it; its answers are outputs of the targets."""
    return Mirrored(network, targets) if config.mirror else network


@torch.inference_mode()
def predict_probabilities(
    network: nn.Module,
    batches: Iterator[Tensor],
    precision: Precision,
    device: torch.device,
    advance: Callable[[int], None] = lambda _: None,
) -> npt.NDArray[np.float64]:
    """Class probabilities of every image.

    Args:
        network: what ``Run.classifying`` gives.
        batches: uint8 tensors of shape (B, C, S, S).
        precision: of the network's inner products; the softmax is float64.
        device: where to compute.
        advance: told the number of images after each batch.

    Returns:
        Shape (N, K), rows sum to 1.
    """
    found = predict_outputs(network, batches, precision, device, advance)
    return torch.softmax(found, dim=1).numpy()


@torch.inference_mode()
def predict_outputs(
    network: nn.Module,
    batches: Iterator[Tensor],
    precision: Precision,
    device: torch.device,
    advance: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Outputs of every image, float64 of shape (N, W); see ``predict_probabilities``."""
    network = network.to(device).eval()
    found = []
    for batch in batches:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            outputs = network(to_input(batch.to(device)))
        found.append(outputs.double().cpu())
        advance(len(batch))
    return torch.cat(found)


def image_batches(images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], size: int) -> Iterator[Tensor]:
    """Uint8 tensors of at most ``size`` prepared images each.

    Args:
        images: shape (U, S, S) or (U, S, S, 3).
        rows: which of them, in order.
        size: images a batch.
    """
    for start in range(0, len(rows), size):
        yield to_batch(images[rows[start : start + size]])


def best_device() -> torch.device:
    """The first GPU, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
