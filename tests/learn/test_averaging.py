"""Averages of the weights: what is averaged, that batch norms are right, and that the average is what is kept."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from agecls.bins import Bins
from agecls.config import AverageConfig
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.evaluate import evaluate_part
from agecls.learn.averaging import build_average, measure_batch_norms, take_in
from agecls.learn.datamodule import FaceData
from agecls.learn.run import Run
from agecls.learn.transforms import to_input
from agecls.train import TrainRequest, train


def small(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 36, 2))
    network.register_buffer("index", torch.tensor([7, seed]))
    return network


def walk(network: nn.Module, step: int) -> None:
    """Change the weights, and pass a batch through them."""
    torch.manual_seed(step)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    network.train()(torch.rand(8, 1, 8, 8) * step)


def test_ema_follows_weights_and_batch_norms_and_copies_whole_numbers() -> None:
    network = small(0)
    average = build_average(AverageConfig(name="ema", decay=0.9), network)
    assert average is not None
    assert not any(parameter.requires_grad for parameter in average.parameters())
    expected: dict[str, torch.Tensor] = {}
    for step in range(1, 40):
        walk(network, step)
        average.update_parameters(network)
        count = step - 1
        decay = min(0.9, (1 + count) / (10 + count)) if count else 0.0
        for name, tensor in network.state_dict().items():
            whole = not tensor.is_floating_point()
            expected[name] = tensor.clone() if whole or not count else decay * expected[name] + (1 - decay) * tensor
    for name, tensor in average.module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], msg=name)
    assert average.module.get_buffer("index").tolist() == [7, 0]
    means = [each.get_buffer("1.running_mean") for each in (average.module, network)]
    assert not torch.allclose(means[0], means[1])


def test_swa_is_the_plain_mean_with_statistics_of_its_own() -> None:
    network = small(0)
    average = build_average(AverageConfig(name="swa"), network)
    assert average is not None
    seen = []
    for step in range(1, 5):
        walk(network, step)
        take_in(average, network)
        seen.append([parameter.detach().clone() for parameter in network.parameters()])
    for mean, each in zip(average.module.parameters(), zip(*seen, strict=True), strict=True):
        torch.testing.assert_close(mean, torch.stack(each).mean(dim=0))
    batches = [torch.rand(16, 1, 8, 8) for _ in range(5)]
    measure_batch_norms(average.eval().module, batches)
    assert not average.module.training
    first, norm = (average.module.get_submodule(name) for name in ("0", "1"))
    assert isinstance(norm, nn.BatchNorm2d)
    maps = [first(batch).detach() for batch in batches]
    expected = torch.stack([each.mean(dim=(0, 2, 3)) for each in maps]).mean(dim=0)
    spread = torch.stack([each.var(dim=(0, 2, 3)) for each in maps]).mean(dim=0)
    torch.testing.assert_close(norm.running_mean, expected)
    torch.testing.assert_close(norm.running_var, spread)
    assert norm.momentum == 0.1


class HalfFrozen(nn.Sequential):
    """A network whose first batch norm is frozen."""

    def train(self, mode: bool = True) -> "HalfFrozen":
        super().train(mode)
        self[0].eval()
        return self


def test_a_frozen_batch_norm_keeps_its_statistics_and_works_with_them() -> None:
    network = HalfFrozen(nn.BatchNorm2d(1), nn.BatchNorm2d(1))
    network.get_buffer("0.running_mean").fill_(5.0)
    measure_batch_norms(network, [torch.full((4, 1, 2, 2), 6.0), torch.full((4, 1, 2, 2), 6.0)])
    assert network.get_buffer("0.running_mean").item() == 5.0
    assert network.get_buffer("1.running_mean").item() == pytest.approx(1.0, abs=1e-4)


def fit(split: Split, faces: Path, out: Path, settings: tuple[str, ...]) -> Run:
    config = load_config("agecnn-cpu", "gender", settings)
    request = TrainRequest("gender", Bins.parse("4"), "4", split, split.roots([faces]), config, out)
    return train(request, lambda line: None)


@pytest.mark.parametrize("average", [("name=ema", "decay=0.8"), ("name=swa", "start=0.4")])
def test_the_average_is_what_is_validated_kept_and_saved(
    average: tuple[str, str], drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, *(f"average.{each}" for each in average), "train.epochs=5", "network.dropout=0")
    run = fit(drawn_split, drawn_faces, tmp_path / "run", settings)
    state = torch.load(run.folder / "last.ckpt", weights_only=True)["state_dict"]
    plain = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
    prefix = "average.module."
    averaged = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    assert plain.keys() == averaged.keys()
    assert not torch.equal(plain["head.output.weight"], averaged["head.output.weight"])
    saved = load_file(run.folder / "model.safetensors")
    assert saved.keys() == plain.keys()
    if run.metrics["best_epoch"] == 5:
        assert all(torch.equal(saved[name], averaged[name]) for name in saved)
    measured = evaluate_part(run, "valid", drawn_split, drawn_split.roots([drawn_faces])).measured
    assert measured["macro_f1"] == pytest.approx(run.metrics["valid_macro_f1"], abs=1e-5)


def test_swa_statistics_are_those_of_the_training_images(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, "average.name=swa", "average.start=0", "train.epochs=1")
    run = fit(drawn_split, drawn_faces, tmp_path / "run", settings)
    network = run.network()
    data = FaceData(drawn_split, drawn_split.roots([drawn_faces]), "gender", Bins.parse("4"), run.config)
    means = torch.stack([to_input(batch).mean() for batch in data.once_more(0)])
    norm = network.backbone.input_norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    # A running mean with momentum 0.1 would have come only part of the way from 0 in these few steps.
    assert norm.running_mean.item() == pytest.approx(means.mean().item(), abs=1e-5)
