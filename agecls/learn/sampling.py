"""Several passes of one network, each with other neurons dropped and other weights drawn, and their mean."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from agecls.errors import RunError
from agecls.learn.decoding import mean_outputs
from agecls.learn.networks.bayesian import BayesianLinear
from agecls.learn.targets import Target


class Sampled(nn.Module):
    """A network asked several times with its dropout on, as Gal and Ghahramani (2016) have it.

    Dropout and last layers of uncertain weights alone are in training mode; batch norms keep their statistics. The
    same images in the same batches get the same answers, and the random numbers of others are left alone.

    Args:
        network: gives the outputs of some targets.
        targets: these.
        passes: how often it is asked, at least 1.
        seed: of the draws.
    """

    def __init__(self, network: nn.Module, targets: Sequence[Target], passes: int, seed: int = 0) -> None:
        super().__init__()
        self.network, self.targets, self.passes, self.seed = network, targets, passes, seed
        self.batches = 0
        self.drawing = random_layers(network)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs that stand for the mean of all passes, shape (B, W) float32, of images of shape (B, C, S, S)."""
        for layer in self.drawing:
            layer.train()
        with torch.random.fork_rng():
            torch.manual_seed(self.seed * 1_000_003 + self.batches)
            self.batches += 1
            found = [self.network(images).float() for _ in range(self.passes)]
        for layer in self.drawing:
            layer.eval()
        return mean_outputs(self.targets, *found)


def random_layers(network: nn.Module) -> list[nn.Module]:
    """Layers that answer otherwise each time they are asked in training mode: dropout, and uncertain weights."""
    return [
        module
        for module in network.modules()
        if (isinstance(module, _DropoutNd) and module.p > 0) or isinstance(module, BayesianLinear)
    ]


def sampled(network: nn.Module, targets: Sequence[Target], passes: int, owner: str) -> nn.Module:
    """The network as asked ``passes`` times; itself for 0.

    Args:
        network: gives the outputs of the targets.
        targets: these.
        passes: 0 for one pass without chance.
        owner: whose network it is, for the error.

    Raises:
        RunError: chance has no part in the network, so that all passes would be equal.
    """
    if not passes:
        return network
    if not random_layers(network):
        raise RunError(
            f"{owner} has neither dropout nor uncertain weights, so all passes would be equal",
            remedy="leave --mc-dropout out, or train with network.dropout above 0 or network.bayesian",
        )
    return Sampled(network, targets, passes)
