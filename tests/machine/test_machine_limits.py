"""What control groups allow, of both versions, read from folders laid out like the kernel's."""

from pathlib import Path

import pytest

from agecls.machine.limits import Limits, read_limits
from agecls.machine.memory import find_memory
from agecls.machine.processor import usable_cores

GB = 1 << 30


def lay(top: Path, groups: str, files: dict[str, str]) -> Path:
    """Make ``/proc/self/cgroup`` and files below ``/sys/fs/cgroup``."""
    for path, content in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(content + "\n")
    return top


def test_second_version_inside_a_container(tmp_path: Path) -> None:
    files = {
        "cpu.max": "350000 100000",
        "memory.max": str(8 * GB),
        "memory.current": str(3 * GB),
        "memory.stat": f"anon 5\ninactive_file {GB}\nactive_file 7",
    }
    assert read_limits(lay(tmp_path, "0::/", files)) == Limits(3.5, 8 * GB, 2 * GB)


def test_the_narrowest_of_nested_groups_counts(tmp_path: Path) -> None:
    files = {
        "a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000", "a/b/c/cpu.max": "900000 100000",
        "a/memory.max": str(4 * GB), "a/memory.current": str(GB), "a/b/c/memory.max": "max",
        "a/b/c/memory.current": "5",
    }  # fmt: skip
    assert read_limits(lay(tmp_path, "0::/a/b/c", files)) == Limits(2.0, 4 * GB, GB)


def test_first_version(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/job/cpu.cfs_quota_us": "150000", "cpu,cpuacct/job/cpu.cfs_period_us": "50000",
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/job/memory.limit_in_bytes": str(2 * GB), "memory/job/memory.usage_in_bytes": str(GB),
        "memory/job/memory.stat": f"total_inactive_file {GB // 2}",
    }  # fmt: skip
    groups = "5:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/job"
    assert read_limits(lay(tmp_path, groups, files)) == Limits(3.0, 2 * GB, GB // 2)


def test_first_version_in_a_container_that_sees_the_groups_of_the_host(tmp_path: Path) -> None:
    # /proc names the group as the host does; what is mounted begins with it.
    files = {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000", "memory/memory.limit_in_bytes": "77"}
    groups = "5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f"
    assert read_limits(lay(tmp_path, groups, files)) == Limits(0.5, 77, 0)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000", "memory.max": "max"},
        {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
        {"cpu.max": "", "memory.max": "much"},
        {"cpu.max": "100000", "memory.max": "-1"},
    ],
)
def test_no_limit_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    assert read_limits(lay(tmp_path, "4:cpu:/\n5:memory:/\n0::/", files)) == Limits()


def test_groups_above_the_mounted_ones_are_not_followed(tmp_path: Path) -> None:
    lay(tmp_path, "0::/../outside", {"cpu.max": "max 100000"})
    (tmp_path / "sys/fs/outside").mkdir()
    (tmp_path / "sys/fs/outside/cpu.max").write_text("100000 100000")
    assert read_limits(tmp_path) == Limits()


def test_a_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert read_limits(tmp_path) == Limits()


def test_cores_are_whole_and_never_none() -> None:
    everything = usable_cores(1e9)
    assert everything >= 1
    assert usable_cores(0.3) == 1
    assert usable_cores(1.9) == 1
    assert usable_cores(everything + 0.5) == everything


def test_memory_is_that_of_the_container(tmp_path: Path) -> None:
    whole = find_memory(Limits())
    assert whole.limit == whole.machine >= whole.free > 0
    inside = find_memory(Limits(memory=1000, used=400))
    assert (inside.machine, inside.limit, inside.free) == (whole.machine, 1000, 600)
    assert find_memory(Limits(memory=1000, used=1400)).free == 0
    assert find_memory(Limits(memory=1 << 59, used=0)).limit == whole.machine
