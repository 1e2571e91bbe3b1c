"""A last layer whose weights are distributions: Blundell et al., "Weight uncertainty in neural networks" (2015).

Each weight is normal, with a mean and a deviation of its own (mean field), and is pulled towards a normal prior by the
divergence of the two. In training the outputs are drawn, not the weights, which is the same in distribution and far
less noisy (the local reparameterisation of Kingma, Salimans and Welling 2015).
"""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from agecls.config import NetworkConfig
from agecls.learn.networks.heads import BranchHeads, Head, SharedLinear

FIRST_DEVIATION: Final = 0.02
"""Deviation of every weight at the start: small against the weights, so that training starts like an ordinary one's."""


class BayesianLinear(nn.Module):
    """A linear layer of which some outputs have uncertain weights; in evaluation it answers by the means.

    The means keep the names of the plain layer, so that weights go from one to the other.

    Args:
        plain: a layer of H inputs and K outputs, whose weights become the means.
        outputs: how many of its first outputs have uncertain weights, 1..K.
        prior: deviation of the prior, whose mean is 0.
    """

    rows: Tensor

    def __init__(self, plain: nn.Linear | SharedLinear, outputs: int, prior: float) -> None:
        super().__init__()
        self.weight, self.bias = plain.weight, plain.bias
        rows = plain.rows if isinstance(plain, SharedLinear) else torch.arange(len(plain.bias))
        self.register_buffer("rows", rows, persistent=False)
        self.outputs, self.prior = outputs, prior
        # Rows of weights are ascending by output, so those of the first outputs come first.
        self.uncertain = int(rows[outputs - 1]) + 1 if isinstance(plain, SharedLinear) else outputs
        start = math.log(math.expm1(FIRST_DEVIATION))
        self.weight_rho = nn.Parameter(torch.full((self.uncertain, self.weight.shape[1]), start))
        self.bias_rho = nn.Parameter(torch.full((outputs,), start))

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (B, K) of inputs (B, H), drawn anew for each image in training."""
        means = linear(inputs, self.weight)[:, self.rows] + self.bias
        if not self.training:
            return means
        # A root has no slope at 0, where all inputs are: the clamp gives it one of 0.
        spread = linear(inputs.square(), softplus(self.weight_rho).square()).clamp(min=1e-12).sqrt()
        drawn = (spread * torch.randn_like(spread))[:, self.rows[: self.outputs]]
        shifts = softplus(self.bias_rho) * torch.randn_like(means[:, : self.outputs])
        return torch.cat([means[:, : self.outputs] + drawn + shifts, means[:, self.outputs :]], dim=1)

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence of the uncertain weights from their prior, nats, a scalar."""
        pairs = ((self.weight[: self.uncertain], self.weight_rho), (self.bias[: self.outputs], self.bias_rho))
        total = self.weight.new_zeros(())
        for mean, rho in pairs:
            deviation = softplus(rho)
            ratio = (deviation.square() + mean.square()) / self.prior**2
            total = total + (math.log(self.prior) - deviation.log() + (ratio - 1) / 2).sum()
        return total


def make_uncertain(head: Head | BranchHeads, config: NetworkConfig, first: int | None) -> None:
    """Give a head's last layer, or those of both heads, uncertain weights as ``network.bayesian`` says.

    Args:
        head: freshly built.
        config: its settings.
        first: number of outputs of the first task, which alone are uncertain for half; None for all. Of two branches
            half is the deeper one's head.
    """
    if config.bayesian == "none":
        return
    half = config.bayesian == "half"
    if isinstance(head, BranchHeads):
        heads, outputs = [head.age] if half else [head.age, head.gender], None
    else:
        heads, outputs = [head], first if half else None
    for each in heads:
        plain = each.output
        if isinstance(plain, nn.Linear | SharedLinear):
            each.output = BayesianLinear(plain, outputs or len(plain.bias), config.prior)


def bayesian_layers(network: nn.Module) -> list[BayesianLinear]:
    """Those of a network, in order."""
    return [module for module in network.modules() if isinstance(module, BayesianLinear)]


def divergence(network: nn.Module) -> Tensor | float:
    """Sum over a network's layers with uncertain weights, nats; 0 where there are none."""
    return sum((layer.divergence() for layer in bayesian_layers(network)), 0.0)
