"""Going on after a kill: the same weights as without one, whatever was killed and when."""

import dataclasses
import multiprocessing
import random
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import RunError
from agecls.learn.run import Run
from agecls.train import TrainRequest, train

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["agecls.train"])  # imported once for all processes that are killed

TECHNIQUES = {
    "plain": ("schedule.name=cosine", "augment.mixup=0.4"),
    "ema": ("average.name=ema", "average.decay=0.9", "train.accumulate=2", "schedule.name=constant"),
    "swa": ("average.name=swa", "average.start=0.3", "train.clip_norm=1.0"),
    "plateau": ("schedule.name=plateau", "schedule.wait=1", "train.patience=3", "optimizer.lr=0.02"),
}


def request_of(split: Split, faces: Path, out: Path, settings: tuple[str, ...]) -> TrainRequest:
    config = load_config("agecnn-cpu", "gender", settings)
    return TrainRequest("gender", Bins.parse("4"), "4", split, split.roots([faces]), config, out)


def train_aloud(request: TrainRequest, talker: Connection, threads: int) -> None:
    """Train in a process of its own, with as many threads as the others use, and send every line of talk."""
    torch.set_num_threads(threads)  # sums of another number of threads are rounded otherwise
    train(request, talker.send)


def quiet(line: str) -> None:
    pass


def ends(run: Run) -> dict[str, Any]:
    """What a training ends with: every weight, what schedule, optimiser and callbacks know, and the kept weights."""
    state = torch.load(run.folder / "last.ckpt", weights_only=True)
    for known in state["callbacks"].values():
        known.pop("seconds", None)
        known.get("metrics", {}).pop("seconds", None)
    kept = load_file(run.folder / "model.safetensors")
    names = ("state_dict", "lr_schedulers", "optimizer_states", "callbacks", "global_step", "epoch")
    return {**{name: state[name] for name in names}, "kept": kept}


def assert_same(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{where}.{number}")
    else:
        assert one == other or (one != one and other != other), where


@pytest.mark.parametrize("name", TECHNIQUES)
def test_killed_at_random_moments_it_ends_with_the_weights_of_an_uninterrupted_run(
    name: str, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, "train.epochs=9", *TECHNIQUES[name])
    whole = train(request_of(drawn_split, drawn_faces, tmp_path / "whole", settings), quiet)
    cut = request_of(drawn_split, drawn_faces, tmp_path / "cut", settings)
    chance = random.Random(name)
    listener, talker = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=train_aloud, args=(cut, talker, torch.get_num_threads()))
    process.start()
    talker.close()
    epoch = chance.randint(1, 4)
    while not listener.recv().startswith(f"epoch {epoch}/"):
        pass
    time.sleep(chance.uniform(0, 0.1))
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "cut" / "last.ckpt").exists() or Run.load(tmp_path / "cut").status == "training"
    resume = dataclasses.replace(cut, resume=True)

    class Stop(BaseException):
        pass

    # Stopped by an error of its own in the middle of a later epoch, and resumed once more.
    after = chance.randint(5, 7)

    def stop(line: str) -> None:
        if line.startswith(f"epoch {after}/"):
            raise Stop

    try:
        train(resume, stop)
    except Stop:
        assert Run.load(tmp_path / "cut").status == "interrupted"
        train(resume, quiet)
    finished = Run.load(tmp_path / "cut")
    assert finished.status == "finished"
    assert_same(ends(whole), ends(finished))
    told, again = ({**run.metrics, "seconds": 0} for run in (whole, finished))
    assert told == again


def test_killed_after_early_stopping_it_does_not_train_on(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, "train.epochs=30", "train.patience=1", "optimizer.lr=1e-12")
    request = request_of(drawn_split, drawn_faces, tmp_path / "run", settings)
    run = train(request, quiet)
    before = (run.folder / "last.ckpt").read_bytes()
    dataclasses.replace(run, status="training").save()
    resumed = train(dataclasses.replace(request, resume=True), quiet)
    assert resumed.status == "finished"
    assert resumed.metrics == run.metrics
    assert (run.folder / "last.ckpt").read_bytes() == before


def test_early_stopping_has_waited_as_long_after_a_resume(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, "train.epochs=30", "train.patience=3", "optimizer.lr=1e-12")
    whole = train(request_of(drawn_split, drawn_faces, tmp_path / "whole", settings), quiet)
    request = request_of(drawn_split, drawn_faces, tmp_path / "cut", settings)

    class Stop(Exception):
        pass

    for epoch in (2, 3, 4):

        def stop(line: str, epoch: int = epoch) -> None:
            if line.startswith(f"epoch {epoch}/"):
                raise Stop

        with pytest.raises(Stop):
            train(dataclasses.replace(request, resume=(tmp_path / "cut").exists()), stop)
    resumed = train(dataclasses.replace(request, resume=True), quiet)
    assert resumed.metrics["epochs"] == whole.metrics["epochs"]


def test_killed_after_the_last_epoch_it_is_finished_as_it_stands(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    request = request_of(drawn_split, drawn_faces, tmp_path / "run", tiny)
    run = train(request, quiet)
    before = (run.folder / "model.safetensors").read_bytes()
    dataclasses.replace(run, status="training").save()
    resumed = train(dataclasses.replace(request, resume=True), quiet)
    assert (resumed.status, resumed.metrics["epochs"]) == ("finished", 2)
    assert (run.folder / "model.safetensors").read_bytes() == before


# A process that is killed while it writes: half of the new bytes are on the disk, under whatever name.
HALF = """
import os, signal, sys
from pathlib import Path
from agecls.files import write_whole
whole = os.fdopen
class Half:
    def __init__(self, stream): self.stream = stream
    def __enter__(self): return self
    def __exit__(self, *rest): self.stream.close()
    def write(self, content):
        self.stream.write(content[: len(content) // 2])
        self.stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
os.fdopen = lambda handle, mode: Half(whole(handle, mode))
write_whole(Path(sys.argv[1]), b"x" * 1_000_000)
"""


def test_a_half_written_checkpoint_never_stands_in_place_of_a_whole_one(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    request = request_of(drawn_split, drawn_faces, tmp_path / "run", (*tiny, "train.epochs=3"))

    class Stop(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch 3/"):
            raise Stop

    with pytest.raises(Stop):
        train(request, stop)
    checkpoint = tmp_path / "run" / "last.ckpt"
    before = checkpoint.read_bytes()
    killed = subprocess.run([sys.executable, "-c", HALF, str(checkpoint)], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint.read_bytes() == before
    assert [path for path in checkpoint.parent.iterdir() if path.name.startswith(".last.ckpt.")]
    assert train(dataclasses.replace(request, resume=True), quiet).metrics["epochs"] == 3
    assert not [path.name for path in checkpoint.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_checkpoint_that_cannot_be_read_is_refused_and_stays(
    content: bytes | None, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    request = request_of(drawn_split, drawn_faces, tmp_path / "run", (*tiny, "train.epochs=1"))
    run = train(request, quiet)
    checkpoint = run.folder / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100] if content is None else content)
    dataclasses.replace(run, status="interrupted").save()
    damaged = checkpoint.read_bytes()
    with pytest.raises(RunError, match="cannot resume from"):
        train(dataclasses.replace(request, resume=True), quiet)
    assert checkpoint.read_bytes() == damaged
