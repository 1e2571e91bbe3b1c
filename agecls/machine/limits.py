"""What a container leaves to its processes of the machine's cores and memory: control groups of Linux, old and new."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

NO_LIMIT: Final = 1 << 60
"""Bytes from which on a limit is none: the first version of control groups writes the largest number it has."""


@dataclass(frozen=True)
class Limits:
    """The narrowest limits of this process's control groups; None where there is none.

    Attributes:
        cores: processors' worth of time, such as 3.5.
        memory: bytes.
        used: bytes of the group of that limit in use, without the file contents that would make way.
    """

    cores: float | None = None
    memory: int | None = None
    used: int | None = None


def read_limits(top: Path = Path("/")) -> Limits:
    """Read the limits that hold for this process.

    Args:
        top: where ``proc`` and ``sys`` lie.
    """
    groups = _groups(top)
    cores = [
        cores
        for folder in _folders(top, groups, "cpu", "cpu,cpuacct", "cpuacct,cpu")
        if (cores := _cores(folder)) is not None
    ]
    memories = [found for folder in _folders(top, groups, "memory") if (found := _memory(folder)) is not None]
    memory, used = min(memories, default=(None, None))
    return Limits(min(cores, default=None), memory, used)


def _groups(top: Path) -> dict[str, str]:
    """Path of this process's group for each controller, "" being the second version's single tree."""
    lines = _read(top / "proc/self/cgroup").splitlines()
    parts = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    return {controller: path for _, controllers, path in parts for controller in controllers.split(",")}


def _folders(top: Path, groups: dict[str, str], controller: str, *others: str) -> Iterator[Path]:
    """Folders of a controller's groups: this process's, and all above; in a container only the topmost may be there."""
    mount = top / "sys/fs/cgroup"
    roots = [(mount / each, groups.get(controller, "/")) for each in (controller, *others)]
    for root, group in [*roots, (mount, groups.get("", "/")), (mount / "unified", groups.get("", "/"))]:
        path = PurePosixPath(group.lstrip("/"))
        if ".." not in path.parts:
            yield from (root / each for each in (path, *path.parents))


def _cores(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = (_read(folder / f"cpu.cfs_{each}_us").strip() for each in ("quota", "period"))
    try:
        allowed, slice_ = int(quota), int(period)
    except ValueError:  # "max", or no such file
        return None
    return allowed / slice_ if allowed > 0 and slice_ > 0 else None


def _memory(folder: Path) -> tuple[int, int] | None:
    """Limit and use of a group, in bytes; None where it has no limit."""
    for limit, usage, idle in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        text = _read(folder / limit).strip()
        if text.isdigit() and int(text) < NO_LIMIT:
            counts = dict(line.split()[:2] for line in _read(folder / "memory.stat").splitlines() if " " in line)
            used = int(_read(folder / usage).strip() or 0) - int(counts.get(idle, 0))
            return int(text), max(0, used)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
