"""What has been measured of a network on this machine, kept beside the cache, and the precision that follows from it.

It is read without building a network, so that it can be told at once.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import torch

from agecls.config import Config
from agecls.data.cache_folder import cache_folder
from agecls.files import write_whole

Precision = Literal["fp32", "bf16"]

AGREEMENT: Final = 0.05
"""Largest accepted difference of the logits in bfloat16, as a share of their spread in float32.

Bfloat16 keeps 8 bits, so a product is off by up to 2**-8 = 0.4 %; a few layers of sums add up to about 1 %."""

GAIN: Final = 1.05
"""How much faster bfloat16 has to be to be worth its rounding."""


class Choice(NamedTuple):
    """A decision and what it rests on.

    Attributes:
        precision: what to train in.
        speedup: images per second in bfloat16 over float32; NaN where the setting decided.
        difference: largest difference of the logits, as a share of their spread.
        remembered: whether it was measured by an earlier run.
    """

    precision: Precision
    speedup: float
    difference: float
    remembered: bool

    def __str__(self) -> str:
        if self.speedup != self.speedup:
            return f"{self.precision} (as set)"
        how = "measured earlier" if self.remembered else "measured now"
        return (
            f"{self.precision} (bf16 runs {self.speedup:.2f}x float32, logits differ by {self.difference:.1%}; {how})"
        )


def recall_precision(config: Config, classes: int, device: torch.device) -> Choice | None:
    """The decision that an earlier run has measured for this network on this machine; None where none has."""
    known = recall("precision", machine_key(config, classes, device))
    if known.keys() != {"speedup", "difference"}:
        return None
    return decide(known["speedup"], known["difference"], remembered=True)


def decide(speedup: float, difference: float, *, remembered: bool) -> Choice:
    """Bfloat16 where it is faster and agrees; see ``Choice``."""
    faster = speedup > GAIN and difference <= AGREEMENT
    return Choice("bf16" if faster else "fp32", speedup, difference, remembered)


def machine_key(config: Config, classes: int, device: torch.device) -> str:
    """A name for a network, as far as it decides the time of a step, on this machine."""
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    facts: list[object] = [
        config.network.model_dump(),
        config.transfer.freeze,
        config.transfer.trainable_blocks,
        config.transfer.unfreeze_every and config.train.epochs // 2 // config.transfer.unfreeze_every,
        config.train.batch,
        config.optimizer.name,
        classes,
    ]
    facts += [str(device.type), chip, torch.get_num_threads(), torch.__version__]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def _processor() -> str:
    """The processor's features rather than its name: virtual machines often hide the name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    return " ".join(sorted({line for line in text.splitlines() if line.startswith(("model name", "flags"))}))


def recall(kind: str, key: str) -> dict[str, Any]:
    """What an earlier run has remembered under a key; empty where none has.

    Args:
        kind: of measurement, such as ``precision``.
        key: what ``machine_key`` gives.
    """
    found = _read(_memory(kind)).get(key)
    return found if isinstance(found, dict) else {}


def remember(kind: str, key: str, value: Mapping[str, float]) -> None:
    """Keep a measurement for runs to come; see ``recall``."""
    content = json.dumps({**_read(_memory(kind)), key: value}, indent=1)
    write_whole(_memory(kind), content.encode())


def _memory(kind: str) -> Path:
    return cache_folder() / f"{kind}.json"


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
