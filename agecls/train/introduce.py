"""What a training says before it begins."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from agecls.data.cache_folder import describe_place
from agecls.learn.batch_size import BatchSize
from agecls.learn.datamodule import FaceData
from agecls.learn.only import write_only
from agecls.learn.remembered import Choice
from agecls.learn.run import Run
from agecls.learn.scores import describe_monitor
from agecls.learn.targets import is_plain
from agecls.train.request import TrainRequest


class Chosen(NamedTuple):
    """What was chosen for the machine, or set.

    Attributes:
        device: where it trains.
        threads: that PyTorch computes in, and why.
        precision: of the training.
        batch: images at once.
    """

    device: torch.device
    threads: str
    precision: Choice
    batch: BatchSize


def introduce(
    request: TrainRequest,
    data: FaceData,
    run: Run,
    chosen: Chosen,
    counts: Sequence[npt.NDArray[np.int64]],
    say: Callable[[str], None],
) -> None:
    """Say where the run lies, what it is trained on, and how."""
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
    _tell_choices(run, data, chosen, say)


def _tell_choices(run: Run, data: FaceData, chosen: Chosen, say: Callable[[str], None]) -> None:
    accumulated = run.trained_with.train.accumulate
    place = data.decoded.place
    say(f"device     {chosen.device.type}")
    say(f"threads    {chosen.threads}")
    say(f"precision  {chosen.precision}")
    say(f"batch      {chosen.batch}" + (f", {accumulated} a step" if accumulated > 1 else ""))
    say(f"workers    {data.workers}")
    if place:
        say(f"cache      {data.decoded.images.nbytes / 1e9:.2f} GB in {place} ({describe_place(place)})")
