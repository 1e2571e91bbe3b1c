"""How many processes prepare batches."""

from typing import Final, Literal, NamedTuple

MOST: Final = 8
"""More than so many never paid: whole batches are augmented at once."""

WAITING: Final = 2
"""Batches that each worker has ready: PyTorch's ``prefetch_factor``."""


class Workers(NamedTuple):
    """A number of processes, and what it rests on."""

    processes: int
    why: str

    def __str__(self) -> str:
        return f"{self.processes} ({self.why})"


def choose_workers(
    setting: int | Literal["auto"], cores: int, *, trainings: int = 1, batch_bytes: int = 0, shared: int | None = None
) -> Workers:
    """Decide the number of loader processes of one training process; ``train.workers`` decides where it is no auto.

    Args:
        setting: ``train.workers``.
        cores: that this machine's training processes may use.
        trainings: processes of the training on this machine, each with workers of its own.
        batch_bytes: of the largest batch that a worker hands over.
        shared: bytes free in shared memory, through which it does; None where that is not limited.
    """
    if setting != "auto":
        return Workers(setting, "as set")
    mine = cores // trainings
    whose = f"{cores} cores" if trainings == 1 else f"{cores} cores for {trainings} processes"
    if mine <= 2:
        # They would only fight the network for them.
        return Workers(0, f"{whose}: batches are prepared between the steps")
    wanted = min(MOST, mine - 2)
    if shared is not None and batch_bytes:
        # Half of it: the batch that is being copied to the GPU is there as well, and others may use it.
        fitting = shared // 2 // trainings // (WAITING * batch_bytes)
        if fitting < wanted:
            return Workers(fitting, f"{whose} would take {wanted}, but /dev/shm has {shared / 1e6:.0f} MB free")
    return Workers(wanted, whose)
