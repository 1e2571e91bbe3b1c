"""The batch size that is left to the machine: timed, remembered, and never what does not fit or does not pay."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from agecls.bins import Bins
from agecls.config import Config
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import ConfigError, RunError
from agecls.learn.batch_size import STEPS, choose_batch_size, most_images, time_sizes
from agecls.learn.run import Run
from agecls.train import TrainRequest, train

CPU = torch.device("cpu")


def config_of(*settings: str) -> Config:
    return load_config("agecnn-cpu", "gender", ["image_size=32", "features=8", "precision=fp32", *settings])


def speeds_of(rates: dict[int, float], most: int = 1024) -> dict[int, float]:
    """What is timed on a device of such speeds, where sizes without one do not fit into its memory."""

    def speed(size: int) -> float:
        if size not in rates:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return rates[size]

    return time_sizes(speed, most)


@pytest.mark.parametrize(
    ("rates", "tried"),
    [
        ({64: 100, 128: 190, 256: 300, 512: 310, 1024: 999}, [64, 128, 256, 512]),  # stops where it no longer pays
        ({64: 100, 128: 101, 256: 900}, [64, 128]),
        ({64: 100, 128: 190}, [64, 128]),  # 256 does not fit
        ({16: 50, 8: 40}, [16]),
        ({8: 40}, [8]),
    ],
)
def test_sizes_are_tried_as_long_as_they_pay_and_fit(rates: dict[int, float], tried: list[int]) -> None:
    assert list(speeds_of(rates)) == tried


def test_no_size_is_tried_beyond_the_largest() -> None:
    rates = {64 << step: 100.0 * 2**step for step in range(10)}
    assert list(speeds_of(rates, 256)) == [64, 128, 256]


def test_a_device_that_holds_no_batch_is_refused() -> None:
    with pytest.raises(RunError, match="memory ran out on batches of 8 images"):
        speeds_of({4: 1.0})


def test_another_error_of_the_device_is_not_hidden() -> None:
    def speed(size: int) -> float:
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="assert triggered"):
        time_sizes(speed, 1024)


@pytest.mark.parametrize(
    ("images", "settings", "expected"),
    [
        (100, (), 64),
        (64 * STEPS, (), 64),
        (256 * STEPS, (), 256),
        (256 * STEPS, ("accumulate=2",), 128),
        (256 * STEPS, ("devices=2",), 128),
        (10**9, (), 1024),
    ],
)
def test_an_epoch_keeps_its_steps(images: int, settings: tuple[str, ...], expected: int) -> None:
    assert most_images(config_of(*settings), images) == expected


def test_a_number_is_taken_as_it_is() -> None:
    assert str(choose_batch_size(config_of("batch_size=48"), "fp32", 2, 10**6, CPU)) == "48 images (as set)"


def test_choice_is_remembered_for_this_network_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_CACHE", str(tmp_path))
    config = config_of("batch_size=auto")
    before = torch.random.get_rng_state()
    first = choose_batch_size(config, "fp32", 2, 128 * STEPS, CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.images in (64, 128)
    assert "measured now" in first.why
    memory = tmp_path / "batch_size.json"
    (key,) = json.loads(memory.read_text())
    memory.write_text(json.dumps({key: {"64": 100.0, "128": 114.0, "256": 200.0, "512": 229.0}}))
    second = choose_batch_size(config, "fp32", 2, 128 * STEPS, CPU)
    assert (second.images, "measured earlier" in second.why) == (256, True)
    memory.write_text(json.dumps({key: {"64": "fast"}}))
    assert "measured now" in choose_batch_size(config, "fp32", 2, 128 * STEPS, CPU).why


def ask(split: Split, faces: Path, out: Path, *settings: str) -> TrainRequest:
    config = config_of("epochs=1", "lr=0.003", *settings)
    return TrainRequest("gender", Bins.parse("4"), "4", split, split.roots([faces]), config, out)


def test_what_was_chosen_is_said_recorded_and_gone_on_with(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    chosen = train(ask(drawn_split, drawn_faces, tmp_path / "chosen", "batch_size=auto"), said.append)
    plain = train(ask(drawn_split, drawn_faces, tmp_path / "plain", "batch_size=64"), lambda line: None)
    told = [line for line in said if line.startswith("batch ")]
    assert len(told) == 1
    assert told[0].startswith("batch      64 images (images/s 64: ")
    record = json.loads((chosen.folder / "run.json").read_text())
    assert record["batches"] == {"batch_size": 64, "accumulate": 1}
    assert record["config"]["train"]["batch_size"] == "auto"
    assert Run.load(chosen.folder).trained_with.train.batch_size == 64
    one, other = (load_file(run.folder / "model.safetensors") for run in (chosen, plain))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_each_choice_is_said_once_at_the_start(drawn_split: Split, drawn_faces: Path, tmp_path: Path) -> None:
    said: list[str] = []
    train(ask(drawn_split, drawn_faces, tmp_path / "run", "workers=0"), said.append)
    first = next(number for number, line in enumerate(said) if line.startswith("epoch "))
    for name, words in (
        ("device", "cpu" if not torch.cuda.is_available() else "cuda"),
        ("threads", str(torch.get_num_threads())),
        ("precision", "fp32 (as set)"),
        ("batch", "64 images (as set)"),
        ("workers", "0 (as set)"),
        ("cache", "(AGECLS_CACHE)"),
    ):
        (line,) = [line for line in said if line.startswith(f"{name:<10} ")]
        assert words in line
        assert said.index(line) < first


def test_a_damaged_record_of_batches_is_refused(drawn_run: Run, tmp_path: Path) -> None:
    record: dict[str, Any] = json.loads((drawn_run.folder / "run.json").read_text())
    assert "batches" not in record
    for damage in (
        {"batch_size": "many", "accumulate": 1},
        {"batch_size": 64},
        [64, 1],
        {"batch_size": 0, "accumulate": 1},
    ):
        (tmp_path / "run.json").write_text(json.dumps({**record, "batches": damage}))
        with pytest.raises(RunError, match="damaged"):
            Run.load(tmp_path)


@pytest.mark.parametrize("value", ["0", "1", "automatic", "-64", "1.5"])
def test_an_impossible_size_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(f"batch_size={value}")
    assert "batch_size" in str(refused.value)


def test_several_machines_need_one_size() -> None:
    with pytest.raises(ConfigError) as refused:
        config_of("nodes=2", "batch_size=auto")
    assert "train.batch_size" in refused.value.got
