"""Float32 or bfloat16: time both on this network and this machine, and take the faster one if it agrees.

Bfloat16 is several times faster for plain convolutions on processors and GPUs that multiply it natively, and slower
than float32 for depthwise ones on most processors, so no rule by name is right: it is measured once and remembered.
"""

import copy
import statistics
from typing import Final, get_args

import torch
from torch import Tensor, nn

from agecls.config import Config
from agecls.learn.halving import with_batch, within_memory
from agecls.learn.networks import build_network
from agecls.learn.remembered import GAIN, Choice, Precision, decide, machine_key, recall_precision, remember
from agecls.learn.timing import make_step, random_images, rate
from agecls.learn.transforms import to_input

SECONDS: Final = 1.0
"""How long each precision is timed, in all turns together."""

TURNS: Final = 5
"""The precisions take turns, so that a machine that is busy for a moment slows down both."""


def choose_precision(config: Config, classes: int, device: torch.device) -> Choice:
    """Decide the precision of a training; ``train.precision`` decides where it is not ``auto``."""
    setting = config.train.precision
    if setting != "auto":
        return Choice(setting, float("nan"), float("nan"), remembered=False)
    known = recall_precision(config, classes, device)
    if known is not None:
        return known
    with torch.random.fork_rng():
        torch.manual_seed(0)
        speedups, difference = within_memory(
            config.train.batch, lambda size: measure(with_batch(config, size), classes, device)
        )
    speedup = round(statistics.median(speedups), 3)
    if len({each > GAIN for each in speedups}) == 1:
        # Turns that disagree were measured on a busy machine: good enough for now, not for ever.
        remember("precision", machine_key(config, classes, device), {"speedup": speedup, "difference": difference})
    return decide(speedup, difference, remembered=False)


def measure(config: Config, classes: int, device: torch.device, seconds: float = SECONDS) -> tuple[list[float], float]:
    """Time training steps in both precisions by turns, and compare the logits of one network.

    Returns:
        Speed of bfloat16 over float32 in each turn, and the largest difference of logits as a share of their spread.
    """
    batch = random_images(config, config.train.batch, device)
    targets = torch.arange(len(batch), device=device) % classes
    network = build_network(config.network, classes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    difference = disagreement(network, batch)
    steps = {
        name: make_step(copy.deepcopy(network), config, batch, targets, bf16=name == "bf16")
        for name in get_args(Precision)
    }
    speedups = []
    for _ in range(TURNS):
        plain, fast = (rate(steps[name], seconds / TURNS) for name in ("fp32", "bf16"))
        speedups.append(fast / plain)
    return speedups, round(difference, 5)


def disagreement(network: nn.Module, batch: Tensor) -> float:
    """Largest difference of the logits between the precisions, over their standard deviation in float32."""
    mode = network.training
    network.eval()
    with torch.no_grad():
        exact = network(to_input(batch)).float()
        with torch.autocast(batch.device.type, dtype=torch.bfloat16):
            rounded = network(to_input(batch)).float()
    network.train(mode)
    return float((exact - rounded).abs().max() / exact.std().clamp(min=1e-6))
