"""Float32 or bfloat16: time both on this network and this machine, and take the faster one if it agrees.

Bfloat16 is several times faster for plain convolutions on processors and GPUs that multiply it natively, and slower
than float32 for depthwise ones on most processors, so no rule by name is right: it is measured once and remembered.
"""

import copy
import hashlib
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from agecls.config import Config
from agecls.data.cache_folder import cache_folder
from agecls.files import write_whole
from agecls.learn.freezing import freeze
from agecls.learn.networks import build_network
from agecls.learn.networks.network import Network
from agecls.learn.optimizers import build_optimizer, parameter_groups
from agecls.learn.transforms import to_input

Precision = Literal["fp32", "bf16"]

AGREEMENT: Final = 0.05
"""Largest accepted difference of the logits in bfloat16, as a share of their spread in float32.

Bfloat16 keeps 8 bits, so a product is off by up to 2**-8 = 0.4 %; a few layers of sums add up to about 1 %."""

SECONDS: Final = 1.0
"""How long each precision is timed, in all turns together."""

TURNS: Final = 5
"""The precisions take turns, so that a machine that is busy for a moment slows down both."""

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


def choose_precision(config: Config, classes: int, device: torch.device) -> Choice:
    """Decide the precision of a training; ``train.precision`` decides where it is not ``auto``."""
    setting = config.train.precision
    if setting != "auto":
        return Choice(setting, float("nan"), float("nan"), remembered=False)
    memory = cache_folder() / "precision.json"
    key = _key(config, classes, device)
    known = _read(memory).get(key)
    if isinstance(known, dict) and known.keys() == {"speedup", "difference"}:
        return _decide(known["speedup"], known["difference"], remembered=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        speedups, difference = measure(config, classes, device)
    speedup = round(statistics.median(speedups), 3)
    if len({each > GAIN for each in speedups}) == 1:
        # Turns that disagree were measured on a busy machine: good enough for now, not for ever.
        _remember(memory, key, {"speedup": speedup, "difference": difference})
    return _decide(speedup, difference, remembered=False)


def measure(config: Config, classes: int, device: torch.device, seconds: float = SECONDS) -> tuple[list[float], float]:
    """Time training steps in both precisions by turns, and compare the logits of one network.

    Returns:
        Speed of bfloat16 over float32 in each turn, and the largest difference of logits as a share of their spread.
    """
    net = config.network
    batch = torch.randint(
        0, 256, (config.train.batch_size, net.channels, net.image_size, net.image_size), dtype=torch.uint8
    )
    batch = batch.to(device)
    targets = torch.arange(len(batch), device=device) % classes
    network = build_network(net, classes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    difference = disagreement(network, batch)
    steps = {name: _stepper(copy.deepcopy(network), config, batch, targets, name) for name in get_args(Precision)}
    speedups = []
    for _ in range(TURNS):
        plain, fast = (_rate(steps[name], seconds / TURNS) for name in ("fp32", "bf16"))
        speedups.append(fast / plain)
    return speedups, round(difference, 5)


def disagreement(network: nn.Module, batch: Tensor) -> float:
    """Largest difference of the logits between the precisions, over their standard deviation in float32."""
    mode = network.training
    network.eval()
    with torch.no_grad():
        exact = network(to_input(batch)).float()
        with torch.autocast(batch.device.type, dtype=torch.bfloat16):
            rounded = network(to_input(batch)).float()
    network.train(mode)
    return float((exact - rounded).abs().max() / exact.std().clamp(min=1e-6))


def _stepper(
    network: Network, config: Config, batch: Tensor, targets: Tensor, precision: Precision
) -> Callable[[], None]:
    """One training step, ready to be repeated; warmed up."""
    optimizer = build_optimizer(config.optimizer, parameter_groups(network, config))
    # What thaws bit by bit is timed as it stands half way.
    freeze(network.train(), config.transfer, config.train.epochs // 2)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = network(to_input(batch))
        loss: Tensor = nn.functional.cross_entropy(logits.float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if batch.device.type == "cuda":
            torch.cuda.synchronize()

    step()
    step()
    return step


def _rate(step: Callable[[], None], seconds: float) -> float:
    """Steps a second."""
    steps, start = 0, time.perf_counter()
    while steps == 0 or time.perf_counter() - start < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - start)


def _decide(speedup: float, difference: float, *, remembered: bool) -> Choice:
    faster = speedup > GAIN and difference <= AGREEMENT
    return Choice("bf16" if faster else "fp32", speedup, difference, remembered)


def _key(config: Config, classes: int, device: torch.device) -> str:
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    facts: list[object] = [
        config.network.model_dump(),
        config.transfer.freeze,
        config.transfer.trainable_blocks,
        config.transfer.unfreeze_every and config.train.epochs // 2 // config.transfer.unfreeze_every,
        config.train.batch_size,
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


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(path: Path, key: str, value: dict[str, float]) -> None:
    content = json.dumps({**_read(path), key: value}, indent=1)
    write_whole(path, content.encode())
