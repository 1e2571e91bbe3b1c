"""The LightningModule: one network, one loss, valid macro-F1."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from agecls.config import Config
from agecls.learn.networks import build_network
from agecls.learn.optimizers import build_optimizer, build_schedule
from agecls.learn.transforms import to_input


class FaceTask(pl.LightningModule):
    """Learns one classification of faces.

    Args:
        config: settings.
        class_counts: training images of each class, shape (K,); decides the loss weights.
    """

    def __init__(self, config: Config, class_counts: Tensor) -> None:
        super().__init__()
        self.config = config
        classes = len(class_counts)
        self.network = build_network(config.network, classes).to(memory_format=torch.channels_last)
        self.loss = nn.CrossEntropyLoss(
            weight=class_weights(class_counts, config.loss.class_weights), label_smoothing=config.loss.label_smoothing
        )
        self.confusion = MulticlassConfusionMatrix(classes)
        self.last_confusion = torch.zeros(classes, classes, dtype=torch.long)

    def forward(self, batch: Tensor) -> Tensor:
        """Logits (B, K) float32 from a uint8 batch (B, C, S, S)."""
        return self.network(to_input(batch)).float()  # type: ignore[no-any-return]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout from (seed, step), so that a resumed run goes on as if it had never stopped."""
        torch.manual_seed(self.config.train.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of one batch."""
        images, targets = batch
        loss: Tensor = self.loss(self(images), targets)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(targets))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count one batch into the confusion matrix."""
        images, targets = batch
        logits = self(images)
        self.log("valid_loss", self.loss(logits, targets), batch_size=len(targets))
        self.confusion.update(logits.argmax(dim=1), targets)

    def on_validation_epoch_end(self) -> None:
        """Log valid accuracy and macro-F1."""
        matrix = self.confusion.compute()
        self.last_confusion = matrix.cpu()
        self.log("valid_macro_f1", macro_f1(matrix), prog_bar=True)
        self.log("valid_accuracy", matrix.diagonal().sum() / matrix.sum())
        self.confusion.reset()

    def configure_optimizers(self) -> Any:
        """The optimiser, and the schedule stepped after each batch."""
        optimizer = build_optimizer(self.config.optimizer, self.network.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = build_schedule(self.config.schedule, optimizer, self.config.optimizer.lr, steps)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def macro_f1(confusion: Tensor) -> Tensor:
    """Mean over all K classes of 2 TP / (support + predicted); a class neither there nor predicted counts 0.

    Args:
        confusion: counts, truth in rows, shape (K, K).
    """
    mass = (confusion.sum(dim=0) + confusion.sum(dim=1)).clamp(min=1)
    return (2.0 * confusion.diagonal() / mass).mean()


def class_weights(counts: Tensor, kind: str) -> Tensor | None:
    """Loss weight of each class, shape (K,), mean 1; None for equal weights."""
    if kind == "none":
        return None
    share = counts.float() / counts.sum()
    weights = 1 - share if kind == "one-minus-share" else 1 / share.clamp(min=1e-12)
    return weights / weights.mean()
