"""Choosing the precision: agreement is measured, a decision is remembered, a wrong network stays in float32."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from agecls.config import Config
from agecls.config_files import load_config
from agecls.learn.networks import build_network
from agecls.learn.precision import choose_precision, disagreement, measure
from agecls.learn.remembered import AGREEMENT, machine_key

CPU = torch.device("cpu")


@pytest.fixture
def config() -> Config:
    return load_config("agecnn-cpu", "age", ["network.image_size=32", "network.features=8", "train.batch_size=16"])


def random_batch(config: Config, seed: int) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    side = config.network.image_size
    return torch.randint(0, 256, (64, config.network.channels, side, side), dtype=torch.uint8, generator=chance)


@pytest.mark.parametrize("seed", range(4))
def test_cnn_in_bfloat16_differs_by_its_rounding_alone(seed: int, config: Config) -> None:
    torch.manual_seed(seed)
    network = build_network(config.network, 7)
    assert 0 < disagreement(network, random_batch(config, seed)) < AGREEMENT


def test_network_that_loses_its_result_to_rounding_is_told_apart() -> None:
    class Cancelling(nn.Module):
        """Adds and removes a large number: the result has few bits left in bfloat16."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16 * 16, 16 * 16)

        def forward(self, images: Tensor) -> Tensor:
            large = self.linear(images.flatten(1)) + 4096.0
            return (large - 4096.0) @ torch.eye(16 * 16)[:, :3]

    batch = torch.randint(0, 256, (32, 1, 16, 16), dtype=torch.uint8)
    assert disagreement(Cancelling(), batch) > AGREEMENT


@pytest.mark.parametrize("setting", ["fp32", "bf16"])
def test_setting_decides(setting: str, config: Config) -> None:
    chosen = config.model_copy(update={"train": config.train.model_copy(update={"precision": setting})})
    assert choose_precision(chosen, 7, CPU).precision == setting


def test_decision_is_remembered_for_this_network_and_machine(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGECLS_CACHE", str(tmp_path))
    assert not choose_precision(config, 7, CPU).remembered
    known = {machine_key(config, 7, CPU): {"speedup": 3.0, "difference": 0.01}}
    (tmp_path / "precision.json").write_text(json.dumps(known))
    second = choose_precision(config, 7, CPU)
    assert second.remembered
    assert (second.precision, second.speedup) == ("bf16", 3.0)
    assert not choose_precision(config, 5, CPU).remembered


@pytest.mark.parametrize(
    ("speedup", "difference", "expected"),
    [(3.0, 0.01, "bf16"), (1.01, 0.01, "fp32"), (0.5, 0.01, "fp32"), (3.0, 0.2, "fp32")],
)
def test_the_faster_one_is_taken_unless_it_disagrees(
    speedup: float, difference: float, expected: str, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGECLS_CACHE", str(tmp_path))
    known = {machine_key(config, 7, CPU): {"speedup": speedup, "difference": difference}}
    (tmp_path / "precision.json").write_text(json.dumps(known))
    assert choose_precision(config, 7, CPU).precision == expected


def test_damaged_memory_is_measured_again(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_CACHE", str(tmp_path))
    (tmp_path / "precision.json").write_text("[broken")
    assert not choose_precision(config, 7, CPU).remembered


def test_measuring_leaves_the_random_state_of_a_training_alone(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGECLS_CACHE", str(tmp_path))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    choose_precision(config, 7, CPU)
    assert torch.equal(torch.rand(3), expected)


def test_speed_is_a_ratio(config: Config) -> None:
    speedups, difference = measure(config, 7, CPU, seconds=0.05)
    assert all(speedup > 0 for speedup in speedups)
    assert 0 < difference < AGREEMENT
