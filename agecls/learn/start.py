"""The weights that a training starts from: those of a run, of a file, or published ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agecls.config import Config
from agecls.learn.freezing import count_frozen
from agecls.learn.imagenet import imagenet_weights
from agecls.learn.task import FaceTask
from agecls.learn.warm_start import WarmStart
from agecls.learn.weights import Weights, load_weights, read_weights


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


def say_frozen(task: FaceTask, fresh: bool, say: Callable[[str], None]) -> None:
    """Say how much of a network is left alone; ``fresh`` where nothing was given to start from."""
    transfer = task.config.transfer
    if transfer.freeze == "none":
        return
    frozen = count_frozen(task.network, transfer, epoch=0)
    total = sum(parameter.numel() for parameter in task.network.parameters())
    later = f"; one block more trains every {transfer.unfreeze_every} epochs" if transfer.unfreeze_every else ""
    note = " (freshly initialised: neither weights nor a run were given to start from)" if fresh else ""
    say(f"frozen     {frozen:,} of {total:,} parameters ({transfer.freeze}){later}{note}")
