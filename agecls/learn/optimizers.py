"""Optimisers and learning-rate schedules, by name."""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau, StepLR

from agecls.config import Config, OptimizerConfig, OptimizerName, ScheduleConfig
from agecls.learn.networks.bayesian import bayesian_layers
from agecls.learn.networks.network import Network


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


def parameter_groups(network: Network, config: Config) -> list[dict[str, Any]]:
    """Every parameter, those of one learning rate together: the head at ``optimizer.lr``, blocks below it at less.

    Each group has its ``lr`` and, as ``lr_scale``, its share of ``optimizer.lr``. Frozen parameters are in it too, as
    they may thaw; an optimiser leaves alone what has no gradient.
    """
    blocks = network.backbone.blocks()
    shares: dict[Parameter, float] = {}
    for depth, block in enumerate(reversed(blocks)):
        share = config.transfer.backbone_lr * config.transfer.layer_decay**depth
        shares.update({parameter: share for module in block for parameter in module.parameters()})
    # Decay would pull the deviations of uncertain weights up, for they are kept as logarithms below 0.
    spared = {each for layer in bayesian_layers(network) for each in (layer.weight_rho, layer.bias_rho)}
    groups: dict[float, list[Parameter]] = {}
    for parameter in network.parameters():
        if parameter not in spared:
            groups.setdefault(shares.get(parameter, 1.0), []).append(parameter)
    lr = config.optimizer.lr
    found = [{"params": members, "lr": lr * share, "lr_scale": share} for share, members in groups.items()]
    if spared:
        members = [parameter for parameter in network.parameters() if parameter in spared]
        found.append({"params": members, "lr": lr, "lr_scale": 1.0, "weight_decay": 0.0})
    return found


def build_optimizer(config: OptimizerConfig, parameters: Iterable[Parameter] | list[dict[str, Any]]) -> Optimizer:
    """Make the optimiser with every setting that is set, and PyTorch's defaults for the rest.

    Args:
        config: its settings.
        parameters: what it changes, or what ``parameter_groups`` made of it.
    """
    made = _class_of(config.name)
    return made(parameters, lr=config.lr, weight_decay=config.weight_decay, **config.settings())  # type: ignore[call-arg]


def build_schedule(
    config: ScheduleConfig, optimizer: Optimizer, lr: float, steps: int
) -> LRScheduler | ReduceLROnPlateau | None:
    """Make the schedule; None where the rate stays as it is.

    All are stepped after each of ``steps`` optimiser steps, but for a plateau, which is told the score of each epoch.
    Momentum stays where the optimiser has it: NAdam's own momentum schedule and a cycled beta would fight.
    """
    match config.name:
        case "constant":
            return None
        case "onecycle":
            peaks = [lr * group.get("lr_scale", 1.0) for group in optimizer.param_groups]
            return OneCycleLR(
                optimizer, peaks, total_steps=max(2, steps), pct_start=config.warmup, cycle_momentum=False
            )
        case "cosine":
            return LambdaLR(optimizer, partial(warmed_cosine, steps=steps, warmup=config.warmup))
        case "step":
            return StepLR(optimizer, step_size=max(1, math.ceil(steps / config.parts)), gamma=config.factor)
        case "plateau":
            # PyTorch counts the epochs that it still waits without falling, and would leave rates below 1e-8 alone.
            waits = config.wait - 1
            return ReduceLROnPlateau(optimizer, mode="max", factor=config.factor, patience=waits, threshold=0, eps=0)


def warmed_cosine(step: int, steps: int, warmup: float) -> float:
    """Share of the rate: up in a straight line, then down along half a cosine to nothing (Loshchilov and Hutter 2017).

    Args:
        step: steps taken before this one.
        steps: of the whole training.
        warmup: share of them in which the rate rises.
    """
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step + 1 - rising) / max(1, steps + 1 - rising))))
