"""From storage to a rented box and back: the box is lost in the middle, a new one ends with the same weights."""

import functools
import hashlib
import http.server
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from b2_server import BUCKET, B2Server

from agecls.bins import Bins
from agecls.cli import main
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.train import TrainRequest, train

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["agecls.train", "agecls.push"])  # imported once for all processes that are killed

SETTINGS = ("train.epochs=10", "schedule.name=cosine")
Command = Callable[..., Any]


def command(arguments: list[str], box: Path, environment: dict[str, str], threads: int) -> None:
    """Run a command in a process of its own, what it says going to a file."""
    os.chdir(box)
    os.environ.update(environment)
    torch.set_num_threads(threads)  # sums of another number of threads are rounded otherwise
    talk = os.open(box / "talk", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(talk, 1)
    os.dup2(talk, 2)
    sys.argv = ["agecls", *arguments]
    main()


@pytest.fixture
def archive(drawn_faces: Path, tmp_path: Path) -> Path:
    """The drawn faces as somebody has packed them."""
    packed = tmp_path / "web" / "faces.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(drawn_faces / "labels.csv", "labels.csv")
        tar.add(drawn_faces / "faces", "faces")
    return packed


@pytest.fixture
def b2(archive: Path) -> Iterator[B2Server]:
    with B2Server() as running:
        running.put("data/faces.tar.gz", archive.read_bytes())
        yield running


@pytest.fixture
def web(archive: Path) -> Iterator[str]:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (archive.parent / "faces.tar.gz.sha256").write_text(f"{digest}  faces.tar.gz\n")
    handler = functools.partial(Quiet, directory=str(archive.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}/faces.tar.gz"
        running.shutdown()


@pytest.fixture(scope="module")
def whole(
    drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The weights of a training that nothing befell, on a machine that has had the faces all along."""
    request = TrainRequest(
        task="gender",
        bins=Bins.parse("4"),
        bins_name="4",
        split=drawn_split,
        roots=drawn_split.roots([drawn_faces]),
        config=load_config("agecnn-cpu", "gender", [*tiny, *SETTINGS]),
        out=tmp_path_factory.mktemp("whole") / "gender",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGECLS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        run = train(request, lambda line: None)
    return (run.folder / "model.safetensors").read_bytes()


def header_and_tensors(content: bytes) -> tuple[Any, bytes]:
    """A safetensors file: its header, whose metadata the library writes in any order, and the bytes of all tensors."""
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), content[start:]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class Box:
    """A machine: a folder, a cache of its own, and nothing else."""

    def __init__(
        self,
        folder: Path,
        agecls: Command,
        monkeypatch: pytest.MonkeyPatch,
        environment: dict[str, str],
        tiny: tuple[str, ...],
    ) -> None:
        folder.mkdir()
        self.folder, self.agecls = folder, agecls
        self.environment = {**environment, "AGECLS_CACHE": str(folder / "cache"), "AGECLS_RETRY_SECONDS": "0.01"}
        monkeypatch.chdir(folder)
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        settings = [f"--set={setting}" for setting in (*tiny, *SETTINGS)]
        named = ["--task", "gender", "--bins", "4", "--config", "agecnn-cpu", "--out", "runs/gender"]
        self.training = ["train", *named, "--split", "splits/drawn", "--root", "data", *settings]

    def do(self, *arguments: str) -> str:
        told = self.agecls(*arguments)
        assert told.code == 0, told.err
        return str(told.out)

    def lose_in_the_middle(self, push: str, pushed: Callable[[], bytes]) -> None:
        """Train, and have the machine go once a checkpoint has been pushed."""
        arguments = [*self.training, "--push", push, "--push-every", "0.1"]
        process = FORKS.Process(
            target=command, args=(arguments, self.folder, self.environment, torch.get_num_threads())
        )
        process.start()
        end = time.monotonic() + 300
        while not pushed():
            assert process.is_alive(), (self.folder / "talk").read_text()
            assert time.monotonic() < end
            time.sleep(0.01)
        process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        shutil.rmtree(self.folder)

    @property
    def weights(self) -> bytes:
        return (self.folder / "runs" / "gender" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("way", ["bucket", "web and folder"])
def test_a_lost_box_is_replaced_and_ends_with_the_weights_of_an_uninterrupted_run(
    way: str, request: pytest.FixtureRequest, tmp_path: Path, agecls: Command, monkeypatch: pytest.MonkeyPatch,
    tiny: tuple[str, ...], whole: bytes, drawn_split: Split,
) -> None:  # fmt: skip
    if way == "bucket":
        server: B2Server = request.getfixturevalue("b2")
        environment, data, home = server.environment(), f"b2://{BUCKET}/data/faces.tar.gz", f"b2://{BUCKET}/mine"

        def stored(name: str) -> bytes:
            return server.objects().get(f"mine/{name}", b"")
    else:
        environment, data, home = {}, request.getfixturevalue("web"), str(tmp_path / "bucket")

        def stored(name: str) -> bytes:
            with suppress(FileNotFoundError):
                return (tmp_path / "bucket" / name).read_bytes()
            return b""

    box = functools.partial(Box, agecls=agecls, monkeypatch=monkeypatch, environment=environment, tiny=tiny)
    first = box(tmp_path / "first")
    first.do("pull", data, "--to", "data")
    first.do("split", "--source", "synthetic", "--root", "data", "--out", "splits/drawn", "--bins", "4", "--seed", "0")
    first.do("push", "splits/drawn", f"{home}/splits")
    first.lose_in_the_middle(f"{home}/runs", lambda: stored("runs/gender/last.ckpt"))
    assert json.loads(stored("runs/gender/run.json") or b'{"status": "training"}')["status"] == "training"

    # A push that was cut off before the first record is there has nothing to go on with; this one has.
    assert stored("runs/gender/model.safetensors")
    new = box(tmp_path / "new")
    new.do("pull", data, "--to", "data")
    new.do("pull", f"{home}/splits/drawn/", "--to", "splits/drawn")
    new.do("pull", f"{home}/runs/gender/", "--to", "runs/gender")
    told = new.agecls(*new.training, "--resume", "--push", f"{home}/runs", "--push-every", "0.1")
    assert told.code == 0, told.err
    assert "epoch 1/" not in told.err
    assert "epoch 10/10" in told.err
    new.do(
        "evaluate", "runs/gender", "--part", "test", "--root", "data", "--split", "splits/drawn", "--json", "test.json"
    )
    shutil.move("test.json", "runs/gender/test.json")
    assert "2 files sent" in new.do("push", "runs/gender", f"{home}/runs")  # beside it, how often test was opened
    assert Split.load(new.folder / "splits" / "drawn").fingerprint == drawn_split.fingerprint
    assert new.weights == stored("runs/gender/model.safetensors")
    assert header_and_tensors(new.weights) == header_and_tensors(whole)
    assert json.loads(stored("runs/gender/run.json"))["status"] == "finished"
    measured = json.loads(stored("runs/gender/test.json"))
    assert (measured["part"], measured["leaked"]) == ("test", False)
    assert measured["split"]
