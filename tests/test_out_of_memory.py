"""Out of memory: half the batch, twice as many of them a step, and the run says so.

Memory runs out here as it does on a GPU: PyTorch's error is raised while a batch that is too large is trained on.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from safetensors.torch import load_file

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import RunError
from agecls.learn.halving import half, is_out_of_memory, within_memory
from agecls.learn.run import Run
from agecls.train import TrainRequest, train

PLAIN = (
    "train.precision=fp32", "augment.probability=0", "augment.flip=false", "optimizer.name=sgd", "schedule.name=cosine",
    "train.epochs=2", "network.name=levi_hassner", "network.image_size=48", "network.hidden=8", "network.dropout=0",
    "optimizer.lr=0.05", "train.batch_size=32",
)  # fmt: skip
"""A network without batch norms, and images as they are: the batches of a step decide nothing but its rounding."""

ERROR = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB"


class SmallMemory(Callback):
    """A device that takes batches of so many images, from an epoch on.

    Attributes:
        met: size of the first batch of each attempt.
    """

    def __init__(self, images: int, epoch: int = 0) -> None:
        self.images, self.epoch = images, epoch
        self.met: list[int] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.met.append(0)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.met[-1] = self.met[-1] or len(batch[0])
        if trainer.current_epoch >= self.epoch and batch_idx >= 1 and len(batch[0]) > self.images:
            raise torch.OutOfMemoryError(ERROR)


def ask(split: Split, faces: Path, out: Path, settings: tuple[str, ...] = PLAIN, *more: str) -> TrainRequest:
    return TrainRequest(
        task="gender",
        bins=Bins.parse("4"),
        bins_name="4",
        split=split,
        roots=split.roots([faces]),
        config=load_config("agecnn-cpu", "gender", [*settings, *more]),
        out=out,
    )


def silent(line: str) -> None:
    """Hear nothing."""


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.folder / "model.safetensors")


def record(run: Run) -> dict[str, Any]:
    return json.loads((run.folder / "run.json").read_text())  # type: ignore[no-any-return]


def test_halved_run_equals_one_started_with_its_batches(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    # With batch norms, dropout and augmentation: what is started again forgets the failed try altogether.
    settings = (*tiny, "train.batch_size=64", "train.epochs=1")
    said: list[str] = []
    small = SmallMemory(16)
    halved = train(ask(drawn_split, drawn_faces, tmp_path / "halved", settings), said.append, also=[small])
    plain = train(
        ask(drawn_split, drawn_faces, tmp_path / "plain", (*settings, "train.batch_size=16", "train.accumulate=4")),
        silent,
    )
    assert small.met == [64, 32, 16]
    one, other = weights(halved), weights(plain)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
    told = [line for line in said if line.startswith("memory ran out")]
    assert [line.partition(";")[0] for line in told] == [
        "memory ran out: going on from the start with 2 batches of 32 images a step",
        "memory ran out: going on from the start with 4 batches of 16 images a step",
    ]
    assert halved.status == "finished"
    assert record(halved)["batches"] == {"batch_size": 16, "accumulate": 4}
    assert record(halved)["config"]["train"]["batch_size"] == 64
    assert "batches" not in record(plain)
    assert {k: v for k, v in halved.metrics.items() if k != "seconds"} == {
        k: v for k, v in plain.metrics.items() if k != "seconds"
    }


def test_from_a_checkpoint_the_step_stays_what_it_was(drawn_split: Split, drawn_faces: Path, tmp_path: Path) -> None:
    said: list[str] = []
    halved = train(ask(drawn_split, drawn_faces, tmp_path / "halved"), said.append, also=[SmallMemory(16, epoch=1)])
    plain = train(ask(drawn_split, drawn_faces, tmp_path / "plain"), silent)
    assert any("going on from the last checkpoint with 2 batches of 16 images a step" in line for line in said)
    assert sum(line.startswith("epoch 1/") for line in said) == 1
    steps = [torch.load(run.folder / "last.ckpt", weights_only=True)["global_step"] for run in (halved, plain)]
    assert steps[0] == steps[1] == 2 * (len(drawn_split.parts["train"]) // 32)
    for (name, tensor), other in zip(weights(halved).items(), weights(plain).values(), strict=True):
        torch.testing.assert_close(tensor, other, atol=1e-5, rtol=1e-4, msg=name)


def test_halved_run_is_resumed_by_the_words_it_was_started_with(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    class Stopped(Callback):
        """Ctrl-C in the second epoch."""

        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    whole = train(ask(drawn_split, drawn_faces, tmp_path / "whole", tiny), silent, also=[SmallMemory(16)])
    asked = ask(drawn_split, drawn_faces, tmp_path / "cut", tiny)
    cut = train(asked, silent, also=[SmallMemory(16), Stopped()])
    assert (cut.status, cut.batches) == ("interrupted", {"batch_size": 16, "accumulate": 2})
    said: list[str] = []
    small = SmallMemory(16)
    resumed = train(dataclasses.replace(asked, resume=True), said.append, also=[small])
    assert small.met == [16]
    assert "batch      16 images (as in the run's record), 2 a step" in said
    assert resumed.status == "finished"
    for (name, tensor), other in zip(weights(resumed).items(), weights(whole).values(), strict=True):
        assert torch.equal(tensor, other), name
    assert Run.load(resumed.folder).batches == {"batch_size": 16, "accumulate": 2}


def test_memory_that_is_too_small_for_any_batch_ends_the_training(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    asked = ask(drawn_split, drawn_faces, tmp_path / "run", tiny)
    with pytest.raises(RunError, match="memory ran out on batches of 8 images") as refused:
        train(asked, silent, also=[SmallMemory(4)])
    assert "not halved below 8" in refused.value.got
    assert "network.image_size" in refused.value.remedy
    assert Run.load(tmp_path / "run").status == "interrupted"


def test_another_error_is_not_taken_for_a_lack_of_memory(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    class Broken(Callback):
        """A defect."""

        def on_train_batch_start(self, *_: Any) -> None:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(ask(drawn_split, drawn_faces, tmp_path / "run", tiny), silent, also=[Broken()])


def test_several_processes_refuse_and_say_what_to_set(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    asked = ask(drawn_split, drawn_faces, tmp_path / "run", (*tiny, "train.devices=2"))
    with pytest.raises(RunError, match="memory ran out on batches of 32 images") as refused:
        train(asked, silent, also=[SmallMemory(16)])
    assert "2 processes" in refused.value.got
    assert "--set train.batch_size=16 --set train.accumulate=2" in refused.value.remedy


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError(ERROR), True),
        (torch.OutOfMemoryError("HIP out of memory."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"), True),
        (RuntimeError("shapes do not match"), False),
        (RuntimeError(), False),
        (MemoryError(), False),
    ],
)
def test_errors_that_mean_a_lack_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_work_is_given_halves_until_one_fits() -> None:
    tried = []

    def work(size: int) -> str:
        tried.append(size)
        if size > 20:
            raise torch.OutOfMemoryError(ERROR)
        return f"{size} fit"

    assert within_memory(64, work) == "16 fit"
    assert tried == [64, 32, 16]
    with pytest.raises(RunError, match="on batches of 25 images") as refused:
        within_memory(100, work)
    assert "is odd" in refused.value.got
    assert half(16) == 8
    for size, why in ((15, "odd"), (8, "below 8")):
        with pytest.raises(RunError) as refused:
            half(size)
        assert why in refused.value.got
