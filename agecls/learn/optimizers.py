"""Optimisers and learning-rate schedules, by name."""

from collections.abc import Iterable

import torch
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from agecls.config import OptimizerConfig, OptimizerName, ScheduleConfig


def _class_of(name: OptimizerName) -> type[Optimizer]:
    match name:
        case "adam":
            return torch.optim.Adam
        case "adamw":
            return torch.optim.AdamW
        case "nadam":
            return torch.optim.NAdam
        case "sgd":
            return torch.optim.SGD
        case "rmsprop":
            return torch.optim.RMSprop
        case "adadelta":
            return torch.optim.Adadelta
        case "adamax":
            return torch.optim.Adamax


def build_optimizer(config: OptimizerConfig, parameters: Iterable[Parameter]) -> Optimizer:
    """Make the optimiser with every setting that is set, and PyTorch's defaults for the rest."""
    made = _class_of(config.name)
    return made(parameters, lr=config.lr, weight_decay=config.weight_decay, **config.settings())  # type: ignore[call-arg]


def build_schedule(config: ScheduleConfig, optimizer: Optimizer, lr: float, steps: int) -> LRScheduler | None:
    """Make the schedule that is stepped after each of ``steps`` batches; None where the rate stays as it is.

    Momentum stays where the optimiser has it: NAdam's own momentum schedule and a cycled beta would fight.
    """
    match config.name:
        case "constant":
            return None
        case "onecycle":
            return OneCycleLR(optimizer, lr, total_steps=max(2, steps), pct_start=config.warmup, cycle_momentum=False)
