"""The LightningModule: one network, the loss of its targets, scores on valid."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from agecls.config import Config
from agecls.learn.averaging import build_average, measure_batch_norms, take_in
from agecls.learn.freezing import freeze
from agecls.learn.inference import as_asked
from agecls.learn.mixing import build_mixing
from agecls.learn.multitask import JointLoss, build_loss
from agecls.learn.networks import build_network
from agecls.learn.networks.bayesian import divergence
from agecls.learn.optimizers import build_optimizer, build_schedule, parameter_groups
from agecls.learn.scores import Scores
from agecls.learn.targets import Target, gender_slice, is_plain, shared_rows, total_width
from agecls.learn.transforms import to_input


class FaceTask(pl.LightningModule):
    """Learns one or several tasks about faces.

    Args:
        config: settings.
        targets: of the network.
        class_counts: for each target, training images of each class, shape (K,); they decide the loss weights.
    """

    def __init__(self, config: Config, targets: Sequence[Target], class_counts: Sequence[Tensor]) -> None:
        super().__init__()
        self.config = config
        self.targets = tuple(targets)
        network = build_network(
            config.network, total_width(targets), shared_rows(targets), gender_slice(targets), targets[0].width
        )
        self.network = network.to(memory_format=torch.channels_last)
        self.loss = build_loss(targets, config, class_counts)
        # Where labels are no classes, images are mixed as classes of their own, and their losses with them.
        self.mixing = build_mixing(config.augment, len(targets[0].classes) if is_plain(targets) else config.train.batch)
        self.average = build_average(config.average, self.network)
        self.scores = Scores(targets, config.targets)
        self.images = max(1, *(int(counts.sum()) for counts in class_counts))
        self.last_confusions: dict[str, Tensor] = {}
        if config.train.compile:
            self.network.compile()  # in place: the names of the weights stay as they are

    def forward(self, batch: Tensor) -> Tensor:
        """Logits (B, K) float32 from a uint8 batch (B, C, S, S)."""
        return self.network(to_input(batch)).float()  # type: ignore[no-any-return]

    @property
    def judged(self) -> nn.Module:
        """The network that is validated, kept and saved: the average of the weights as soon as there is one."""
        return self.network if self.average is None or not self.average.n_averaged else self.average.module

    def on_train_epoch_start(self) -> None:
        """Freeze what the epoch leaves alone; the epoch's number decides, so a resumed run goes on as it would have."""
        freeze(self.network, self.config.transfer, self.current_epoch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout from (seed, step), so that a resumed run goes on as if it had never stopped."""
        settings, trainer = self.config.train, self.trainer
        batch = self.global_step * settings.accumulate + batch_idx % settings.accumulate
        torch.manual_seed(settings.seed * 1_000_003 + batch * trainer.world_size + trainer.global_rank)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        images, targets = batch
        loss = self.loss_of(to_input(images), targets)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(targets), sync_dist=True)
        return loss

    def loss_of(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Loss that is trained on, of network inputs (B, C, S, S) and their labels, (B,) or (B, T).

        Uncertain weights add their divergence over the number of training images, so that an epoch counts it once.
        """
        return self._data_loss(inputs, targets) + divergence(self.network) / self.images

    def _data_loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if self.mixing and not is_plain(self.targets):
            inputs, shares = self.mixing(inputs, torch.arange(len(inputs), device=inputs.device))
            own = shares.diagonal().mean() if shares.dim() == 2 else 1.0
            outputs = self.network(inputs).float()
            # Each image is mixed with the one before it, all by one share.
            return own * self.loss(outputs, targets) + (1 - own) * self.loss(outputs, targets.roll(1, 0))  # type: ignore[no-any-return]
        if self.mixing:
            inputs, targets = self.mixing(inputs, targets)
        return self.loss(self.network(inputs).float(), targets)  # type: ignore[no-any-return]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let a moving average follow."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None and self.config.average.name == "ema":
            self.average.update_parameters(self.network)

    def on_validation_start(self) -> None:
        """Take the epoch into a plain average, before it is validated."""
        settings = self.config
        if self.average is None or settings.average.name != "swa":
            return
        if self.current_epoch >= int(settings.average.start * settings.train.epochs):
            take_in(self.average, self.network)
            freeze(self.average.module, settings.transfer, self.current_epoch)  # type: ignore[arg-type]
            self.average.requires_grad_(False)
            torch.manual_seed(settings.train.seed * 1_000_003 + self.current_epoch)  # of dropout
            again = self.trainer.datamodule.once_more(self.current_epoch)  # type: ignore[attr-defined]
            measure_batch_norms(self.average.module, (to_input(batch.to(self.device)) for batch in again))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count one batch into the scores."""
        images, targets = batch
        logits = as_asked(self.judged, self.config.predict, self.targets)(to_input(images)).float()
        self.log("valid_loss", self.loss(logits, targets), batch_size=len(targets), sync_dist=True)
        self.scores.update(logits, targets)

    def on_validation_epoch_end(self) -> None:
        """Log accuracy and macro-F1, errors in years, and the weights that tasks have learnt to have."""
        found = self.scores.compute()
        self.last_confusions = {name: matrix.cpu() for name, matrix in found.confusions.items()}
        for name, value in found.metrics.items():
            # The scores are those of all processes.
            self.log(name, value, prog_bar=name == "valid_macro_f1", sync_dist=True)
        if isinstance(self.loss, JointLoss) and self.loss.log_variances is not None:
            for name, weight in zip(self.loss.names, self.loss.weights.detach(), strict=True):
                self.log(f"weight_{name}", weight, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The optimiser, and its schedule."""
        groups = parameter_groups(self.network, self.config)
        learned = list(self.loss.parameters())
        if learned:  # the logarithms of variances, which no penalty should pull towards 0
            groups.append({"params": learned, "lr": self.config.optimizer.lr, "lr_scale": 1.0, "weight_decay": 0.0})
        optimizer = build_optimizer(self.config.optimizer, groups)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = build_schedule(self.config.schedule, optimizer, self.config.optimizer.lr, steps)
        if schedule is None:
            return optimizer
        if isinstance(schedule, ReduceLROnPlateau):
            told = {"scheduler": schedule, "interval": "epoch", "monitor": self.scores.chosen_by}
        else:
            told = {"scheduler": schedule, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": told}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step the schedule, but for a plateau: Lightning would step it after the epoch's checkpoint is written."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def on_train_epoch_end(self) -> None:
        """Tell a plateau how the epoch went."""
        schedule = self.lr_schedulers()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(float(self.trainer.callback_metrics[self.scores.chosen_by]))
