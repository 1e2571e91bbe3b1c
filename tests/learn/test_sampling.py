"""Several passes: only chance layers are woken, the mean is that of probabilities, and seeds decide."""

import pytest
import torch
from torch import Tensor, nn

from agecls.bins import Bins
from agecls.config import TargetsConfig
from agecls.errors import RunError
from agecls.learn.decoding import class_probabilities, mean_outputs, years_of
from agecls.learn.sampling import Sampled, random_layers, sampled
from agecls.learn.targets import find_targets, total_width

GENDER = find_targets("gender", Bins.parse("4"), TargetsConfig())


def network_of(dropout: float = 0.5) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(dropout), nn.Linear(16, 2)).eval()


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def test_passes_drop_and_leave_the_rest_in_evaluation_mode() -> None:
    network = network_of()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    asked = Sampled(network, GENDER, 5).eval()
    answer = asked(images())
    assert not torch.allclose(torch.softmax(answer, 1), torch.softmax(network(images()), 1))
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_answer_is_the_mean_of_the_passes_probabilities() -> None:
    network, n = network_of(), 4000
    answer = torch.softmax(Sampled(network, GENDER, n).eval()(images(2)), 1)
    network[2].train()
    torch.manual_seed(9)
    expected = torch.stack([torch.softmax(network(images(2)), 1) for _ in range(n)]).mean(0)
    torch.testing.assert_close(answer, expected, atol=0.01, rtol=0)


def test_seed_decides_and_other_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    first = Sampled(network_of(), GENDER, 3, seed=1).eval()(images())
    torch.manual_seed(4)
    state = torch.get_rng_state()
    again = Sampled(network_of().eval(), GENDER, 3, seed=1).eval()
    torch.set_rng_state(state)
    assert torch.equal(first, again(images()))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, again(images()))  # the next batch is dropped otherwise
    assert not torch.equal(first, Sampled(network_of(), GENDER, 3, seed=2).eval()(images()))


def test_without_chance_all_passes_would_be_equal() -> None:
    network = network_of(0.0)
    assert random_layers(network) == []
    assert sampled(network, GENDER, 0, "run x") is network
    with pytest.raises(RunError, match="run x has neither dropout nor uncertain weights"):
        sampled(network, GENDER, 3, "run x")


@pytest.mark.parametrize("age", ["bins", "distribution", "coral", "corn"])
def test_mean_of_many_answers_is_that_of_their_probabilities(age: str) -> None:
    targets = find_targets("age", Bins.parse("4"), TargetsConfig.model_validate({"age": age}))
    torch.manual_seed(0)
    answers = torch.randn(5, 7, total_width(targets), dtype=torch.float64)
    found = class_probabilities(targets[0], mean_outputs(targets, *answers))
    expected = torch.stack([class_probabilities(targets[0], each) for each in answers]).mean(0)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_mean_of_years_is_their_mean() -> None:
    targets = find_targets("age-regression", Bins.parse("4"), TargetsConfig())
    answers = [torch.tensor([[0.1], [0.4]]), torch.tensor([[0.3], [0.4]]), torch.tensor([[0.2], [1.0]])]
    years = years_of(targets[0], mean_outputs(targets, *answers))
    assert years is not None
    torch.testing.assert_close(years, torch.tensor([39.0, 47.0]))
