"""Train one classifier on a frozen split."""

import dataclasses
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.loggers import TensorBoardLogger

from agecls.bins import Bins
from agecls.config import Config
from agecls.data.split import Split
from agecls.errors import DataError
from agecls.labels import Task
from agecls.learn.bins_origin import BinsOrigin, Inherited, refuse_other_origin
from agecls.learn.datamodule import FaceData, name_groups
from agecls.learn.inference import best_device
from agecls.learn.lineage import Lineage
from agecls.learn.only import write_only
from agecls.learn.precision import Choice, choose_precision
from agecls.learn.quiet import quiet_lightning
from agecls.learn.run import Preprocessing, Run, TrainedOn, class_names
from agecls.learn.run_folder import alone_in, flatten, prepare_folder, refuse_other_run, resumed
from agecls.learn.task import FaceTask
from agecls.learn.warm_start import WarmStart, reopen_parent
from agecls.learn.watch import EpochBar, KeepBest, read_epoch
from agecls.report.pictures import confusion_picture


@dataclass(frozen=True)
class TrainRequest:
    """What ``agecls train`` was asked for.

    Attributes:
        task: what to learn.
        bins: age bins.
        bins_name: how the user named them, for the default folder.
        split: the frozen split.
        roots: folder of each source.
        config: settings.
        out: folder of the run; None takes the next free ``runs/<task>-<bins>-<n>``.
        resume: go on from the run's last checkpoint.
        init_from: folder of a run whose weights to start from.
        only: labels that every image must have, such as ``{"gender": "male"}``; empty takes all.
        held_out: groups of train that the run is not fitted on.
        bins_file: the ``bins.json`` that the bins were read from; None for others.
        allow_leakage: go on past a leakage guard, and mark the run and all that is made from it.
        progress: whether to show a progress bar.
    """

    task: Task
    bins: Bins
    bins_name: str
    split: Split
    roots: Mapping[str, Path]
    config: Config
    out: Path | None = None
    resume: bool = False
    init_from: Path | None = None
    only: Mapping[str, str] = field(default_factory=dict)
    held_out: frozenset[str] = frozenset()
    bins_file: Path | None = None
    allow_leakage: bool = False
    progress: bool = False


def train(request: TrainRequest, say: Callable[[str], None]) -> Run:
    """Train, keep the best epoch on valid, and return the finished run.

    Args:
        request: what to do.
        say: called with each line of talk.

    Raises:
        UsageError: ``out`` exists already, or there is nothing to resume.
        DataError: images are missing or a class has no training image.
        RunError: the run to start from, or to resume, cannot be used.
        LeakageError: the run to start from, or an ancestor, was fitted on images of valid or test; or the search for
            the bins has seen images by which the run would be judged.
    """
    config, classes = request.config, class_names(request.task, request.bins)
    origin = BinsOrigin.load(request.bins_file) if request.bins_file and request.task == "age" else None
    # A resumed run has its parent's weights in its checkpoint, and its parent's lineage in its own.
    start = WarmStart.load(request.init_from, config.network) if request.init_from and not request.resume else None
    data = FaceData(request.split, request.roots, request.task, request.bins, config, request.only, request.held_out)
    counts = data.class_counts(len(classes))
    if not counts.all():
        empty = classes[int(np.flatnonzero(counts == 0)[0])]
        raise DataError(
            f"no training image of {request.split.folder} is labelled {empty}",
            remedy="choose bins that the split has images of" if request.task == "age" else "add images of this class",
        )
    for part, missing in data.unlabelled.items():
        if missing:
            say(f"{missing} images of {part} have no label for these classes and are left out")
    leaks = request.split.leaks
    if start:
        met = start.guard(data, request.split.fingerprint, allow_leakage=request.allow_leakage, say=say)
        leaks = max(leaks, met, start.parent.leaked_count)
    searched = Inherited()
    if origin and not request.resume:
        searched = origin.guard(data, request.split.fingerprint, allow_leakage=request.allow_leakage, say=say)
        leaks = max(leaks, searched.leaked_count)
    folder, checkpoint = prepare_folder(request.out, f"{request.task}-{request.bins_name}", resume=request.resume)
    device = best_device()
    precision = choose_precision(config, len(classes), device)
    run = Run(
        folder=folder,
        task=request.task,
        classes=classes,
        bins=request.bins,
        config=config,
        preprocessing=Preprocessing(config.network.image_size, config.network.channels),
        precision=precision.precision,
        split=TrainedOn(
            request.split.name,
            request.split.fingerprint,
            str(request.split.folder.absolute()),
            tuple(str(request.roots[source].absolute()) for source in request.split.sources),
        ),
        leaked=leaks > 0 or searched.leaked or (start is not None and start.parent.leaked),
        leaked_count=leaks,
        parents=(start.as_parent(),) if start else (),
        only=request.only,
        held_out=name_groups(request.held_out),
    )
    with alone_in(folder):
        if request.resume:
            old = Run.load(folder)
            refuse_other_run(old, run, request.init_from)
            refuse_other_origin(old, origin)
            if old.status == "finished":
                say(f"{folder} is finished; there is nothing to resume")
                return old
            run = resumed(old, run)
            start = reopen_parent(run) if checkpoint is None else None
        else:
            # Before the record, so that no run is ever without one.
            parents = [start.lineage if start else None, searched.lineage]
            Lineage.of(
                folder.name,
                request.split.fingerprint,
                fitted=data.seen("train"),
                selected=data.seen("valid"),
                parents=[parent for parent in parents if parent],
            ).save(folder)
        _introduce(request, data, run, precision, counts, say)
        run.save()
        return _fit(request, run, data, counts, checkpoint, start, say)


