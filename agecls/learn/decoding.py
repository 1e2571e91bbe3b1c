"""From a network's outputs to probabilities of classes, and to years."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from agecls.bins import Bins
from agecls.errors import RunError
from agecls.labels import AGE_MAX, AGE_MIN
from agecls.learn.targets import Target, join_levels, slices

MIDDLE: Final = 35.0
UNIT: Final = 20.0
"""A regression's output is the age as (years - 35) / 20: a fresh network, which answers about 0, starts amid the ages,
and losses have the size of a cross-entropy."""


def level_probabilities(target: Target, outputs: Tensor) -> Tensor:
    """Probabilities of the classes or years that a target was taught, shape (N, L), rows sum to 1.

    Args:
        target: any but a regression.
        outputs: its outputs, shape (N, W).
    """
    match target.kind:
        case "classes" | "distribution":
            return torch.softmax(outputs, dim=1)
        case "coral" | "corn":
            beyond = exceedance(target, outputs)
            one, none = torch.ones_like(beyond[:, :1]), torch.zeros_like(beyond[:, :1])
            return -torch.diff(torch.cat([one, beyond, none], dim=1), dim=1)
        case "years":
            raise RunError("a regression of years gives no probabilities", remedy="ask it for years")


def exceedance(target: Target, outputs: Tensor) -> Tensor:
    """P(level > k) for each threshold k of CORAL or CORN, never rising with k, shape (N, L - 1)."""
    if target.kind == "corn":  # each output is conditional on having passed the thresholds below
        return torch.sigmoid(outputs).cumprod(dim=1)
    # CORAL's biases are in order at the optimum (Cao 2020), not on the way to it.
    return torch.sigmoid(outputs).cummin(dim=1).values


def years_of(target: Target, outputs: Tensor) -> Tensor | None:
    """Age in years, within 0..116, shape (N,): the regression's, or the expectation; None where only bins are known."""
    if target.kind == "years":
        return (MIDDLE + UNIT * outputs[:, 0]).clamp(AGE_MIN, AGE_MAX)
    if not target.over_years:
        return None
    years = torch.arange(AGE_MIN, AGE_MAX + 1, dtype=outputs.dtype, device=outputs.device)
    return level_probabilities(target, outputs) @ years


def class_probabilities(target: Target, outputs: Tensor) -> Tensor:
    """Probabilities of the target's classes, shape (N, K): those of its levels, summed.

    A regression has all of it in the bin that holds the rounded year, or in the nearest one.

    Args:
        target: what is asked, in the bins of the training or others.
        outputs: its outputs, shape (N, W).
    """
    bins, years = target.answered, years_of(target, outputs)
    if bins is None or not (target.over_years or target.others):
        return level_probabilities(target, outputs)
    if target.kind == "years" and years is not None:
        nearest = nearest_bins(bins).to(outputs.device)[years.round().long()]
        return nn.functional.one_hot(nearest, len(bins)).to(outputs)
    levels = level_probabilities(target, outputs)
    joined = torch.from_numpy(join_levels(target)).to(outputs.device)
    held = levels[:, joined >= 0]
    sums = held.new_zeros(len(held), len(bins)).index_add(1, joined[joined >= 0], held)
    return sums / sums.sum(dim=1, keepdim=True).clamp(min=torch.finfo(sums.dtype).tiny)


def nearest_bins(bins: Bins) -> Tensor:
    """Bin of each age in 0..116, or the nearest one for an age in a gap, int64 of shape (117,)."""
    ages = np.arange(AGE_MIN, AGE_MAX + 1)[:, None]
    low, high = np.array(bins.ranges).T
    return torch.from_numpy(np.maximum(low - ages, ages - high).argmin(axis=1))


def mean_outputs(targets: Sequence[Target], *answers: Tensor) -> Tensor:
    """Outputs that are read as the mean of several answers to each image: of their probabilities, or of their years.

    Args:
        targets: whose outputs they are.
        answers: at least one, each of shape (B, W), of one float type.
    """
    joined = []
    for target, part in zip(targets, slices(targets), strict=True):
        parts = torch.stack([answer[:, part] for answer in answers])
        match target.kind:
            case "classes" | "distribution":
                joined.append(torch.log_softmax(parts, dim=2).logsumexp(dim=0) - np.log(len(answers)))
            case "coral" | "corn":
                beyond = torch.stack([exceedance(target, each.double()) for each in parts]).mean(dim=0)
                if target.kind == "corn":
                    before = torch.cat([torch.ones_like(beyond[:, :1]), beyond[:, :-1]], dim=1)
                    beyond = beyond / before.clamp(min=1e-300)
                joined.append(torch.logit(beyond, eps=1e-12).to(parts))
            case "years":
                joined.append(parts.mean(dim=0))
    return torch.cat(joined, dim=1)


class AsClassifier(nn.Module):
    """A network of one target whose answers are logits of its classes, as those of any classifier.

    Args:
        network: gives the target's outputs.
        target: which has probabilities.
    """

    def __init__(self, network: nn.Module, target: Target) -> None:
        super().__init__()
        self.network, self.target = network, target

    def forward(self, images: Tensor) -> Tensor:
        """Logs of the probabilities, shape (B, K) float64, of images of shape (B, C, S, S)."""
        found = class_probabilities(self.target, self.network(images).double())
        return found.clamp(min=1e-300).log()
