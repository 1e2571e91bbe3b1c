"""Several processes for one training: who is who, how the others are started, and batch norms over all of them."""

import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import Any

import torch
from pytorch_lightning.plugins.layer_sync import LayerSync
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from agecls.errors import RunError, UsageError


@dataclass(frozen=True)
class Place:
    """Which process this is.

    Attributes:
        local: number on this machine.
        node: number of this machine.
        devices: processes on each machine.
        nodes: machines.
        launched: whether something else has started all processes of this machine.
    """

    local: int = 0
    node: int = 0
    devices: int = 1
    nodes: int = 1
    launched: bool = False

    @property
    def leads(self) -> bool:
        """Whether this is the one process that decides, talks and writes."""
        return self.local == 0 and self.node == 0

    @property
    def together(self) -> bool:
        """Whether there are several processes."""
        return self.devices * self.nodes > 1


def find_place(devices: int, nodes: int) -> Place:
    """Read from the environment which process this is, in PyTorch's names: LOCAL_RANK, NODE_RANK or GROUP_RANK.

    Args:
        devices: processes on each machine.
        nodes: machines.

    Raises:
        UsageError: the environment does not say where the first machine is, or there are fewer GPUs than processes.
    """
    if devices * nodes == 1:
        return Place()
    if nodes > 1:
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        missing += [] if {"NODE_RANK", "GROUP_RANK"} & os.environ.keys() else ["NODE_RANK"]
        if missing:
            raise UsageError(
                f"training on {nodes} machines needs {', '.join(missing)} in the environment",
                remedy="set MASTER_ADDR and MASTER_PORT to those of the first on each, and NODE_RANK to 0, 1, ...",
            )
    if 0 < torch.cuda.device_count() < devices:
        raise UsageError(f"train.devices is {devices}", got=f"{torch.cuda.device_count()} GPUs on this machine")
    local, node = (int(os.environ.get(name) or 0) for name in ("LOCAL_RANK", "NODE_RANK"))
    node = node or int(os.environ.get("GROUP_RANK") or 0)
    return Place(local, node, devices, nodes, launched="LOCAL_RANK" in os.environ)


@contextmanager
def companions(place: Place, work: Callable[..., object], *arguments: object) -> Iterator[None]:
    """Start the other processes of this machine, each calling ``work(*arguments)``, and end them with the block.

    They are fresh interpreters, so what they are given must be picklable. Where something else, such as torchrun, has
    started them all, and where there is but one, nothing is started.

    Args:
        place: this process.
        work: a function of a module.
        arguments: what it takes.

    Raises:
        RunError: one of them has ended before the training.
    """
    if not place.together or place.launched:
        yield
        return
    context = multiprocessing.get_context("spawn")
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())} if place.nodes == 1 else {}
    before = dict(os.environ)
    os.environ.update(address, LOCAL_RANK="0")
    ready = [context.Event() for _ in range(place.devices - 1)]
    started = [
        context.Process(target=_accompany, args=(number, os.getpid(), event, work, arguments), daemon=True)
        for number, event in enumerate(ready, start=1)
    ]
    try:
        for process in started:
            process.start()
        for process, event in zip(started, ready, strict=True):
            _await(process, event)
        try:
            yield
        except RuntimeError as error:
            # Lost connections come up as errors of all kinds; a dead process says more.
            _wait_for_end(started, seconds=2)
            _refuse_dead(started, error)
            raise
    finally:
        for process in started:
            # They have nothing to write, and after Ctrl-C one may wait for this one without end.
            process.kill()
            process.join()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        os.environ.clear()
        os.environ.update(before)


def report_ready() -> None:
    """Tell the first process that this one is about to train."""
    if _ready:
        _ready[0].set()


_ready: list[Event] = []


def _accompany(
    number: int, leader: int, ready: Event, work: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    os.environ["LOCAL_RANK"] = str(number)
    _ready.append(ready)
    threading.Thread(target=_end_with, args=(leader,), daemon=True).start()
    work(*arguments)


def _end_with(leader: int) -> None:
    """End this process when the first one is gone, however it went."""
    while os.getppid() == leader:
        time.sleep(0.5)
    os._exit(1)


def _await(process: BaseProcess, ready: Event) -> None:
    while not ready.wait(0.1):
        _refuse_dead([process])


def _refuse_dead(processes: list[Any], cause: BaseException | None = None) -> None:
    codes = [process.exitcode for process in processes if process.exitcode]
    if codes:
        raise RunError(
            "a process of the training has stopped",
            got=f"exit code {codes[0]}" + (f"; {str(cause).splitlines()[0]}" if cause and str(cause) else ""),
            remedy="see what it said above; go on with --resume --out RUN where an epoch has ended",
        ) from cause


def _wait_for_end(processes: list[Any], seconds: float) -> None:
    until = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class SyncBatchNorms(LayerSync):
    """Batch norms over the batches of all processes, on processors as well."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Exchange every batch norm; names, weights and statistics stay."""
        if torch.cuda.is_available():
            converted: nn.Module = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
            return converted
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.__class__ = ProcessorBatchNorm
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Nothing goes on with the network after a training of several processes."""
        return model


class _Sum(torch.autograd.Function):
    """Sum of a tensor over all processes; each one's gradient is the sum of all gradients."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        """Add up."""
        total = tensor.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """Add up the gradients."""
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total


class ProcessorBatchNorm(_BatchNorm):
    """A batch norm over all processes, with the sums that PyTorch's own makes on GPUs alone."""

    def forward(self, images: Tensor) -> Tensor:
        """Normalise over the batch, height and width of all processes; shape (B, C, ...)."""
        normalised = self._over_all(images) if self.training else super().forward(images)
        # timm's networks have batch norms with an activation of their own.
        for name in ("drop", "act"):
            if hasattr(self, name):
                normalised = self.get_submodule(name)(normalised)
        return normalised

    def _over_all(self, images: Tensor) -> Tensor:
        wide = images.float()
        axes = [0, *range(2, images.dim())]
        shape = [1, -1, *[1] * (images.dim() - 2)]
        count = _Sum.apply(wide.new_tensor(wide.numel() / wide.shape[1]))
        mean = _Sum.apply(wide.sum(axes)) / count
        centred = wide - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_(variance * count / (count - 1), share)
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        whole: Tensor = scaled.to(images.dtype)
        return whole

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - PyTorch's name
        """Any shape will do."""
