"""Suggest a learning rate for a training, without making a run."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytorch_lightning as pl
import torch
from torch import Tensor

from agecls.errors import UsageError
from agecls.learn.batch_size import choose_batch_size
from agecls.learn.datamodule import FaceData
from agecls.learn.freezing import freeze
from agecls.learn.halving import with_batch
from agecls.learn.inference import best_device
from agecls.learn.precision import choose_precision
from agecls.learn.rates import RangeTest, range_test
from agecls.learn.start import fill_start, read_start
from agecls.learn.targets import refuse_idle, total_width
from agecls.learn.task import FaceTask
from agecls.learn.warm_start import WarmStart
from agecls.progress import progress
from agecls.report.pictures import save
from agecls.report.rate_picture import rate_picture
from agecls.train.request import TrainRequest

STEPS: Final = 100
"""Steps of the test, of one batch each."""


def find_rate(request: TrainRequest, picture: Path, say: Callable[[str], None]) -> float:
    """Test rates on the training images of a request, draw the losses, and return the rate to try.

    Args:
        request: the training; its ``out`` and ``resume`` are not used, and ``optimizer.lr`` is not either.
        picture: PNG to write.
        say: called with each line of talk.

    Raises:
        RunError: the loss has nowhere fallen.
        UsageError: ``picture`` cannot be written, or several processes are asked for.
    """
    config = request.config
    refuse_idle(request.task, config)
    if config.train.devices * config.train.nodes > 1:
        raise UsageError("--find-lr runs in one process", remedy="set train.devices=1 and train.nodes=1 for it")
    start = WarmStart.load(request.init_from, config.network) if request.init_from else read_start(config)
    data = FaceData(request.split, request.roots, request.task, request.bins, config, request.only, request.held_out)
    device = best_device()
    precision = choose_precision(config, total_width(data.targets), device).precision
    batch = choose_batch_size(config, precision, total_width(data.targets), len(data.data["train"]), device)
    config = data.config = with_batch(config, batch.images)
    say(f"batch      {batch}")
    pl.seed_everything(config.train.seed, verbose=False)
    task = FaceTask(config, data.targets, [torch.from_numpy(each) for each in data.class_counts()])
    fill_start(task, start, say)
    freeze(task.network, config.transfer, epoch=0)
    with progress("testing rates", STEPS) as advance:
        found = range_test(task, _endless(data, advance), STEPS, precision, device)
    _draw(request, found, len(data.data["train"]), picture)
    return found.suggestion


def _endless(data: FaceData, advance: Callable[[int], None]) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in count():
        data.first_epoch = epoch
        for batch in data.train_dataloader():
            advance(1)
            yield batch


def _draw(request: TrainRequest, found: RangeTest, images: int, picture: Path) -> None:
    seen = {
        "n": images,
        "split": request.split.name,
        "part": "train",
        "run": "none",
        "leaked": request.split.leaks > 0,
        "leaked_count": request.split.leaks,
    }
    save(rate_picture(seen, found.rates, found.losses, found.suggestion), picture)
