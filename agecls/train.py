"""Train one classifier on a frozen split."""

import dataclasses
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.loggers import TensorBoardLogger

from agecls.bins import Bins
from agecls.config import Config
from agecls.data.split import Split
from agecls.errors import DataError, UsageError
from agecls.labels import TrainTask
from agecls.learn.bins_origin import BinsOrigin, Inherited, refuse_other_origin
from agecls.learn.datamodule import FaceData, name_groups
from agecls.learn.fitting import make_trainer
from agecls.learn.freezing import check_freezing, count_frozen
from agecls.learn.imagenet import imagenet_weights
from agecls.learn.inference import best_device
from agecls.learn.lineage import Lineage
from agecls.learn.only import write_only
from agecls.learn.precision import Choice, Precision, choose_precision
from agecls.learn.processes import Place, companions, find_place, report_ready
from agecls.learn.quiet import quiet_lightning
from agecls.learn.run import Run
from agecls.learn.run_folder import alone_in, flatten, prepare_folder, refuse_other_run, resumed
from agecls.learn.run_record import CHECKPOINT, Preprocessing, TrainedOn, class_names
from agecls.learn.scores import choose_monitor, describe_monitor
from agecls.learn.targets import find_targets, is_plain, refuse_idle, total_width
from agecls.learn.task import FaceTask
from agecls.learn.warm_start import WarmStart, reopen_parent
from agecls.learn.watch import EpochBar, KeepBest, read_reached
from agecls.learn.weights import Weights, load_weights, read_weights
from agecls.report.pictures import confusion_picture


@dataclass(frozen=True)
class TrainRequest:
    """What ``agecls train`` was asked for.

    Attributes:
        task: what to learn; ``multitask`` learns those of ``targets.tasks`` by one network.
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

    task: TrainTask
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
    config = request.config
    refuse_idle(request.task, config)
    choose_monitor(find_targets(request.task, request.bins, config.targets), config.targets)
    place = find_place(config.train.devices, config.train.nodes)
    if not place.leads:
        return _follow(request, place)
    if place.nodes > 1 and request.out is None:
        raise UsageError("training on several machines needs the run's folder", remedy="name it with --out on each")
    origin = BinsOrigin.load(request.bins_file) if request.bins_file and _has_age(request) else None
    check_freezing(config)
    # A resumed run has its parent's weights in its checkpoint, and its parent's lineage in its own.
    start = WarmStart.load(request.init_from, config.network) if request.init_from and not request.resume else None
    # A file that cannot be read is refused before anything is made.
    weights = None if start or request.resume else read_start(config)
    data = FaceData(request.split, request.roots, request.task, request.bins, config, request.only, request.held_out)
    counts = data.class_counts()
    refuse_empty(request, data, counts)
    for part, missing in data.unlabelled.items():
        if missing:
            say(f"{missing} images of {part} have no label for these classes and are left out")
        for name, lacking in data.lacking[part].items() if len(data.targets) > 1 else ():
            say(f"{lacking} images of {part} have no label for {name} and count for the other tasks alone")
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
    precision = choose_precision(config, total_width(data.targets), device)
    run = dataclasses.replace(
        _describe(request, folder, precision.precision),
        leaked=leaks > 0 or searched.leaked or (start is not None and start.parent.leaked),
        leaked_count=leaks,
        parents=(start.as_parent(),) if start else (),
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
            weights = read_start(config) if checkpoint is None and not start else None
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
        # The other processes take over what was decided here: the folder and the precision.
        decided = config.model_copy(update={"train": config.train.model_copy(update={"precision": run.precision})})
        with companions(place, train, dataclasses.replace(request, out=folder, config=decided), _silent):
            return _fit(request, run, data, counts, checkpoint, start or weights, place, say)


def _follow(request: TrainRequest, place: Place) -> Run:
    """Take part in a training that another process leads, which alone guards, talks and writes."""
    config = request.config
    if request.out is None or config.train.precision == "auto":
        raise UsageError(
            "a training whose processes are started from outside needs its folder and its precision",
            remedy="give --out, and --set train.precision=fp32 or bf16",
        )
    data = FaceData(request.split, request.roots, request.task, request.bins, config, request.only, request.held_out)
    checkpoint = request.out / CHECKPOINT if request.resume and (request.out / CHECKPOINT).is_file() else None
    run = _describe(request, request.out, config.train.precision)
    with companions(place, train, request, _silent):
        return _fit(request, run, data, data.class_counts(), checkpoint, None, place, _silent)


def _silent(line: str) -> None:
    """Say nothing."""


def refuse_empty(request: TrainRequest, data: FaceData, counts: Sequence[npt.NDArray[np.int64]]) -> None:
    """Raise ``DataError`` where a class that gets an output of its own has no training image."""
    limit = request.config.train.max_samples
    for target, images in zip(data.targets, counts, strict=True):
        if not target.over_years and not images.all():
            empty = target.classes[int(np.flatnonzero(images == 0)[0])]
            raise DataError(
                f"no training image of {request.split.folder} is labelled {empty}",
                remedy=("choose bins that the split has images of" if target.bins else "add images of this class")
                + (f", or raise train.max_samples={limit}" if limit else ""),
            )


def _has_age(request: TrainRequest) -> bool:
    return any(target.bins for target in find_targets(request.task, request.bins, request.config.targets))


def _describe(request: TrainRequest, folder: Path, precision: Precision) -> Run:
    """The run's record as the request alone decides it."""
    config = request.config
    return Run(
        folder=folder,
        task=request.task,
        classes=class_names(request.task, request.bins),
        bins=request.bins,
        config=config,
        preprocessing=Preprocessing(config.network.image_size, config.network.channels),
        precision=precision,
        split=TrainedOn(
            request.split.name,
            request.split.fingerprint,
            str(request.split.folder.absolute()),
            tuple(str(request.roots[source].absolute()) for source in request.split.sources),
        ),
        only=request.only,
        held_out=name_groups(request.held_out),
    )


