"""What a training says before it begins."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from agecls.learn.datamodule import FaceData
from agecls.learn.only import write_only
from agecls.learn.precision import Choice
from agecls.learn.run import Run
from agecls.learn.scores import describe_monitor
from agecls.learn.targets import is_plain
from agecls.train.request import TrainRequest


def introduce(
    request: TrainRequest,
    data: FaceData,
    run: Run,
    precision: Choice,
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
    say(f"precision  {precision}")
    say(f"workers    {data.workers}")
