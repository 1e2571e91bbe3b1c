"""What happens at the end of each epoch: keep the best weights, leave a checkpoint, say how it goes."""

import dataclasses
import io
import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, RichProgressBar

from agecls.errors import RunError
from agecls.files import write_whole
from agecls.learn.run import CHECKPOINT, WEIGHTS, Run
from agecls.learn.task import FaceTask


def read_epoch(checkpoint: Path) -> int:
    """Number of the epoch after which a checkpoint was written, counted from 0.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["epoch"])
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        got = str(error).splitlines()[0]
        remedy = "start another run with --out; the best epoch so far can still be used"
        raise RunError(f"cannot resume from {checkpoint}", got=got, remedy=remedy) from None


class EpochBar(RichProgressBar):
    """Lightning's progress bar, on stderr, without the logger's version number."""

    def __init__(self) -> None:
        super().__init__(leave=False, console_kwargs={"stderr": True})

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What stands at the right end: valid macro-F1 once there is one."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


class KeepBest(Callback):
    """Write the weights of the best epoch so far, the run's record, and ``last.ckpt`` for resuming.

    Each file is replaced whole, so a killed process leaves a usable run from the first epoch on.

    Args:
        run: the run as it stands; ``run`` of this object is its newest state.
        say: told one line after each epoch.
    """

    def __init__(self, run: Run, say: Callable[[str], None]) -> None:
        self.run = run
        self.say = say
        self.best = -1.0
        self.seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What ``last.ckpt`` keeps of this object."""
        return {"best": self.best, "seconds": self.seconds, "metrics": dict(self.run.metrics)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``last.ckpt``."""
        self.best, self.seconds = state_dict["best"], state_dict["seconds"]
        self.run = dataclasses.replace(self.run, metrics=state_dict["metrics"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the epoch if its valid macro-F1 is the best, and leave a checkpoint in any case."""
        assert isinstance(pl_module, FaceTask)  # noqa: S101 - what Lightning hands over, not what a user typed
        seconds = time.perf_counter() - self._start
        self.seconds += seconds
        score = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not math.isfinite(score["train_loss"]):
            raise RunError(
                f"the loss of epoch {trainer.current_epoch + 1} is no number",
                got=f"train loss {score['train_loss']}",
                remedy="lower optimizer.lr, or set train.precision=fp32",
            )
        better = score["valid_macro_f1"] > self.best
        metrics = {**self.run.metrics, "epochs": trainer.current_epoch + 1, "seconds": round(self.seconds, 1)}
        if better:
            self.best = score["valid_macro_f1"]
            metrics["best_epoch"] = trainer.current_epoch + 1
            metrics.update({name: round(value, 6) for name, value in score.items()})
            self.run.save_weights(pl_module.network)
        self.run = dataclasses.replace(self.run, metrics=metrics)
        self.run.save()
        images = trainer.num_training_batches * pl_module.config.train.batch_size * trainer.world_size
        self.say(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: train loss {score['train_loss']:.3f}, "
            f"valid loss {score['valid_loss']:.3f}, valid macro-F1 {score['valid_macro_f1']:.4f}"
            f"{' (best)' if better else ''}, {images / seconds:.0f} images/s with validation"
        )
        buffer = io.BytesIO()
        torch.save(trainer._checkpoint_connector.dump_checkpoint(weights_only=False), buffer)
        write_whole(self.run.folder / CHECKPOINT, buffer.getvalue())

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave a usable run: the best epoch so far, or the present weights where no epoch has ended yet."""
        assert isinstance(pl_module, FaceTask)  # noqa: S101
        if not (self.run.folder / WEIGHTS).exists():
            self.run.save_weights(pl_module.network)
        self.run = dataclasses.replace(self.run, status="interrupted")
        self.run.save()
