"""Fit a network: from its first weights, or its last checkpoint, to the end of the run."""

import dataclasses
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.loggers import TensorBoardLogger

from agecls.learn.datamodule import FaceData
from agecls.learn.fitting import make_trainer
from agecls.learn.processes import Place, report_ready
from agecls.learn.quiet import quiet_lightning
from agecls.learn.run import Run
from agecls.learn.run_folder import flatten
from agecls.learn.start import fill_start, say_frozen
from agecls.learn.task import FaceTask
from agecls.learn.warm_start import WarmStart
from agecls.learn.watch import EpochBar, KeepBest, read_reached
from agecls.learn.weights import Weights
from agecls.train.pictures import ConfusionPictures
from agecls.train.request import TrainRequest


def fit(
    request: TrainRequest,
    run: Run,
    data: FaceData,
    counts: Sequence[npt.NDArray[np.int64]],
    checkpoint: Path | None,
    start: WarmStart | Weights | None,
    place: Place,
    say: Callable[[str], None],
) -> Run:
    """Fit to the end, or until Ctrl-C, and return the run as it then stands.

    Args:
        request: what to do.
        run: its record, which is kept up to date from here on.
        data: the parts of the split.
        counts: training images of each class of each target, shape (K,) each.
        checkpoint: to go on from; None begins.
        start: weights to begin with; None for fresh ones.
        place: this process among those of the training.
        say: called with each line of talk.

    Raises:
        RunError: the checkpoint cannot be read, or the loss is no number.
    """
    settings = run.config.train
    pl.seed_everything(settings.seed, verbose=False)
    reached = read_reached(checkpoint) if checkpoint is not None else None
    if reached is not None:
        data.first_epoch = reached.epoch + 1
    task = FaceTask(run.config, data.targets, [torch.from_numpy(each) for each in counts])
    taken = fill_start(task, start, say)
    if taken:
        run = dataclasses.replace(run, weights=taken)
        run.save()
    say_frozen(task, start is None and checkpoint is None, say)
    keep = KeepBest(run, say)
    callbacks: list[Callback] = [keep]
    if settings.patience:
        callbacks.append(
            EarlyStopping(task.scores.chosen_by, mode="max", patience=settings.patience, check_on_train_epoch_end=True)
        )
    progress = request.progress and place.leads
    if progress:
        callbacks.append(EpochBar())
    logger: TensorBoardLogger | Literal[False] = False
    if place.leads:
        callbacks.append(ConfusionPictures(run, settings.picture_every))
        logger = TensorBoardLogger(run.folder, name="", version="tensorboard", default_hp_metric=False)
        logger.log_hyperparams(flatten(run.config.model_dump(mode="json")))
    with quiet_lightning():
        trainer = make_trainer(run.config, run.precision, place, callbacks, logger=logger, enable_progress_bar=progress)
        report_ready()
        try:
            # What early stopping has ended was killed before its record said so.
            if reached is None or not reached.stopped:
                trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
        except SystemExit:
            # Lightning turns Ctrl-C into an exit and ignores further ones; the run is saved by now.
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if keep.run.status != "interrupted":
        keep.run = dataclasses.replace(keep.run, status="finished")
    if place.leads:
        keep.run.save()
    return keep.run