def _fit(
    request: TrainRequest,
    run: Run,
    data: FaceData,
    counts: Sequence[npt.NDArray[np.int64]],
    checkpoint: Path | None,
    start: WarmStart | Weights | None,
    place: Place,
    say: Callable[[str], None],
) -> Run:
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
    _say_frozen(task, start is None and checkpoint is None, say)
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


def fill_start(task: FaceTask, start: WarmStart | Weights | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Put the weights to start from into a fresh network, and say what became of those of a file; empty for a run."""
    if isinstance(start, WarmStart):
        start.fill(task.network, task.config.network, task.targets, say)
        return {}
    return load_weights(task.network, start, say).to_json() if start else {}


def read_start(config: Config) -> Weights | None:
    """The weights that the settings name; a run that is started from stands above them."""
    if config.transfer.weights is not None:
        return read_weights(Path(config.transfer.weights))
    return imagenet_weights(config.network.name) if config.transfer.pretrained == "imagenet" else None


def _say_frozen(task: FaceTask, fresh: bool, say: Callable[[str], None]) -> None:
    transfer = task.config.transfer
    if transfer.freeze == "none":
        return
    frozen = count_frozen(task.network, transfer, epoch=0)
    total = sum(parameter.numel() for parameter in task.network.parameters())
    later = f"; one block more trains every {transfer.unfreeze_every} epochs" if transfer.unfreeze_every else ""
    note = " (freshly initialised: neither weights nor a run were given to start from)" if fresh else ""
    say(f"frozen     {frozen:,} of {total:,} parameters ({transfer.freeze}){later}{note}")


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
        for target in self.run.targets:
            matrix = pl_module.last_confusions[target.name]
            shown = {
                "task": target.name,
                "classes": target.classes,
                "confusion": matrix.tolist(),
                "n": int(matrix.sum()),
                "run": self.run.name,
                "split": self.run.split.name,
                "part": "valid",
                "leaked": self.run.leaked,
                "leaked_count": self.run.leaked_count,
            }
            name = "valid_confusion" if len(self.run.targets) == 1 else f"valid_confusion_{target.name}"
            trainer.logger.experiment.add_figure(name, confusion_picture(shown), epoch)  # type: ignore[union-attr]


def _introduce(
    request: TrainRequest,
    data: FaceData,
    run: Run,
    precision: Choice,
    counts: Sequence[npt.NDArray[np.int64]],
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
    for target, images in zip(run.targets, counts, strict=True):
        listed = ", ".join(f"{name}: {count}" for name, count in zip(target.classes, images, strict=True))
        say(f"train      {listed}" if is_plain(run.targets) else f"train      {target.name} ({target.kind}) {listed}")
    if not is_plain(run.targets) or run.config.targets.monitor != "auto":
        say(f"best epoch by {describe_monitor(run.targets, run.config.targets)} on valid")
    say(f"precision  {precision}")
    say(f"workers    {data.workers}")
