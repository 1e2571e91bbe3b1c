"""Fit a network: from its first weights, or its last checkpoint, to the end of the run, in batches that fit."""

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

from agecls.errors import RunError
from agecls.learn.datamodule import FaceData
from agecls.learn.fitting import make_trainer
from agecls.learn.halving import free_memory, half, is_out_of_memory
from agecls.learn.processes import Place, report_ready
from agecls.learn.quiet import quiet_lightning
from agecls.learn.run import Run
from agecls.learn.run_folder import flatten
from agecls.learn.run_record import CHECKPOINT, WEIGHTS
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
    also: Sequence[Callback] = (),
) -> Run:
    """Fit to the end, or until Ctrl-C, and return the run as it then stands.

    Where memory runs out, the training goes on from its last checkpoint, or from its start, with half the batch and
    twice as many batches a step.

    Args:
        request: what to do.
        run: its record, which is kept up to date from here on.
        data: the parts of the split.
        counts: training images of each class of each target, shape (K,) each.
        checkpoint: to go on from; None begins.
        start: weights to begin with; None for fresh ones.
        place: this process among those of the training.
        say: called with each line of talk.
        also: what is done besides.

    Raises:
        RunError: the checkpoint cannot be read, the loss is no number, or memory runs out for good.
    """
    while True:
        try:
            return _fit(request, run, data, counts, checkpoint, start, place, say, also)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Only here has the error let go of what the failed try had in memory.
        free_memory()
        run = _halved(run, place)
        checkpoint = run.folder / CHECKPOINT if (run.folder / CHECKPOINT).is_file() else None
        if checkpoint is None:
            (run.folder / WEIGHTS).unlink(missing_ok=True)  # of no whole epoch
        say(
            f"memory ran out: going on from {'the last checkpoint' if checkpoint else 'the start'} with "
            f"{run.batches['accumulate']} batches of {run.batches['batch_size']} images a step; the step stays what it "
            "was, but for batch norms, which see each batch alone"
        )


def _halved(run: Run, place: Place) -> Run:
    """The run as its record has it, to be trained with half the batch.

    Raises:
        RunError: the batch is not made smaller, or there are several processes.
    """
    train = run.trained_with.train
    smaller, more = half(train.batch), train.accumulate * 2
    if place.together:
        raise RunError(
            f"memory ran out on batches of {train.batch} images",
            got=f"{place.devices * place.nodes} processes, which cannot all change their batches on the way",
            remedy=f"start again with --set train.batch_size={smaller} --set train.accumulate={more} (the same step) "
            "and another --out",
        )
    run = Run.load(run.folder)
    run = dataclasses.replace(run, status="training", batches={"batch_size": smaller, "accumulate": more})
    run.save()
    return run


def _fit(
    request: TrainRequest,
    run: Run,
    data: FaceData,
    counts: Sequence[npt.NDArray[np.int64]],
    checkpoint: Path | None,
    start: WarmStart | Weights | None,
    place: Place,
    say: Callable[[str], None],
    also: Sequence[Callback],
) -> Run:
    config = data.config = run.trained_with
    settings = config.train
    pl.seed_everything(settings.seed, verbose=False)
    reached = read_reached(checkpoint) if checkpoint is not None else None
    data.first_epoch = 0 if reached is None else reached.epoch + 1
    task = FaceTask(config, data.targets, [torch.from_numpy(each) for each in counts])
    taken = {} if checkpoint else fill_start(task, start, say)
    if taken:
        run = dataclasses.replace(run, weights=taken)
        run.save()
    say_frozen(task, start is None and checkpoint is None, say)
    keep = KeepBest(run, say)
    callbacks: list[Callback] = [keep, *also]
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
        logger.log_hyperparams(flatten(config.model_dump(mode="json")))
    with quiet_lightning():
        trainer = make_trainer(config, run.precision, place, callbacks, logger=logger, enable_progress_bar=progress)
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