def _fit(
    request: TrainRequest,
    run: Run,
    data: FaceData,
    counts: npt.NDArray[np.int64],
    checkpoint: Path | None,
    start: WarmStart | None,
    say: Callable[[str], None],
) -> Run:
    settings = run.config.train
    pl.seed_everything(settings.seed, verbose=False)
    if checkpoint is not None:
        data.first_epoch = read_epoch(checkpoint) + 1
    task = FaceTask(run.config, torch.from_numpy(counts))
    if start:
        start.fill(task.network, run.config.network, run.classes, say)
    keep = KeepBest(run, say)
    callbacks: list[Callback] = [keep, ConfusionPictures(run, settings.picture_every)]
    if settings.patience:
        callbacks.append(
            EarlyStopping("valid_macro_f1", mode="max", patience=settings.patience, check_on_train_epoch_end=True)
        )
    if request.progress:
        callbacks.append(EpochBar())
    logger = TensorBoardLogger(run.folder, name="", version="tensorboard", default_hp_metric=False)
    logger.log_hyperparams(flatten(run.config.model_dump(mode="json")))
    with quiet_lightning():
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            precision="bf16-mixed" if run.precision == "bf16" else "32-true",
            max_epochs=settings.epochs,
            logger=logger,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=request.progress,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            log_every_n_steps=1,
        )
        try:
            trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
        except SystemExit:
            # Lightning turns Ctrl-C into an exit and ignores further ones; the run is saved by now.
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if keep.run.status != "interrupted":
        keep.run = dataclasses.replace(keep.run, status="finished")
        keep.run.save()
    return keep.run


class ConfusionPictures(Callback):
    """Show the valid confusion matrix in TensorBoard every so many epochs.

    Args:
        run: whose classes and mark the picture carries.
        every: epochs between two pictures; 0 draws none.
    """

    def __init__(self, run: Run, every: int) -> None:
        self.run, self.every = run, every

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the epoch's matrix where its turn has come, and that of the last epoch."""
        epoch = trainer.current_epoch + 1
        if not self.every or (epoch % self.every and epoch != trainer.max_epochs):
            return
        assert isinstance(pl_module, FaceTask)  # noqa: S101 - what Lightning hands over, not what a user typed
        matrix = pl_module.last_confusion
        shown = {
            "task": self.run.task,
            "classes": self.run.classes,
            "confusion": matrix.tolist(),
            "n": int(matrix.sum()),
            "run": self.run.name,
            "split": self.run.split.name,
            "part": "valid",
            "leaked": self.run.leaked,
            "leaked_count": self.run.leaked_count,
        }
        trainer.logger.experiment.add_figure("valid_confusion", confusion_picture(shown), epoch)  # type: ignore[union-attr]


def _introduce(
    request: TrainRequest,
    data: FaceData,
    run: Run,
    precision: Choice,
    counts: npt.NDArray[np.int64],
    say: Callable[[str], None],
) -> None:
    say(f"run        {run.folder}")
    if run.leaked:
        say(f"LEAKED     {run.leaked_count} images: no score of this run, or of one made from it, holds for new faces")
    say(
        f"split      {request.split.folder} ({request.split.fingerprint[:12]}): "
        + ", ".join(f"{part} {len(faces)}" for part, faces in data.faces.items())
    )
    if run.only:
        say(f"only       {write_only(run.only)}, in every part")
    if run.held_out:
        say(f"held out   {run.held_out.split(maxsplit=2)[0]} groups of train")
    say("train      " + ", ".join(f"{name}: {count}" for name, count in zip(run.classes, counts, strict=True)))
    say(f"precision  {precision}")
    say(f"workers    {data.workers}")
