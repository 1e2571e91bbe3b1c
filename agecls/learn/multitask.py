"""One loss of several tasks: the sum of theirs, weighted as set or by what the network learns of their noise."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from agecls.config import Config
from agecls.learn.age_losses import DistributionLoss, OrdinalLoss, YearsLoss
from agecls.learn.losses import ClassLoss
from agecls.learn.targets import Target, slices


def build_loss(targets: Sequence[Target], config: Config, counts: Sequence[Tensor]) -> nn.Module:
    """Make the loss of a network's outputs against labels.

    Args:
        targets: of the network.
        config: settings.
        counts: for each target, training images of each of its classes, shape (K,).

    Returns:
        For one target a loss of (outputs, labels of shape (B,)); for several a ``JointLoss``.
    """
    losses = [_loss(target, config, count) for target, count in zip(targets, counts, strict=True)]
    return losses[0] if len(losses) == 1 else JointLoss(targets, config, losses)


def _loss(target: Target, config: Config, counts: Tensor) -> nn.Module:
    match target.kind:
        case "classes":
            return ClassLoss(config.loss, counts)
        case "distribution":
            return DistributionLoss(config.targets)
        case "coral" | "corn":
            return OrdinalLoss(conditional=target.kind == "corn")
        case "years":
            return YearsLoss(config.targets)


class JointLoss(nn.Module):
    """Weighted sum of the losses of several targets; each is of the images that have its label.

    Learned weights are exp(-s) with s / 2 added, s the logarithm of the task's variance, a parameter that starts at 0
    (Kendall, Gal and Cipolla 2018); half of that for L2, as their likelihoods have it.

    Args:
        targets: of the network.
        config: settings; ``targets.task_weights`` decides the weights.
        losses: of each target.
    """

    def __init__(self, targets: Sequence[Target], config: Config, losses: Sequence[nn.Module]) -> None:
        super().__init__()
        self.names = [target.name for target in targets]
        self.slices = slices(targets)
        self.losses = nn.ModuleList(losses)
        given = config.targets.task_weights
        self.log_variances = nn.Parameter(torch.zeros(len(targets))) if given == "learned" else None
        if isinstance(given, str):
            squared = [target.kind == "years" and config.targets.years == "l2" for target in targets]
            fixed = [0.5 if each else 1.0 for each in squared]
        else:
            fixed = [given.get(target.name, 1.0) for target in targets]
        self.register_buffer("fixed", torch.tensor(fixed), persistent=False)

    fixed: Tensor

    def parts(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each target, shape (T,), and whether any image of the batch has its label, 1 or 0, shape (T,).

        Args:
            outputs: shape (B, W), float32.
            labels: int64 of shape (B, T); -1 where an image has none.
        """
        found, present = [], []
        for number, (loss, part) in enumerate(zip(self.losses, self.slices, strict=True)):
            known = labels[:, number] >= 0
            present.append(known.any())
            # Without a label the outputs keep their place in the graph, for other processes wait for their gradients.
            found.append(
                loss(outputs[known, part], labels[known, number]) if present[-1] else 0 * outputs[:, part].sum()
            )
        return torch.stack(found), torch.stack(present).to(outputs)

    @property
    def weights(self) -> Tensor:
        """Present weight of each target's loss, shape (T,)."""
        return self.fixed if self.log_variances is None else self.fixed * torch.exp(-self.log_variances)

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The weighted sum; see ``parts``."""
        found, present = self.parts(outputs, labels)
        total = (self.weights * found).sum()
        return total if self.log_variances is None else total + (self.log_variances * present).sum() / 2
