"""What happens at the end of each epoch: keep the best weights, leave a checkpoint, say how it goes."""

import dataclasses
import io
import math
import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, RichProgressBar

from agecls.errors import RunError
from agecls.files import write_whole
from agecls.learn.run import Run
from agecls.learn.run_record import CHECKPOINT, WEIGHTS
from agecls.learn.task import FaceTask


class Reached(NamedTuple):
    """How far a training has come.

    Attributes:
        epoch: after which its checkpoint was written, counted from 0.
        stopped: whether early stopping has ended it there.
    """

    epoch: int
    stopped: bool


def read_reached(checkpoint: Path) -> Reached:
    """How far the training of a checkpoint had come.

    Raises:
        RunError: it cannot be read.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        # Checkpoints of 0.1.0's first runs do not say whether they were stopped.
        return Reached(int(content["epoch"]), bool(content["callbacks"]["KeepBest"].get("stopped", False)))
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        got = (str(error).splitlines() or ["it ends too early"])[0]
        remedy = "start another run with --out; the best epoch so far can still be used"
        raise RunError(f"cannot resume from {checkpoint}", got=got, remedy=remedy) from None


def describe_scores(score: Mapping[str, Any]) -> str:
    """The scores of an epoch in words: ``macro-F1 0.6123``, of several tasks each one's, and errors in years."""
    each = [
        f"{name.removeprefix('valid_').removesuffix('_macro_f1')} {value:.4f}"
        for name, value in score.items()
        if name.endswith("_macro_f1") and name != "valid_macro_f1"
    ]
    errors = [f", MAE {value:.2f} years" for name, value in score.items() if name.endswith("mae_years")]
    return f"macro-F1 {score['valid_macro_f1']:.4f}" + (f" ({', '.join(each)})" if each else "") + "".join(errors)


class EpochBar(RichProgressBar):
    """Lightning's progress bar, on stderr, without the logger's version number."""

    def __init__(self) -> None:
        super().__init__(leave=False, console_kwargs={"stderr": True})

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What stands at the right end: valid macro-F1 once there is one."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


class KeepBest(Checkpoint):
    """Write the weights of the best epoch so far, the run's record, and ``last.ckpt`` for resuming.

    Each file is replaced whole, so a killed process leaves a usable run from the first epoch on. Of several processes,
    the first one writes. As a ``Checkpoint`` it comes after all other callbacks of an epoch, so that what they know,
    such as how long early stopping has waited, is what a resumed run goes on with.

    Args:
        run: the run as it stands; ``run`` of this object is its newest state.
        say: told one line after each epoch.
    """

    def __init__(self, run: Run, say: Callable[[str], None]) -> None:
        self.run = run
        self.say = say
        self.best = -math.inf
        self.seconds = 0.0
        self.stopped = False

    def state_dict(self) -> dict[str, Any]:
        """What ``last.ckpt`` keeps of this object."""
        return {"best": self.best, "seconds": self.seconds, "metrics": dict(self.run.metrics), "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``last.ckpt``."""
        self.best, self.seconds = state_dict["best"], state_dict["seconds"]
        self.run = dataclasses.replace(self.run, metrics=state_dict["metrics"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the epoch if its score on valid is the best, and leave a checkpoint in any case."""
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
        reached = score[pl_module.scores.chosen_by]
        better = reached > self.best
        metrics = {**self.run.metrics, "epochs": trainer.current_epoch + 1, "seconds": round(self.seconds, 1)}
        if better:
            self.best = reached
            metrics["best_epoch"] = trainer.current_epoch + 1
            metrics.update({name: round(value, 6) for name, value in score.items()})
        self.run = dataclasses.replace(self.run, metrics=metrics)
        self.stopped = trainer.should_stop
        if not trainer.is_global_zero:
            return
        if better:
            self.run.save_weights(pl_module.judged)
        self.run.save()
        images = trainer.num_training_batches * pl_module.config.train.batch * trainer.world_size
        self.say(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: train loss {score['train_loss']:.3f}, "
            f"valid loss {score['valid_loss']:.3f}, valid {describe_scores(score)}"
            f"{' (best)' if better else ''}, {images / seconds:.0f} images/s with validation"
        )
        buffer = io.BytesIO()
        torch.save(trainer._checkpoint_connector.dump_checkpoint(weights_only=False), buffer)
        write_whole(self.run.folder / CHECKPOINT, buffer.getvalue())

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave a usable run: the best epoch so far, or the present weights where no epoch has ended yet."""
        assert isinstance(pl_module, FaceTask)  # noqa: S101
        if not trainer.is_global_zero:
            return
        if not (self.run.folder / WEIGHTS).exists():
            self.run.save_weights(pl_module.judged)
        self.run = dataclasses.replace(self.run, status="interrupted")
        self.run.save()
