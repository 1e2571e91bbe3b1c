"""``agecls doctor``: what the machine offers, what is done with it, what will not work; and never a secret."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from b2_server import B2Server

from agecls.doctor.checks import Check, check_machine
from agecls.doctor.offer import Offer, find_offer
from agecls.doctor.plan import Plan, make_plan
from agecls.learn.gpus import Gpu, find_driver
from agecls.machine.memory import Memory

Agecls = Callable[..., Any]
GB = 10**9


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
    """No keys of B2, and an empty working folder."""
    for name in ("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY", "B2_REALM", "B2_ENDPOINT", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def offer() -> Offer:
    """This machine, with nothing that could be criticised."""
    found = find_offer()
    return dataclasses.replace(
        found,
        memory=Memory(64 * GB, 64 * GB, 32 * GB),
        disks={name: dataclasses.replace(disk, free=99 * GB, writable=True) for name, disk in found.disks.items()},
        gpus=(),
        driver="",
        open_files=4096,
        unpackers={"7z": "py7zr", "rar": "unrar"},
    )


@pytest.fixture
def plan(offer: Offer) -> Plan:
    return make_plan(offer)


def judged(offer: Offer, plan: Plan, name: str) -> Check:
    return next(check for check in check_machine(offer, plan) if check.name == name)


def check_of(content: dict[str, Any], name: str) -> dict[str, Any]:
    return next(check for check in content["checks"] if check["name"] == name)


def test_machine_plan_and_checks_are_told(agecls: Agecls, tmp_path: Path) -> None:
    done = agecls("doctor", "--json", tmp_path / "doctor.json")
    told = json.loads((tmp_path / "doctor.json").read_text())
    assert (done.code, told["works"]) == (0, True)
    for heading in ("this machine", "what agecls will do", "checks"):
        assert heading in done.out.splitlines()
    machine = told["machine"]
    assert machine["processor"]["usable"] == len(os.sched_getaffinity(0)) or machine["limits"]["cores"]
    assert 0 < machine["memory"]["free"] <= machine["memory"]["limit"] <= machine["memory"]["machine"]
    assert machine["versions"]["torch"]
    assert set(machine["disks"]) == {"cache", "runs", "working folder"}
    assert told["plan"]["config"].startswith(("agecnn-cpu ", "agecnn "))
    assert "64 images" in told["plan"]["batch"]
    assert check_of(told, "Backblaze B2") == {
        "name": "Backblaze B2", "state": "ok", "what": "no keys in the environment, so it was not asked", "remedy": "",
    }  # fmt: skip


def test_nothing_is_written(agecls: Agecls, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_CACHE", str(workplace / "cache"))
    assert agecls("doctor").code == 0
    assert list(workplace.iterdir()) == []


def test_decoded_size_of_the_images_is_told(agecls: Agecls, drawn_faces: Path, tmp_path: Path) -> None:
    done = agecls("doctor", "--root", drawn_faces, "--json", tmp_path / "doctor.json")
    told = json.loads((tmp_path / "doctor.json").read_text())
    side = 224 if told["machine"]["gpus"] else 64
    assert done.code == 0
    assert (told["plan"]["images"]["count"], told["plan"]["images"]["decoded"]) == (360, 360 * side * side)
    assert f"360 files below {drawn_faces}, {360 * side * side / 1e6:.1f} MB when decoded" in done.out


def test_images_that_no_cache_holds_are_a_problem(
    agecls: Agecls, drawn_faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGECLS_CACHE", "/proc/agecls")  # a disk without a free byte
    done = agecls("doctor", "--root", drawn_faces)
    assert done.code == 1
    assert "the cache has room for less: 0.0 MB in /proc/agecls" in done.out


def test_folder_without_images_is_a_problem_and_no_folder_is_refused(agecls: Agecls, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = agecls("doctor", "--root", tmp_path / "empty")
    assert (done.code, "no image file below" in done.out) == (1, True)
    assert agecls("doctor", "--root", tmp_path / "none").code == 2


def test_a_limit_of_the_cache_that_is_no_size_is_a_problem(agecls: Agecls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_CACHE_GB", "plenty")
    done = agecls("doctor")
    assert (done.code, "AGECLS_CACHE_GB=plenty is no size" in done.out) == (1, True)


@pytest.mark.parametrize(
    ("name", "changes", "state", "words"),
    [
        ("GPU", {"driver": "570.1"}, "problem", "sees no GPU"),
        ("GPU", {"driver": "570.1", "gpus": (Gpu("H100", 80 * GB, 79 * GB, "9.0", True),)}, "ok", "1 seen by PyTorch"),
        ("GPU", {}, "ok", "trainings run on the processor"),
        ("memory", {"memory": Memory(64 * GB, 4 * GB, GB)}, "warning", "1.0 GB free of 4.0 GB, of 64.0 GB"),
        ("open files", {"open_files": 256}, "warning", "256 at once"),
        ("open files", {"open_files": None}, "ok", "not limited"),
        ("packages", {"versions": {"torch": "2", "timm": ""}}, "problem", "missing: timm"),
        ("archives", {"unpackers": {"7z": "", "rar": ""}}, "warning", "7z and rar cannot"),
        ("shared memory", {"shared": None}, "ok", "no /dev/shm"),
    ],
)  # fmt: skip
def test_what_is_found_is_judged(
    name: str, changes: dict[str, Any], state: str, words: str, offer: Offer, plan: Plan
) -> None:
    check = judged(dataclasses.replace(offer, **changes), plan, name)
    assert (check.state, words in check.what) == (state, True), check.what
    assert bool(check.remedy) == (state != "ok")


@pytest.mark.parametrize(
    ("name", "changes", "state"),
    [
        ("cache", {"writable": False}, "problem"),
        ("runs", {"writable": False}, "problem"),
        ("runs", {"free": GB}, "warning"),
    ],
)
def test_disks_are_judged(name: str, changes: dict[str, Any], state: str, offer: Offer, plan: Plan) -> None:
    disks = {**offer.disks, name: dataclasses.replace(offer.disks[name], **changes)}
    check = judged(dataclasses.replace(offer, disks=disks), plan, name)
    assert (check.state, bool(check.remedy)) == (state, True)


def test_workers_that_shared_memory_limits_are_a_warning(offer: Offer, plan: Plan) -> None:
    limited = dataclasses.replace(plan, workers="1 (8 cores would take 6, but /dev/shm has 64 MB free)")
    check = judged(dataclasses.replace(offer, shared=(64_000_000, 64_000_000)), limited, "shared memory")
    assert (check.state, "--shm-size" in check.remedy) == ("warning", True)


def test_more_threads_than_cores_are_a_warning(offer: Offer, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1000")
    assert judged(offer, plan, "processor").state == "warning"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert judged(offer, plan, "processor").state == "ok"


def test_hidden_gpus_are_a_warning(offer: Offer, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check = judged(dataclasses.replace(offer, driver="570.1"), plan, "GPU")
    assert (check.state, "CUDA_VISIBLE_DEVICES" in check.what) == ("warning", True)


def test_driver_is_read_from_the_kernel(tmp_path: Path) -> None:
    assert find_driver(tmp_path) == ""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    assert find_driver(tmp_path) == "of unknown version"
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    for told, expected in (
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\nGCC 12.3", "570.86.15"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\nGCC 12", "535.104.05"),
        ("something else", "of unknown version"),
    ):  # fmt: skip
        (tmp_path / "proc/driver/nvidia/version").write_text(told)
        assert find_driver(tmp_path) == expected


@pytest.fixture
def b2(monkeypatch: pytest.MonkeyPatch) -> Iterator[B2Server]:
    """A server of B2 on loopback, whose keys are in the environment."""
    with B2Server() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


def use(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_keys_that_work_are_told_by_what_they_may_do(
    agecls: Agecls, b2: B2Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = agecls("doctor")
    assert (done.code, "read, write in every bucket" in done.out) == (0, True)
    use(monkeypatch, b2.environment(b2.make_key(["listBuckets", "readFiles"], ["faces"], "utk/")))
    done = agecls("doctor")
    assert (done.code, "write" in done.out) == (0, False)
    assert "read in faces, names that begin with utk/" in done.out


def test_keys_that_do_not_work_are_a_problem_and_never_shown(
    agecls: Agecls, b2: B2Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("B2_APPLICATION_KEY", "K005theSecretThatIsWrong")
    done = agecls("--debug", "doctor", "--json", tmp_path / "doctor.json")
    assert done.code == 1
    assert "Backblaze B2 does not know this application key" in done.out
    secrets = ["K005theSecretThatIsWrong", b2.keys.id, b2.keys.key, *b2.basic, *b2.tokens]
    for text in (done.out, done.err, (tmp_path / "doctor.json").read_text()):
        assert not [secret for secret in secrets if secret in text]


def test_one_key_alone_is_a_problem(agecls: Agecls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2_APPLICATION_KEY", "K005secret")
    done = agecls("doctor")
    assert (done.code, "B2_APPLICATION_KEY is set and B2_APPLICATION_KEY_ID is not" in done.out) == (1, True)
    assert "K005secret" not in done.out + done.err


@pytest.mark.parametrize("fault", [{"status": 503, "times": 9}, {"status": 0, "times": 9}])
def test_a_server_that_is_out_of_order_is_a_problem_at_once(
    fault: dict[str, int], agecls: Agecls, b2: B2Server
) -> None:
    b2.fail("b2_authorize_account", **fault)
    start = time.monotonic()
    done = agecls("doctor")
    assert (done.code, "Backblaze B2 cannot be reached" in done.out) == (1, True)
    assert time.monotonic() - start < 20
    assert b2.calls.count("b2_authorize_account") == 1


def test_a_server_that_never_answers_is_waited_for_briefly(agecls: Agecls, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        use(monkeypatch, {"B2_APPLICATION_KEY_ID": "005id", "B2_APPLICATION_KEY": "K005key", "B2_REALM": address})
        start = time.monotonic()
        done = agecls("doctor")
        assert 4 < time.monotonic() - start < 25
    assert (done.code, "did not answer in time" in done.out) == (1, True)


def test_a_realm_that_keys_must_not_go_to_is_a_problem(agecls: Agecls, monkeypatch: pytest.MonkeyPatch) -> None:
    use(
        monkeypatch,
        {"B2_APPLICATION_KEY_ID": "005id", "B2_APPLICATION_KEY": "K005key", "B2_REALM": "http://evil.example"},
    )
    done = agecls("doctor")
    assert (done.code, "B2_REALM is no address that keys may be sent to" in done.out) == (1, True)


def test_the_time_it_takes_is_that_of_importing_torch() -> None:
    script = """
import resource, sys
import torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
from agecls.doctor import examine
examine()
print(resource.getrusage(resource.RUSAGE_SELF).ru_utime - before)
print([name for name in ("pytorch_lightning", "timm", "albumentations", "b2sdk") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds, imported = done.stdout.splitlines()
    assert float(seconds) < 3  # of the processor, so that a busy machine changes nothing
    assert imported == "[]"
