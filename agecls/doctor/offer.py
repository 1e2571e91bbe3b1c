"""What a machine has: processor, memory, GPUs, disks, software."""

import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch

from agecls import __version__
from agecls.data.cache_folder import cache_folder
from agecls.learn.gpus import Gpu, find_driver, find_gpus
from agecls.machine.limits import Limits, read_limits
from agecls.machine.memory import SHARED, Memory, can_write, find_memory, free_space, in_memory
from agecls.machine.processor import Processor, find_processor

PACKAGES: Final = ("torch", "pytorch-lightning", "timm", "tensorboard", "b2sdk")
"""Software that is named with its version."""

UNPACKERS: Final = {
    "7z": ("py7zr",),
    "rar": ("unrar", "bsdtar", "unar", "7zz", "7z"),
}
"""What unpacks archives of kinds that Python does not; a package, or a program beside the package rarfile."""


@dataclass(frozen=True)
class Disk:
    """A folder that is written to.

    Attributes:
        path: of the folder, which need not be there yet.
        free: bytes.
        writable: whether this process may write there.
        in_memory: whether it takes memory away.
    """

    path: str
    free: int
    writable: bool
    in_memory: bool


@dataclass(frozen=True)
class Offer:
    """A machine.

    Attributes:
        processor: what it computes with.
        limits: of its container.
        memory: what it has and may use.
        gpus: that PyTorch sees.
        driver: version of NVIDIA's driver; "" for none.
        cuda: version that PyTorch was built for; "" for none.
        disks: where things are written, by what is: ``cache``, ``runs``, ``working folder``.
        shared: bytes in all and free of ``/dev/shm``; None where there is none.
        open_files: how many this process may have open; None where nothing limits them.
        versions: of software; "" where it is missing.
        unpackers: for each kind of archive, what unpacks it; "" for nothing.
    """

    processor: Processor
    limits: Limits
    memory: Memory
    gpus: tuple[Gpu, ...]
    driver: str
    cuda: str
    disks: dict[str, Disk]
    shared: tuple[int, int] | None
    open_files: int | None
    versions: dict[str, str]
    unpackers: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def find_offer() -> Offer:
    """Look at this machine."""
    limits = read_limits()
    shared = shutil.disk_usage(SHARED) if SHARED.is_dir() else None
    return Offer(
        processor=find_processor(),
        limits=limits,
        memory=find_memory(limits),
        gpus=tuple(find_gpus()),
        driver=find_driver(),
        cuda=torch.version.cuda or "",
        disks={
            "cache": _disk(cache_folder()),
            "runs": _disk(Path("runs")),
            "working folder": _disk(Path.cwd()),
        },
        shared=(shared.total, shared.free) if shared else None,
        open_files=_open_files(),
        versions={"agecls": __version__, "python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES},
        unpackers={kind: _unpacker(kind) for kind in UNPACKERS},
    )


def _disk(path: Path) -> Disk:
    path = path.absolute()
    return Disk(str(path), free_space(path), can_write(path), in_memory(path))


def _open_files() -> int | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _unpacker(kind: str) -> str:
    if kind == "rar" and find_spec("rarfile") is None:
        return ""
    return next((name for name in UNPACKERS[kind] if find_spec(name) or shutil.which(name)), "")
