"""Averages of the weights: exponential moving (EMA) or stochastic weight averaging (SWA), batch-norm statistics too."""

from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from agecls.config import AverageConfig

Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


def build_average(config: AverageConfig, network: nn.Module) -> AveragedModel | None:
    """Make a copy of the network that will hold the average, or None where there is none.

    Args:
        config: which average.
        network: freshly built.
    """
    match config.name:
        case "none":
            return None
        case "ema":
            average = AveragedModel(network, multi_avg_fn=_Ema(config.decay), use_buffers=True)
        case "swa":
            average = AveragedModel(network)
    # No optimiser has it, and no process waits for its gradients.
    average.requires_grad_(False)
    return average


class _Ema:
    """One step of the moving average of some tensors of one type.

    A batch norm's mean and variance are averaged as the weights are. What is no float, such as a count or an index, is
    taken over as it is: an average of it, rounded down, would be wrong.

    Args:
        decay: share that the average keeps at each step, later on.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, averages: Tensors, present: Tensors, count: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            for average, tensor in zip(averages, present, strict=True):
                average.copy_(tensor)
            return
        # The first weights are random: an average that kept 0.999 of them would be useless for a thousand steps.
        decay = min(self.decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(decay)(averages, present, count)  # type: ignore[no-untyped-call]


@torch.no_grad()
def take_in(average: AveragedModel, network: nn.Module) -> None:
    """Take one more network into a plain average; of what is no weight, the newest stands.

    Args:
        average: what ``build_average`` made.
        network: as it is now.
    """
    average.update_parameters(network)
    for old, new in zip(average.module.buffers(), network.buffers(), strict=True):
        old.copy_(new)


@torch.no_grad()
def measure_batch_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take the statistics of the batch norms anew: averaged weights make other activations than any weights before.

    As PyTorch's ``update_bn``, which would also reset the batch norms that ``network.train()`` leaves frozen.

    Args:
        network: its mode stays as it is.
        batches: network inputs of the training, float32 of shape (B, C, S, S).
    """
    training = network.training
    network.train()
    momenta = {norm: norm.momentum for norm in network.modules() if isinstance(norm, _BatchNorm) and norm.training}
    for norm in momenta:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    for batch in batches:
        network(batch)
    for norm, momentum in momenta.items():
        norm.momentum = momentum
    network.train(training)
