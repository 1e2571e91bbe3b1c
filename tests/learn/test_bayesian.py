"""Uncertain last layers: what is drawn, the divergence, which outputs, and that they learn."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import softplus

from agecls.bins import Bins
from agecls.config import Config, NetworkConfig, TargetsConfig, parse_config
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import ConfigError
from agecls.labels import TrainTask
from agecls.learn.networks import build_network
from agecls.learn.networks.bayesian import FIRST_DEVIATION, BayesianLinear, bayesian_layers, divergence
from agecls.learn.networks.heads import SharedLinear
from agecls.learn.optimizers import parameter_groups
from agecls.learn.run import Run
from agecls.learn.targets import find_targets
from agecls.learn.task import FaceTask
from agecls.train import TrainRequest, train


def layer_of(outputs: int = 3, prior: float = 1.0) -> BayesianLinear:
    torch.manual_seed(0)
    layer = BayesianLinear(nn.Linear(6, 3), outputs, prior)
    with torch.no_grad():
        layer.weight_rho.uniform_(-2, 0)
        layer.bias_rho.uniform_(-2, 0)
    return layer


def test_evaluation_answers_by_the_means_and_training_draws_about_them() -> None:
    layer, inputs = layer_of(), torch.randn(1, 6)
    means = layer.eval()(inputs)
    torch.testing.assert_close(means, nn.functional.linear(inputs, layer.weight, layer.bias))
    drawn = layer.train()(inputs.expand(40_000, 6)).detach()
    spread = (inputs.square() @ softplus(layer.weight_rho).square().T + softplus(layer.bias_rho).square()).sqrt()
    torch.testing.assert_close(drawn.mean(0), means[0], atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std(0), spread[0], atol=0, rtol=0.03)


def test_divergence_is_that_of_normal_distributions() -> None:
    layer = layer_of(2, prior=0.5)
    prior = Normal(0.0, 0.5)
    expected = kl_divergence(Normal(layer.weight[:2], softplus(layer.weight_rho)), prior).sum()
    expected = expected + kl_divergence(Normal(layer.bias[:2], softplus(layer.bias_rho)), prior).sum()
    torch.testing.assert_close(layer.divergence(), expected)
    torch.testing.assert_close(divergence(nn.Sequential(layer, nn.ReLU())), expected)
    assert divergence(nn.Linear(2, 2)) == 0


def test_certain_outputs_are_never_drawn() -> None:
    layer, inputs = layer_of(2).train(), torch.randn(5, 6)
    one, other = layer(inputs), layer(inputs)
    assert (one[:, :2] != other[:, :2]).all()
    assert torch.equal(one[:, 2], other[:, 2])


def test_thresholds_that_share_weights_share_their_draws() -> None:
    plain = SharedLinear(6, [0, 0, 0, 1])
    layer = BayesianLinear(plain, 3, 1.0).train()
    assert layer.weight_rho.shape == (1, 6)
    with torch.no_grad():
        layer.weight_rho.fill_(0)
        layer.bias_rho.fill_(-30)
    inputs = torch.randn(8, 6)
    shift = layer(inputs) - plain(inputs)
    torch.testing.assert_close(shift[:, 0], shift[:, 1])
    assert (shift[:, 0].abs() > 1e-4).all()
    assert (shift[:, 3] == 0).all()


def test_gradients_are_finite_where_all_inputs_are_zero() -> None:
    layer = layer_of().train()
    layer(torch.zeros(4, 6)).sum().backward()
    assert all(torch.isfinite(each.grad).all() for each in layer.parameters() if each.grad is not None)


@pytest.mark.parametrize(("bayesian", "uncertain"), [("none", []), ("half", [4]), ("full", [6])])
def test_half_is_the_first_task_and_full_are_all(bayesian: str, uncertain: list[int]) -> None:
    config = NetworkConfig.model_validate({"image_size": 32, "bayesian": bayesian})
    assert [layer.outputs for layer in bayesian_layers(build_network(config, 6, first=4))] == uncertain


@pytest.mark.parametrize(("bayesian", "uncertain"), [("half", [4]), ("full", [4, 2])])
def test_of_two_branches_half_is_one_head_and_full_are_both(bayesian: str, uncertain: list[int]) -> None:
    tree = {"name": "two_branch", "branch": "both", "image_size": 64, "bayesian": bayesian}
    network = build_network(NetworkConfig.model_validate(tree), 6, gender=slice(4, 6), first=4)
    assert [layer.outputs for layer in bayesian_layers(network)] == uncertain


def test_means_start_as_the_plain_layer_does() -> None:
    torch.manual_seed(0)
    plain = build_network(NetworkConfig(image_size=32), 5).state_dict()
    torch.manual_seed(0)
    uncertain = build_network(NetworkConfig(image_size=32, bayesian="full"), 5)
    missing, unexpected = uncertain.load_state_dict(plain, strict=False)
    assert sorted(missing) == ["head.output.bias_rho", "head.output.weight_rho"]
    assert not unexpected
    assert torch.equal(uncertain.state_dict()["head.output.weight"], plain["head.output.weight"])
    assert float(softplus(bayesian_layers(uncertain)[0].weight_rho).detach().mean()) == pytest.approx(FIRST_DEVIATION)


def task_of(bayesian: str, prior: float = 1.0) -> FaceTask:
    torch.manual_seed(0)
    network = {"image_size": 32, "bayesian": bayesian} | ({"prior": prior} if bayesian != "none" else {})
    config = parse_config({"network": {**network, "dropout": 0.0}, "optimizer": {"weight_decay": 0.1}})
    targets = find_targets("gender", Bins.parse("4"), TargetsConfig())
    return FaceTask(config, targets, [torch.tensor([30, 20])])


def test_loss_counts_the_divergence_once_over_all_training_images() -> None:
    inputs, labels = torch.rand(4, 1, 32, 32), torch.tensor([0, 1, 0, 1])
    plain, uncertain = task_of("none").eval(), task_of("full").eval()
    expected = plain.loss_of(inputs, labels) + divergence(uncertain.network) / 50
    torch.testing.assert_close(uncertain.loss_of(inputs, labels), expected)


def test_weight_decay_spares_the_deviations() -> None:
    task = task_of("full")
    *others, last = parameter_groups(task.network, task.config)
    assert last["weight_decay"] == 0
    assert [each.shape for each in last["params"]] == [torch.Size([2, 132]), torch.Size([2])]
    every = [each for group in (*others, last) for each in group["params"]]
    assert len(every) == len(set(every)) == len(list(task.network.parameters()))
    assert all("weight_decay" not in group for group in parameter_groups(task_of("none").network, Config()))


def test_prior_without_uncertain_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match="prior belongs to bayesian"):
        parse_config({"network": {"prior": 0.5}})


@pytest.mark.parametrize(("task", "bayesian"), [("gender", "full"), ("multitask", "half")])
def test_uncertain_weights_are_learnt_saved_and_read(
    task: TrainTask, bayesian: str, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    config = load_config("agecnn-cpu", task, [*tiny, f"network.bayesian={bayesian}", "network.prior=0.5"])
    roots = drawn_split.roots([drawn_faces])
    made = train(
        TrainRequest(task, Bins.parse("4"), "4", drawn_split, roots, config, tmp_path / "run"), lambda line: None
    )
    run = Run.load(made.folder)
    (layer,) = bayesian_layers(run.network())
    assert layer.outputs == (run.targets[0].width if bayesian == "half" else 2)
    moved = (softplus(layer.weight_rho).detach() - FIRST_DEVIATION).abs()
    assert float(moved.max()) > 1e-4
    more = train(
        TrainRequest(
            task, Bins.parse("4"), "4", drawn_split, roots, load_config("agecnn-cpu", task, tiny), tmp_path / "more",
            init_from=run.folder,
        ),
        lambda line: None,
    )  # fmt: skip
    assert not bayesian_layers(more.network())
