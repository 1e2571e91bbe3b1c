"""As many threads as the container has time for."""

import os

import torch

from agecls.machine.processor import usable_cores


def limit_threads() -> str:
    """Let PyTorch compute in no more threads than this process has processors, and say how many.

    PyTorch counts the machine's processors. In a container that is given the time of a few of them, the threads above
    wait for one another.
    """
    cores, threads = usable_cores(), torch.get_num_threads()
    if os.environ.get("OMP_NUM_THREADS"):
        return f"{threads} (OMP_NUM_THREADS)"
    if threads > cores:
        torch.set_num_threads(cores)
        return f"{cores} (PyTorch would take {threads}, and the container has time for no more)"
    return str(threads)
