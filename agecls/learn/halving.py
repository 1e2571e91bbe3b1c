"""Half the batch, twice as many of them a step: what to do when memory runs out."""

import gc
from collections.abc import Callable
from typing import Final, TypeVar

import torch
from pytorch_lightning.utilities.memory import is_cuda_out_of_memory, is_out_of_cpu_memory

from agecls.config import Config
from agecls.errors import RunError

LEAST: Final = 8
"""Batches are not made smaller: the batch norms of a few images are noise."""

_T = TypeVar("_T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the device is used up."""
    return (
        isinstance(error, torch.OutOfMemoryError)
        or is_cuda_out_of_memory(error)
        or is_out_of_cpu_memory(error)
        or (isinstance(error, RuntimeError) and "_STATUS_ALLOC_FAILED" in str(error))
    )


def within_memory(size: int, work: Callable[[int], _T]) -> _T:
    """What ``work`` gives for ``size`` images at once, or for half as many as often as memory runs out.

    Raises:
        RunError: it runs out with batches that are not made smaller.
    """
    while True:
        try:
            return work(size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Only here has the error let go of what the failed try had in memory.
        free_memory()
        size = half(size)


def half(size: int) -> int:
    """Half of a batch.

    Raises:
        RunError: it would be smaller than ``LEAST``, or is no whole number.
    """
    if size % 2 or size // 2 < LEAST:
        why = "is odd, so it has no half" if size % 2 else f"is not halved below {LEAST}"
        raise RunError(
            f"memory ran out on batches of {size} images",
            got=f"a batch of {size} {why}",
            remedy="lower network.image_size, set train.precision=bf16, take a smaller network or a larger GPU",
        )
    return size // 2


def with_batch(config: Config, size: int, accumulate: int | None = None) -> Config:
    """Settings with another batch size."""
    changed = {"batch_size": size, "accumulate": accumulate or config.train.accumulate}
    return config.model_copy(update={"train": config.train.model_copy(update=changed)})


def free_memory() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
