"""Routing: weights that sum to 1, one-hot routers, and networks that see only the images they are needed for."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from agecls.hierarchy_config import ROUTINGS, Routing
from agecls.learn.routed import Member, RoutedNetwork, join_groups, mix, weigh

GROUPS, BINS = 3, 4
SCORES = st.floats(-20, 20, allow_nan=False)


def distributions(rows: int, width: int) -> st.SearchStrategy[Tensor]:
    return arrays(np.float64, (rows, width), elements=SCORES).map(lambda x: torch.softmax(torch.from_numpy(x), dim=1))


def members(rows: int = 6) -> st.SearchStrategy[list[Tensor]]:
    return st.lists(distributions(rows, BINS), min_size=GROUPS + 1, max_size=GROUPS + 1)


def answer(routing: Routing, group: Tensor, experts: list[Tensor], has: Tensor, threshold: float = 0.5) -> Tensor:
    truth = torch.tensor([-1, 0, 1, 2, 0, 1])
    return mix(weigh(routing, group, has, threshold=threshold, truth=truth), lambda each, rows: experts[each][rows])


@given(
    group=distributions(6, GROUPS),
    experts=members(),
    has=st.lists(st.booleans(), min_size=GROUPS, max_size=GROUPS),
    threshold=st.floats(0, 1),
)
def test_probabilities_of_every_routing_sum_to_one(
    group: Tensor, experts: list[Tensor], has: list[bool], threshold: float
) -> None:
    for routing in ROUTINGS:
        found = answer(routing, group, experts, torch.tensor(has), threshold)
        assert (found >= 0).all()
        torch.testing.assert_close(found.sum(dim=1), torch.ones(6, dtype=torch.float64))


@given(chosen=st.lists(st.integers(0, GROUPS - 1), min_size=6, max_size=6), experts=members(), has_all=st.booleans())
def test_soft_routing_by_a_one_hot_router_is_hard_routing(
    chosen: list[int], experts: list[Tensor], has_all: bool
) -> None:
    group = torch.nn.functional.one_hot(torch.tensor(chosen), GROUPS).double()
    has = torch.tensor([True, has_all, True])
    assert torch.equal(answer("soft", group, experts, has), answer("hard", group, experts, has))


@given(group=distributions(6, GROUPS), experts=members())
def test_abstain_lies_between_hard_and_flat(group: Tensor, experts: list[Tensor]) -> None:
    has = torch.ones(GROUPS, dtype=torch.bool)
    sure = group.max(dim=1).values
    assert torch.equal(answer("abstain", group, experts, has, 0.0), answer("hard", group, experts, has))
    above = answer("abstain", group, experts, has, float(sure.max()) + 1e-9)
    assert torch.equal(above, answer("flat", group, experts, has))
    middle = float(sure.median())
    found = answer("abstain", group, experts, has, middle)
    for routing, rows in (("hard", sure >= middle), ("flat", sure < middle)):
        assert torch.equal(found[rows], answer(routing, group, experts, has)[rows])  # type: ignore[arg-type]


def test_oracle_asks_the_expert_of_the_label_and_the_flat_model_where_it_is_unknown() -> None:
    group = torch.tensor([[0.9, 0.05, 0.05]] * 6, dtype=torch.float64)
    weights = weigh("oracle", group, torch.tensor([True, False, True]), truth=torch.tensor([-1, 0, 1, 2, 0, 1]))
    assert weights.argmax(dim=1).tolist() == [3, 0, 3, 2, 0, 3]
    with pytest.raises(ValueError, match="true groups"):
        weigh("oracle", group, torch.ones(3, dtype=torch.bool))


@given(first=distributions(5, 2), second=distributions(5, 3))
def test_groups_of_two_routers_are_every_pair_of_labels(first: Tensor, second: Tensor) -> None:
    joint = join_groups([first, second])
    assert joint.shape == (5, 6)
    torch.testing.assert_close(joint.sum(dim=1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(joint[:, 4], first[:, 1] * second[:, 1])


class Counted(nn.Module):
    """A small network that counts the images it has seen."""

    def __init__(self, classes: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(16, classes)
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        logits: Tensor = self.linear((images.flatten(1) - 0.5) * 9)
        return logits


def network(routing: Routing, threshold: float = 0.0, experts: int = GROUPS) -> tuple[RoutedNetwork, list[Counted]]:
    parts = [Counted(GROUPS, 0), *(Counted(BINS, 1 + number) for number in range(GROUPS)), Counted(BINS, 9)]
    made = [Member(each, "fp32") for each in parts]
    chosen = dict(enumerate(made[1 : 1 + experts]))
    return RoutedNetwork(made[:1], chosen, made[-1], GROUPS, routing, threshold).eval(), parts


@pytest.mark.parametrize("routing", ["flat", "hard", "soft", "abstain"])
@pytest.mark.parametrize("experts", [GROUPS, 2])
@torch.inference_mode()
def test_the_network_answers_what_the_weights_say(routing: Routing, experts: int) -> None:
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    routed, parts = network(routing, 0.6, experts)
    found = routed(images).exp()
    every = [torch.softmax(part(images).double(), dim=1) for part in parts]
    weights = weigh(routing, every[0], torch.tensor([number < experts for number in range(GROUPS)]), threshold=0.6)
    expected = torch.einsum("bm,mbk->bk", weights, torch.stack(every[1:]))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@torch.inference_mode()
def test_each_image_passes_the_router_once_and_only_the_expert_it_needs() -> None:
    images = torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(4))
    routed, (router, *others) = network("hard")
    routed(images)
    assert router.seen == 64
    *experts, flat = (each.seen for each in others)
    assert sum(experts) == 64
    assert max(experts) < 64  # a router that sends all images to one expert would prove nothing
    assert flat == 0
    routed, (router, *others) = network("abstain", 0.7)
    routed(images)
    assert router.seen == 64
    assert sum(each.seen for each in others) == 64
    assert others[-1].seen > 0


@torch.inference_mode()
def test_soft_routing_asks_every_expert_once() -> None:
    routed, (router, *others) = network("soft", experts=2)
    routed(torch.rand(10, 1, 4, 4))
    assert [router.seen, *(each.seen for each in others)] == [10, 10, 10, 0, 10]
