"""Several processes: the same training as one with larger batches, each image validated once, one of them writes."""

import dataclasses
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import ConfigError, RunError, UsageError
from agecls.evaluate import evaluate_part
from agecls.learn.processes import Place, SyncBatchNorms, companions, find_place, report_ready
from agecls.learn.run import Run
from agecls.train import TrainRequest, train

# Dropout and augmentation draw for each batch anew, so they are off; so is an optimiser that makes steps of rounding.
STEADY = (
    "train.precision=fp32", "augment.probability=0", "augment.flip=false", "optimizer.name=sgd", "schedule.name=cosine",
    "train.epochs=3",
)  # fmt: skip
# A network without batch norms: there, nothing but the order of sums may differ.
PLAIN = (
    *STEADY, "network.name=levi_hassner", "network.image_size=48", "network.hidden=8", "network.dropout=0",
    "optimizer.lr=0.05",
)  # fmt: skip

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["agecls.train"])


def request_of(split: Split, faces: Path, out: Path, settings: tuple[str, ...]) -> TrainRequest:
    config = load_config("agecnn-cpu", "age", settings)
    return TrainRequest("age", Bins.parse("4"), "4", split, split.roots([faces]), config, out)


def curve(run: Run, name: str) -> list[float]:
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    return [scalar.value for scalar in events.Scalars(name)]


def test_two_processes_reach_the_loss_curve_of_one_with_twice_the_batch(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path
) -> None:
    settings = (*PLAIN, "average.name=ema", "average.decay=0.5", "train.sampler_power=0.7", "train.clip_norm=1")
    alone = train(
        request_of(drawn_split, drawn_faces, tmp_path / "alone", (*settings, "train.batch_size=32")), lambda line: None
    )
    lines: list[str] = []
    asked = request_of(
        drawn_split, drawn_faces, tmp_path / "two", (*settings, "train.batch_size=16", "train.devices=2")
    )
    before = dict(os.environ)
    together = train(asked, lines.append)
    assert dict(os.environ) == before
    assert not torch.distributed.is_initialized()
    assert together.status == "finished"
    assert sum(line.startswith("epoch ") for line in lines) == 3
    assert curve(together, "train_loss") == pytest.approx(curve(alone, "train_loss"), abs=1e-5)
    assert curve(together, "valid_loss") == pytest.approx(curve(alone, "valid_loss"), abs=1e-5)
    assert len(curve(together, "valid_loss")) == 3
    one, other = (torch.load(run.folder / "last.ckpt", weights_only=True)["state_dict"] for run in (alone, together))
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-5, rtol=1e-4, msg=name)
    # What the processes have counted together is what one process counts on all images.
    measured = evaluate_part(together, "valid", drawn_split, drawn_split.roots([drawn_faces])).measured
    assert together.metrics["valid_macro_f1"] == pytest.approx(measured["macro_f1"], abs=1e-5)
    assert together.metrics["valid_accuracy"] == pytest.approx(measured["accuracy"], abs=1e-5)
    assert not [path.name for path in together.folder.iterdir() if path.name.startswith(".")]


def test_batch_norms_and_their_averages_are_those_of_one_process(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, *STEADY, "network.dropout=0", "average.name=swa", "average.start=0.5", "optimizer.lr=0.002")
    alone, together = (
        train(request_of(drawn_split, drawn_faces, tmp_path / each[0], (*settings, *each)), lambda line: None)
        for each in (("train.batch_size=32",), ("train.batch_size=16", "train.devices=2"))
    )
    # PyTorch's own batch norm, in the one process, is off by 5e-5 on a processor, and each step adds to it.
    assert curve(together, "train_loss") == pytest.approx(curve(alone, "train_loss"), abs=2e-3)
    one, other = (torch.load(run.folder / "last.ckpt", weights_only=True)["state_dict"] for run in (alone, together))
    assert one.keys() == other.keys()
    for network in ("network", "average.module"):
        for name in ("running_mean", "running_var"):
            key = f"{network}.backbone.input_norm.{name}"
            torch.testing.assert_close(one[key], other[key], atol=1e-6, rtol=1e-5, msg=key)


