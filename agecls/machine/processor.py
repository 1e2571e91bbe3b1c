"""The processor: what it is, what it computes natively, and how much of it this process may use."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agecls.machine.limits import read_limits

FEATURES: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "sve", "bf16")
"""What decides how fast networks compute; in bfloat16, those that end in bf16."""


@dataclass(frozen=True)
class Processor:
    """The machine's processor.

    Attributes:
        model: as it names itself; virtual machines often hide it.
        features: those of ``FEATURES`` that it has.
        cores: logical ones of the machine.
        usable: of them, how many this process may keep busy.
    """

    model: str
    features: tuple[str, ...]
    cores: int
    usable: int


def find_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """Read what the processor says of itself; other systems than Linux tell less."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}
    flags = set((told.get("flags") or told.get("Features") or "").split())
    model = told.get("model name") or platform.processor() or platform.machine()
    return Processor(model, tuple(each for each in FEATURES if each in flags), os.cpu_count() or 1, usable_cores())


def usable_cores(quota: float | None = None) -> int:
    """Processors that this process may keep busy: its affinity, and what its container is given time for.

    Args:
        quota: processors' worth of time; None asks the control groups.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = read_limits().cores if quota is None else quota
    # The rest of a core would be the one that all others wait for.
    return affinity if quota is None else max(1, min(affinity, int(quota)))
