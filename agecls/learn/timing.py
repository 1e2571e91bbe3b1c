"""Training steps by the clock, and what is remembered of them from run to run."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agecls.config import Config
from agecls.data.cache_folder import cache_folder
from agecls.files import write_whole
from agecls.learn.freezing import freeze
from agecls.learn.networks.network import Network
from agecls.learn.optimizers import build_optimizer, parameter_groups
from agecls.learn.transforms import to_input


def random_images(config: Config, count: int, device: torch.device) -> Tensor:
    """Noise in the shape of a batch, uint8 (B, C, S, S)."""
    net = config.network
    images = torch.randint(0, 256, (count, net.channels, net.image_size, net.image_size), dtype=torch.uint8)
    return images.to(device)


def make_step(network: Network, config: Config, batch: Tensor, targets: Tensor, *, bf16: bool) -> Callable[[], None]:
    """One training step, ready to be repeated; warmed up."""
    optimizer = build_optimizer(config.optimizer, parameter_groups(network, config))
    # What thaws bit by bit is timed as it stands half way.
    freeze(network.train(), config.transfer, config.train.epochs // 2)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=bf16):
            logits = network(to_input(batch))
        loss: Tensor = nn.functional.cross_entropy(logits.float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if batch.device.type == "cuda":
            torch.cuda.synchronize()

    step()
    step()
    return step


def rate(step: Callable[[], None], seconds: float) -> float:
    """Steps a second."""
    steps, start = 0, time.perf_counter()
    while steps == 0 or time.perf_counter() - start < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - start)


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
