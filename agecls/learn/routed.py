"""Routing: which experts answer for an image, and with what weight."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from agecls.hierarchy_config import Routing
from agecls.learn.remembered import Precision


def join_groups(routers: Sequence[Tensor]) -> Tensor:
    """Probability of each group from those of its labels, taken as independent given the image.

    Args:
        routers: probabilities of each router, shapes (B, L1), (B, L2), ...

    Returns:
        Shape (B, L1 * L2 * ...), the last router's label running fastest; rows sum to 1.
    """
    joint = routers[0]
    for each in routers[1:]:
        joint = (joint.unsqueeze(2) * each.unsqueeze(1)).flatten(1)
    return joint


def weigh(
    routing: Routing,
    group: Tensor,
    has_expert: Tensor,
    *,
    threshold: float = 0.0,
    truth: Tensor | None = None,
) -> Tensor:
    """Weight of each expert, and of the flat model, in the answer for each image.

    ``hard`` asks the expert of the most probable group, ``soft`` all experts by P(group | image), ``oracle`` that of
    the true group, ``abstain`` that of the most probable group or, where its probability is below ``threshold``, the
    flat model, and ``flat`` the flat model always. The flat model stands in for a group without an expert.

    Args:
        routing: which of them.
        group: P(group | image), shape (B, G), rows sum to 1.
        has_expert: bool, shape (G,).
        threshold: for ``abstain``, in 0..1.
        truth: for ``oracle``, index of the true group, shape (B,); -1 where it is unknown, and flat answers.

    Returns:
        Shape (B, G + 1), the flat model last; rows sum to 1.
    """
    rows, groups = group.shape
    weights = group.new_zeros(rows, groups + 1)
    best = group.argmax(dim=1)
    match routing:
        case "flat":
            weights[:, -1] = 1
            return weights
        case "soft":
            weights[:, :-1] = group
        case "hard":
            weights.scatter_(1, best.unsqueeze(1), 1)
        case "abstain":
            sure = group.gather(1, best.unsqueeze(1)).squeeze(1) >= threshold
            weights.scatter_(1, torch.where(sure, best, groups).unsqueeze(1), 1)
        case "oracle":
            if truth is None:
                raise ValueError("the oracle needs the true groups")
            weights.scatter_(1, torch.where(truth >= 0, truth, groups).unsqueeze(1), 1)
    lacking = ~has_expert
    weights[:, -1] += weights[:, :-1][:, lacking].sum(dim=1)
    weights[:, :-1][:, lacking] = 0
    return weights


def mix(weights: Tensor, answer: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Weighted mean of the answers of those members that have a weight, asked only for the images where they have one.

    Args:
        weights: shape (B, M).
        answer: given a member's number and the numbers of its images, shape (b,), gives probabilities, shape (b, K).

    Returns:
        Shape (B, K), float64.
    """
    mixed: Tensor | None = None
    for member in range(weights.shape[1]):
        rows = torch.nonzero(weights[:, member]).squeeze(1)
        if not len(rows):
            continue
        found = answer(member, rows).double()
        if mixed is None:
            mixed = torch.zeros(len(weights), found.shape[1], dtype=torch.float64, device=found.device)
        mixed.index_add_(0, rows, weights[rows, member].double().unsqueeze(1) * found)
    if mixed is None:
        raise ValueError("no member has a weight")
    return mixed


class Member(nn.Module):
    """A trained network that gives log probabilities in the precision it was trained in.

    Args:
        network: what ``Run.network`` gives.
        precision: of its inner products; the softmax is float64.
    """

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, images: Tensor) -> Tensor:
        """Log probabilities (B, K) float64 of float32 images (B, C, S, S) in 0..1."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.network(images)
        return torch.log_softmax(logits.double(), dim=1)


class RoutedNetwork(nn.Module):
    """Routers, experts and the flat model as one network: each image passes each router once, then what it needs.

    Args:
        routers: one for each label of the chain, in its order.
        experts: by number of the group; a missing group is answered by the flat model.
        flat: the model of all images.
        groups: number of groups, the product of the routers' classes.
        routing: how to route; ``oracle`` cannot be used here.
        threshold: for ``abstain``, in 0..1.
    """

    def __init__(
        self,
        routers: Sequence[Member],
        experts: Mapping[int, Member],
        flat: Member,
        groups: int,
        routing: Routing,
        threshold: float = 0.0,
    ) -> None:
        super().__init__()
        self.routers = nn.ModuleList(routers)
        self.members = nn.ModuleDict({str(number): expert for number, expert in experts.items()} | {str(groups): flat})
        self.register_buffer("has_expert", torch.tensor([number in experts for number in range(groups)]))
        self.routing, self.threshold = routing, threshold

    def forward(self, images: Tensor) -> Tensor:
        """Log probabilities (B, K) float64 of float32 images (B, C, S, S) in 0..1."""
        group = join_groups([router(images).exp() for router in self.routers])
        has_expert = self.get_buffer("has_expert")
        weights = weigh(self.routing, group, has_expert, threshold=self.threshold)

        def answer(member: int, rows: Tensor) -> Tensor:
            asked = images if len(rows) == len(images) else images[rows].contiguous(memory_format=torch.channels_last)
            found: Tensor = self.members[str(member)](asked)
            return found.exp()

        return mix(weights, answer).clamp_min(torch.finfo(torch.float64).tiny).log()
