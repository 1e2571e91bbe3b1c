"""Losses of ages that are taught in years or in order: regression, label distributions, CORAL and CORN."""

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss, logsigmoid, mse_loss
from torch.nn.functional import l1_loss as mean_absolute

from agecls.config import TargetsConfig
from agecls.labels import AGE_MAX, AGE_MIN
from agecls.learn.decoding import MIDDLE, UNIT


class YearsLoss(nn.Module):
    """L1, L2 or smooth L1 of the years, in units of 20 of them.

    Args:
        config: which one, and where smooth L1 bends.
    """

    def __init__(self, config: TargetsConfig) -> None:
        super().__init__()
        self.kind, self.bend = config.years, config.bend / UNIT

    def forward(self, outputs: Tensor, years: Tensor) -> Tensor:
        """Mean over the batch, of outputs of shape (B, 1) and whole years of shape (B,)."""
        found, wanted = outputs[:, 0], (years.to(outputs) - MIDDLE) / UNIT
        match self.kind:
            case "l1":
                return mean_absolute(found, wanted)
            case "l2":
                return mse_loss(found, wanted)
            case "smooth-l1":
                return huber_loss(found, wanted, delta=self.bend) / self.bend


class DistributionLoss(nn.Module):
    """Divergence from a normal distribution about the label (Gao 2017), and error of the expectation (Gao 2018).

    Args:
        config: spread of the labels, and weight of the expectation's L1, which is taken in units of 20 years.
    """

    def __init__(self, config: TargetsConfig) -> None:
        super().__init__()
        self.expectation = config.expectation
        years = torch.arange(AGE_MIN, AGE_MAX + 1, dtype=torch.float32)
        self.register_buffer("years", years, persistent=False)
        away = (years[None] - years[:, None]) / config.spread
        self.register_buffer("wanted", torch.softmax(-(away**2) / 2, dim=1), persistent=False)

    years: Tensor
    wanted: Tensor

    def forward(self, outputs: Tensor, years: Tensor) -> Tensor:
        """Mean over the batch, of logits of the years, shape (B, 117), and whole years of shape (B,)."""
        wanted, logs = self.wanted[years], torch.log_softmax(outputs, dim=1)
        divergence = nn.functional.kl_div(logs, wanted, reduction="batchmean")
        return divergence + self.expectation * mean_absolute(logs.exp() @ self.years, years.to(outputs)) / UNIT


class OrdinalLoss(nn.Module):
    """Is the label beyond each threshold?

    Args:
        conditional: ask each threshold only of images beyond the one before, as CORN does (Shi 2021); else of all, as
            CORAL does (Cao 2020).
    """

    def __init__(self, *, conditional: bool) -> None:
        super().__init__()
        self.conditional = conditional

    def forward(self, outputs: Tensor, levels: Tensor) -> Tensor:
        """Mean over all questions, of logits of shape (B, L - 1) and levels of shape (B,).

        CORAL's paper sums over the thresholds instead: then the more of them, the less another task would count.
        """
        thresholds = torch.arange(outputs.shape[1], device=outputs.device)
        beyond = (levels[:, None] > thresholds).to(outputs)
        each = -(beyond * logsigmoid(outputs) + (1 - beyond) * (logsigmoid(outputs) - outputs))
        if not self.conditional:
            return each.mean()
        asked = (levels[:, None] >= thresholds).to(outputs)
        return (each * asked).sum() / asked.sum()
