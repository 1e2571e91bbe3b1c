"""Learning-rate finder: train with a rate that rises at every step, and see where the loss is lowest."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from agecls.errors import RunError
from agecls.learn.optimizers import build_optimizer, parameter_groups
from agecls.learn.remembered import Precision
from agecls.learn.task import FaceTask
from agecls.learn.transforms import to_input

LOWEST: Final = 1e-7
"""Rate of the first step."""

HIGHEST: Final = 1.0
"""Rate of the last step, where the loss has not diverged before."""

MEMORY: Final = 0.9
"""Share that the smoothed loss keeps at each step."""

DIVERGED: Final = 4.0
"""The test ends where the smoothed loss is so many times its lowest value."""


@dataclass(frozen=True)
class RangeTest:
    """What a range test has found (Smith 2017, arXiv:1506.01186).

    Attributes:
        rates: of each step, ascending.
        losses: smoothed, of each step.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the smoothed loss is lowest: the steepest slope is lost in noise on few images.

        Raises:
            RunError: the loss has nowhere fallen.
        """
        if not self.rates or (best := self.rates[int(np.argmin(self.losses))]) < 10 * LOWEST:
            raise RunError(
                "no learning rate can be suggested",
                got=f"the loss has not fallen in {len(self.losses)} steps from rate {LOWEST:g} up",
                remedy="take another optimizer, or a larger train.batch_size",
            )
        return best / 10


def range_test(
    task: FaceTask, batches: Iterable[tuple[Tensor, Tensor]], steps: int, precision: Precision, device: torch.device
) -> RangeTest:
    """Train for a few steps; the network is of no use afterwards.

    Blocks that train at a share of the rate keep their share; gradients are neither clipped nor accumulated.

    Args:
        task: freshly built.
        batches: uint8 images (B, C, S, S) and targets (B,), at least ``steps`` of them.
        steps: how many.
        precision: of the network's inner products.
        device: where to compute.
    """
    task = task.to(device).train()
    optimizer = build_optimizer(task.config.optimizer, parameter_groups(task.network, task.config))
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for step, (images, targets) in zip(range(steps), batches, strict=False):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / max(1, steps - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        torch.manual_seed(task.config.train.seed * 1_000_003 + step)
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = task.loss_of(to_input(images.to(device)), targets.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        mean = MEMORY * mean + (1 - MEMORY) * float(loss.detach())
        smoothed = mean / (1 - MEMORY ** (step + 1))
        if not np.isfinite(smoothed) or (losses and smoothed > DIVERGED * min(losses)):
            break
        rates.append(rate)
        losses.append(smoothed)
    return RangeTest(tuple(rates), tuple(losses))
