"""Probabilities of images, in batches."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from agecls.learn.precision import Precision
from agecls.learn.transforms import to_batch, to_input

EVAL_BATCH: Final = 256
"""Images of a batch where nothing is learnt."""


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
        network: what ``Run.network`` gives.
        batches: uint8 tensors of shape (B, C, S, S).
        precision: of the network's inner products; the softmax is float64.
        device: where to compute.
        advance: told the number of images after each batch.

    Returns:
        Shape (N, K), rows sum to 1.
    """
    network = network.to(device).eval()
    found = []
    for batch in batches:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = network(to_input(batch.to(device)))
        found.append(torch.softmax(logits.double(), dim=1).cpu().numpy())
        advance(len(batch))
    return np.concatenate(found)


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
