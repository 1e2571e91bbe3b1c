"""Training steps by the clock."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from agecls.config import Config
from agecls.learn.freezing import freeze
from agecls.learn.networks.network import Network
from agecls.learn.optimizers import build_optimizer, parameter_groups
from agecls.learn.transforms import to_input


def random_images(config: Config, count: int, device: torch.device) -> Tensor:
    """Noise in the shape of a batch, uint8 (B, C, S, S)."""
    net = config.network
    images = torch.randint(0, 256, (count, net.channels, net.image_size, net.image_size), dtype=torch.uint8)
    return images.to(device)


def make_step(network: Network, config: Config, batch: Tensor, targets: Tensor, *, bf16: bool) -> Callable[[], None]:
    """One training step, ready to be repeated; warmed up."""
    optimizer = build_optimizer(config.optimizer, parameter_groups(network, config))
    # What thaws bit by bit is timed as it stands half way.
    freeze(network.train(), config.transfer, config.train.epochs // 2)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=bf16):
            logits = network(to_input(batch))
        loss: Tensor = nn.functional.cross_entropy(logits.float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if batch.device.type == "cuda":
            torch.cuda.synchronize()

    step()
    step()
    return step


def rate(step: Callable[[], None], seconds: float) -> float:
    """Steps a second."""
    steps, start = 0, time.perf_counter()
    while steps == 0 or time.perf_counter() - start < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - start)
