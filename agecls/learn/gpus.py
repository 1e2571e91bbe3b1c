"""The GPUs that PyTorch sees, and whether there is a driver of others."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: as its driver has it.
        memory: bytes in all.
        free: bytes that nothing holds.
        capability: which instructions it has, such as ``9.0``.
        bf16: whether it multiplies bfloat16 natively.
    """

    name: str
    memory: int
    free: int
    capability: str
    bf16: bool


def find_gpus() -> list[Gpu]:
    """Every GPU that PyTorch can train on, in its order."""
    if not torch.cuda.is_available():
        return []
    found = []
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        free, memory = torch.cuda.mem_get_info(number)
        # Bfloat16 came with Ampere, 8.0.
        found.append(Gpu(about.name, memory, free, f"{about.major}.{about.minor}", about.major >= 8))
    return found


def find_driver(top: Path = Path("/")) -> str:
    """The version of NVIDIA's driver, whether or not PyTorch can use it; "" where there is none.

    Args:
        top: where ``proc`` and ``dev`` lie.
    """
    try:
        told = (top / "proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        told = ""
    version = re.search(r"\s(\d+\.\d[\d.]*)\s", told)
    if version:
        return version[1]
    there = (top / "dev/nvidia0").exists() or (top == Path("/") and shutil.which("nvidia-smi") is not None)
    return "of unknown version" if told or there else ""