def test_accumulated_batches_make_the_step_of_one_large_batch_without_batch_norms(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path
) -> None:
    large, small = (
        train(request_of(drawn_split, drawn_faces, tmp_path / each[0], (*PLAIN, *each)), lambda line: None)
        for each in (("train.batch_size=32",), ("train.batch_size=8", "train.accumulate=4"))
    )
    assert curve(small, "train_loss") == pytest.approx(curve(large, "train_loss"), abs=1e-5)
    counts = [torch.load(run.folder / "last.ckpt", weights_only=True)["global_step"] for run in (large, small)]
    assert counts == [3 * (len(drawn_split.parts["train"]) // 32)] * 2


def test_a_process_that_dies_is_told_of() -> None:
    with (
        pytest.raises(RunError, match="process of the training has stopped") as refusal,
        companions(Place(devices=2), os._exit, 3),
    ):
        pytest.fail("it was waited for in vain")
    assert "exit code 3" in refusal.value.got


def wait_stubbornly() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    report_ready()
    time.sleep(600)


def test_a_process_that_waits_is_ended_with_the_training() -> None:
    with companions(Place(devices=2), wait_stubbornly):
        start = time.monotonic()
    assert time.monotonic() - start < 20


def test_place_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert find_place(1, 1) == Place()
    assert find_place(1, 1).leads
    with pytest.raises(UsageError, match="MASTER_ADDR, MASTER_PORT, NODE_RANK"):
        find_place(2, 2)
    monkeypatch.setenv("MASTER_ADDR", "there")
    monkeypatch.setenv("MASTER_PORT", "1234")
    monkeypatch.setenv("NODE_RANK", "1")
    assert find_place(2, 2) == Place(0, 1, 2, 2)
    assert not find_place(2, 2).leads
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_place(2, 2) == Place(1, 1, 2, 2, launched=True)


def test_several_machines_need_one_precision() -> None:
    with pytest.raises(ConfigError) as refusal:
        load_config("agecnn", "age", ["train.nodes=2"])
    assert "train.nodes=2" in refusal.value.got
    assert "train.precision" in refusal.value.got


def normalise(rank: int, meet: str) -> None:
    """One of two processes, each with half of a batch: what it finds is what one process finds on the whole."""
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    torch.manual_seed(0)
    mine = slice(rank * 3, rank * 3 + 3)
    images, weigh = torch.rand(6, 3, 4, 4), torch.randn(6, 3, 4, 4)
    alone, norm = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    shared = SyncBatchNorms().apply(nn.Sequential(norm))
    whole, part = images.clone().requires_grad_(), images[mine].clone().requires_grad_()
    expected, found = alone(whole), shared(part)
    torch.testing.assert_close(found, expected[mine])
    (expected * weigh).sum().backward()
    (found * weigh[mine]).sum().backward()
    assert whole.grad is not None
    torch.testing.assert_close(part.grad, whole.grad[mine], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_mean, alone.running_mean)
    torch.testing.assert_close(norm.running_var, alone.running_var)
    assert list(shared.state_dict()) == [f"0.{name}" for name in alone.state_dict()]
    torch.testing.assert_close(shared.eval()(images), alone.eval()(images))


def test_batch_norms_are_over_all_processes(tmp_path: Path) -> None:
    both = [FORKS.Process(target=normalise, args=(rank, f"file://{tmp_path / 'meet'}")) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]


def test_batch_norm_with_an_activation_keeps_it() -> None:
    from timm.layers.norm_act import BatchNormAct2d

    network = nn.Sequential(BatchNormAct2d(2)).eval()
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 2, 3, 3)).astype(np.float32))
    before = network(images)
    assert (before >= 0).all()
    SyncBatchNorms().apply(network)
    torch.testing.assert_close(network(images), before)


def test_processes_are_recorded_and_a_resume_with_others_is_refused(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    run = train(request_of(drawn_split, drawn_faces, tmp_path / "run", (*tiny, "epochs=1")), lambda line: None)
    dataclasses.replace(run, status="interrupted").save()
    asked = request_of(drawn_split, drawn_faces, run.folder, (*tiny, "epochs=1", "train.devices=2"))
    with pytest.raises(RunError, match=r"train\.devices was 1, now 2"):
        train(dataclasses.replace(asked, resume=True), lambda line: None)
