"""The batch size, where it is left to the machine: sizes are timed, and the smallest that pays is taken.

Large batches keep a GPU busy, small ones make more steps of the same images and need less memory. The learning rate
stays as it is set, so the size is decided by time alone and never beyond what leaves an epoch enough steps.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import torch

from agecls.config import Config
from agecls.config.loop import BATCH
from agecls.learn.halving import free_memory, is_out_of_memory, within_memory
from agecls.learn.networks import build_network
from agecls.learn.remembered import Precision, machine_key, recall, remember
from agecls.learn.timing import make_step, random_images, rate

STEPS: Final = 50
"""Fewest steps of an epoch, where there are as many with the default size."""

WORTH: Final = 1.15
"""How much faster twice the images have to pass to be worth half the steps."""

LARGEST: Final = 1024
"""No size above it is tried."""

SECONDS: Final = 0.5
"""How long each size is timed."""


class BatchSize(NamedTuple):
    """A number of images, and what it rests on."""

    images: int
    why: str

    def __str__(self) -> str:
        return f"{self.images} images ({self.why})"

    def told(self, accumulate: int) -> dict[str, int]:
        """As the record of a run has it."""
        return {"batch_size": self.images, "accumulate": accumulate}


def choose_batch_size(
    config: Config, precision: Precision, classes: int, images: int, device: torch.device
) -> BatchSize:
    """Decide the batch size of a training; ``train.batch_size`` decides where it is not ``auto``.

    Args:
        config: settings.
        precision: of the training.
        classes: outputs of the network.
        images: training images.
        device: where it trains.

    Raises:
        RunError: even the smallest batch does not fit into memory.
    """
    if config.train.batch_size != "auto":
        return BatchSize(config.train.batch_size, "as set")
    known = recall_batch_size(config, precision, classes, images, device)
    if known is not None:
        return known
    with torch.random.fork_rng():
        torch.manual_seed(0)
        speeds = time_sizes(lambda size: _speed(config, precision, classes, size, device), most_images(config, images))
    remember("batch_size", _key(config, precision, classes, images, device), {str(k): v for k, v in speeds.items()})
    return _decide(speeds, "measured now")


def recall_batch_size(
    config: Config, precision: Precision, classes: int, images: int, device: torch.device
) -> BatchSize | None:
    """The decision that an earlier run has measured; None where none has."""
    known = recall("batch_size", _key(config, precision, classes, images, device))
    try:
        speeds = {int(size): float(speed) for size, speed in known.items()}
    except (TypeError, ValueError):
        return None
    return _decide(speeds, "measured earlier") if speeds else None


def most_images(config: Config, images: int) -> int:
    """The largest batch that leaves an epoch enough steps; never below the default."""
    train = config.train
    return min(LARGEST, max(BATCH, images // (STEPS * train.accumulate * train.devices * train.nodes)))


def time_sizes(speed: Callable[[int], float], most: int) -> dict[int, float]:
    """Images a second of batch sizes: of the default, or where memory runs out of half as many, then of twice as many.

    Args:
        speed: images a second of a size; raises PyTorch's error where memory runs out.
        most: the largest size to try.

    Returns:
        Sizes in the order in which they were tried, up to the first that does not pay or does not fit.

    Raises:
        RunError: even the smallest batch does not fit.
    """
    speeds: dict[int, float] = {}

    def try_one(size: int) -> int:
        speeds[size] = speed(size)
        return size

    size = within_memory(BATCH, try_one)
    while size >= BATCH and size * 2 <= most:
        try:
            try_one(size * 2)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            break
        if speeds[size * 2] < WORTH * speeds[size]:
            break
        size *= 2
    free_memory()
    return speeds


def _decide(speeds: dict[int, float], how: str) -> BatchSize:
    sizes = sorted(speeds)
    best = sizes[0]
    for size in sizes[1:]:
        if speeds[size] >= WORTH * speeds[best]:
            best = size
    told = ", ".join(f"{size}: {speeds[size]:.0f}" for size in sizes)
    return BatchSize(best, f"images/s {told}; {how}; optimizer.lr stays as set")


def _speed(config: Config, precision: Precision, classes: int, size: int, device: torch.device) -> float:
    batch = random_images(config, size, device)
    targets = torch.arange(size, device=device) % classes
    network = build_network(config.network, classes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    step = make_step(network, config, batch, targets, bf16=precision == "bf16")
    return round(rate(step, SECONDS) * size, 1)


def _key(config: Config, precision: Precision, classes: int, images: int, device: torch.device) -> str:
    return f"{machine_key(config, classes, device)}-{precision}-{most_images(config, images)}"
