"""Loader processes, chosen from the settings of a training and this machine."""

from agecls.config import Config
from agecls.config.loop import EVAL_BATCH
from agecls.machine.memory import shared_memory
from agecls.machine.processor import usable_cores
from agecls.machine.workers import Workers, choose_workers


def find_workers(config: Config) -> Workers:
    """Loader processes of a training on this machine."""
    net, train = config.network, config.train
    largest = max(EVAL_BATCH, train.batch) * net.channels * net.image_size**2
    return choose_workers(
        train.workers, usable_cores(), trainings=train.devices, batch_bytes=largest, shared=shared_memory()
    )
