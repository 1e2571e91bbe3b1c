"""Losses of a classification: cross-entropy and focal, with class weights, label smoothing and soft targets."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from agecls.config import LossConfig


class ClassLoss(nn.Module):
    """Loss of logits against one class, or against shares of several.

    Args:
        config: which loss, smoothing and weights.
        class_counts: training images of each class, shape (K,); decides the weights.
    """

    weight: Tensor | None

    def __init__(self, config: LossConfig, class_counts: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", class_weights(class_counts, config.class_weights))
        self.smoothing = config.label_smoothing
        self.gamma = config.gamma if config.name == "focal" else 0.0

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Weighted mean over the batch.

        Args:
            logits: shape (B, K), float32.
            targets: classes, int64 of shape (B,), or their shares, float32 of shape (B, K), rows sum to 1.
        """
        if targets.dim() == 1 and not self.gamma:
            return cross_entropy(logits, targets, self.weight, label_smoothing=self.smoothing)
        return self._of_shares(logits, targets if targets.dim() == 2 else one_hot(targets, logits.shape[1]).float())

    def _of_shares(self, logits: Tensor, shares: Tensor) -> Tensor:
        """What PyTorch's cross-entropy is for whole classes, its weighted mean included, for shares and with focus."""
        classes = logits.shape[1]
        weight = torch.ones_like(logits[0]) if self.weight is None else self.weight
        smooth = shares * (1 - self.smoothing) + self.smoothing / classes
        logs = torch.log_softmax(logits, dim=1)
        focus = (1 - logs.exp()).clamp(min=1e-12) ** self.gamma if self.gamma else 1.0
        return -(smooth * weight * focus * logs).sum() / (shares * weight).sum()


def class_weights(counts: Tensor, kind: str) -> Tensor | None:
    """Loss weight of each class, shape (K,), mean 1; None for equal weights."""
    if kind == "none":
        return None
    share = counts.float() / counts.sum()
    weights = 1 - share if kind == "one-minus-share" else 1 / share.clamp(min=1e-12)
    return weights / weights.mean()
