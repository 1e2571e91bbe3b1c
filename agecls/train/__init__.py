"""Train one classifier on a frozen split."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pytorch_lightning.callbacks import Callback

from agecls.errors import DataError, UsageError
from agecls.learn.batch_size import BatchSize, choose_batch_size
from agecls.learn.bins_origin import BinsOrigin, Inherited, refuse_other_origin
from agecls.learn.datamodule import FaceData, name_groups
from agecls.learn.freezing import check_freezing
from agecls.learn.inference import best_device
from agecls.learn.lineage import Lineage
from agecls.learn.precision import choose_precision
from agecls.learn.processes import Place, companions, find_place
from agecls.learn.remembered import Precision
from agecls.learn.run import Run
from agecls.learn.run_folder import alone_in, prepare_folder, refuse_other_run, resumed
from agecls.learn.run_record import CHECKPOINT, Preprocessing, TrainedOn, class_names
from agecls.learn.scores import choose_monitor
from agecls.learn.start import read_start
from agecls.learn.targets import find_targets, refuse_idle, total_width
from agecls.learn.threads import limit_threads
from agecls.learn.warm_start import WarmStart, reopen_parent
from agecls.train.fit import fit
from agecls.train.introduce import Chosen, introduce
from agecls.train.request import TrainRequest

__all__ = ["TrainRequest", "train"]


def train(
    request: TrainRequest,
    say: Callable[[str], None],
    on_start: Callable[[Path], None] | None = None,
    also: Sequence[Callback] = (),
) -> Run:
    """Train, keep the best epoch on valid, and return the finished run.

    Args:
        request: what to do.
        say: called with each line of talk.
        on_start: called with the run's folder once its record is there.
        also: what is done besides by the process that leads, as Lightning has it.

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
    threads, device, classes = limit_threads(), best_device(), total_width(data.targets)
    precision = choose_precision(config, classes, device)
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
                if on_start:
                    on_start(folder)
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
        if run.batches:
            batch = BatchSize(run.batches["batch_size"], "as in the run's record")
        else:
            batch = choose_batch_size(config, run.precision, classes, len(data.data["train"]), device)
            if config.train.batch_size == "auto":
                run = dataclasses.replace(run, batches=batch.told(config.train.accumulate))
        introduce(request, data, run, Chosen(device, threads, precision, batch), counts, say)
        run.save()
        if on_start:
            on_start(folder)
        # The other processes take over what was decided here: the folder, the precision and the batches.
        settings = run.trained_with.train.model_copy(update={"precision": run.precision})
        decided = config.model_copy(update={"train": settings})
        with companions(place, train, dataclasses.replace(request, out=folder, config=decided), _silent):
            return fit(request, run, data, counts, checkpoint, start or weights, place, say, also)


def _follow(request: TrainRequest, place: Place) -> Run:
    """Take part in a training that another process leads, which alone guards, talks and writes."""
    config = request.config
    if request.out is None or config.train.precision == "auto" or config.train.batch_size == "auto":
        raise UsageError(
            "a training whose processes are started from outside needs its folder, its precision and its batch size",
            remedy="give --out, --set train.precision=fp32 or bf16, and a number as train.batch_size",
        )
    data = FaceData(request.split, request.roots, request.task, request.bins, config, request.only, request.held_out)
    checkpoint = request.out / CHECKPOINT if request.resume and (request.out / CHECKPOINT).is_file() else None
    run = _describe(request, request.out, config.train.precision)
    limit_threads()
    with companions(place, train, request, _silent):
        return fit(request, run, data, data.class_counts(), checkpoint, None, place, _silent)


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
