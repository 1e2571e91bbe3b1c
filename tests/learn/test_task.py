"""Loss, metric, optimisers and network of a training."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from agecls.config import NetworkConfig, OptimizerConfig, ScheduleConfig
from agecls.learn.losses import class_weights
from agecls.learn.networks import build_network
from agecls.learn.optimizers import build_optimizer, build_schedule
from agecls.learn.scores import macro_f1


@given(
    st.integers(2, 8).flatmap(
        lambda k: st.lists(st.lists(st.integers(0, 9), min_size=k, max_size=k), min_size=k, max_size=k)
    )
)
def test_macro_f1_is_scikit_learns(rows: list[list[int]]) -> None:
    confusion = np.array(rows)
    if not confusion.sum():
        return
    truth, predicted = (np.repeat(axis.ravel(), confusion.ravel()) for axis in np.indices(confusion.shape))
    expected = f1_score(truth, predicted, labels=range(len(confusion)), average="macro", zero_division=0)
    assert float(macro_f1(torch.from_numpy(confusion))) == pytest.approx(expected, abs=1e-6)


def test_class_weights() -> None:
    counts = torch.tensor([80, 15, 5])
    assert class_weights(counts, "none") is None
    share = class_weights(counts, "one-minus-share")
    inverse = class_weights(counts, "inverse")
    assert share is not None
    assert inverse is not None
    torch.testing.assert_close(share / share[0], torch.tensor([1.0, 0.85 / 0.2, 0.95 / 0.2]))
    torch.testing.assert_close(inverse / inverse[2], torch.tensor([5 / 80, 5 / 15, 1.0]))
    assert float(inverse.mean()) == pytest.approx(1)


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_network_doubles_its_features_and_halves_its_side(layers: int, channels: int) -> None:
    config = NetworkConfig(image_size=64, layers=layers, channels=channels, features=4, hidden=10)
    network = build_network(config, 5)
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert [module.out_channels for module in convolutions] == [4 * 2**layer for layer in range(layers)]
    assert network(torch.rand(2, channels, 64, 64)).shape == (2, 5)
    maps = network.backbone.features(torch.rand(1, channels, 64, 64))  # type: ignore[operator]
    assert maps.shape[-1] == 64 >> layers


def test_study_network_has_the_study_shape() -> None:
    network = build_network(NetworkConfig(), 7)
    (hidden,) = network.head.hidden  # type: ignore[misc]
    assert isinstance(hidden, torch.nn.Linear)
    assert (hidden.in_features, hidden.out_features) == (512 * 14 * 14, 132)
    layers = [type(module).__name__ for module in network.backbone.features]  # type: ignore[union-attr]
    assert layers[:4] == ["Conv2d", "ReLU", "BatchNorm2d", "MaxPool2d"]


def test_optimiser_takes_its_settings() -> None:
    weights = [torch.nn.Parameter(torch.zeros(2))]
    config = OptimizerConfig(name="nadam", lr=0.1, weight_decay=0.2, betas=(0.8, 0.9), decoupled_weight_decay=True)
    group = build_optimizer(config, weights).param_groups[0]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.1, 0.2, (0.8, 0.9))
    assert group["decoupled_weight_decay"] is True


def test_onecycle_rises_to_the_rate_and_falls_to_nothing() -> None:
    optimizer = build_optimizer(OptimizerConfig(lr=0.1), [torch.nn.Parameter(torch.zeros(2))])
    schedule = build_schedule(ScheduleConfig(name="onecycle", warmup=0.25), optimizer, 0.1, 100)
    assert schedule is not None
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < 100:
            schedule.step()
    assert max(rates) == pytest.approx(0.1)
    assert 20 <= int(np.argmax(rates)) <= 30
    assert rates[-1] < 1e-5
    assert build_schedule(ScheduleConfig(), optimizer, 0.1, 100) is None
