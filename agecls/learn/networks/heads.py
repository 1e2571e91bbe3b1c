"""From features to logits."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from agecls.config import NetworkConfig


class Head(nn.Module):
    """Hidden layers with ReLU, each followed by dropout, then the output; dropout alone where none is hidden.

    Args:
        width: number of features F.
        config: hidden neurons (0 for no hidden layer), hidden layers and dropout.
        classes: number of logits K.
        shared: row of the output's weights that each logit uses; None where each has its own.
    """

    def __init__(self, width: int, config: NetworkConfig, classes: int, shared: Sequence[int] | None = None) -> None:
        super().__init__()
        widths = [width, *[config.hidden] * (config.hidden_layers if config.hidden else 0)]
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.dropout = nn.Dropout(config.dropout)
        self.output: nn.Module = nn.Linear(widths[-1], classes) if shared is None else SharedLinear(widths[-1], shared)

    @property
    def first_hidden(self) -> tuple[nn.Module, ...]:
        """The first hidden layer, for freezing."""
        return tuple(self.hidden[:1])

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, F)."""
        if not self.hidden:
            features = self.dropout(features)
        for layer in self.hidden:
            features = self.dropout(torch.relu(layer(features)))
        return self.output(features)  # type: ignore[no-any-return]


class BranchHeads(nn.Module):
    """A head on each branch of ``two_branch``: one for gender, one for all else.

    Args:
        widths: number of features of the age branch and of the gender branch, which come side by side.
        config: of each head.
        classes: number of logits K of both together.
        gender: which of them are gender's.
        shared: as ``Head`` takes it, for all K.
    """

    def __init__(
        self, widths: tuple[int, int], config: NetworkConfig, classes: int, gender: slice, shared: Sequence[int] | None
    ) -> None:
        super().__init__()
        self.width, self.gender_from = widths[0], gender.start
        count = len(range(*gender.indices(classes)))
        rows = None if shared is None else [*shared[: gender.start], *shared[gender.stop :]]
        ranks = rows and [sorted(set(rows)).index(row) for row in rows]
        self.age = Head(widths[0], config, classes - count, ranks)
        self.gender = Head(widths[1], config, count)

    @property
    def first_hidden(self) -> tuple[nn.Module, ...]:
        """The first hidden layers, for freezing."""
        return self.age.first_hidden + self.gender.first_hidden

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, F)."""
        others, gender = self.age(features[:, : self.width]), self.gender(features[:, self.width :])
        return torch.cat([others[:, : self.gender_from], gender, others[:, self.gender_from :]], dim=1)


class SharedLinear(nn.Module):
    """A linear layer some of whose outputs have one row of weights and a bias each.

    Args:
        width: number of inputs H.
        rows: row of weights of each output, ascending from 0, each at most one more than the one before.
    """

    rows: Tensor

    def __init__(self, width: int, rows: Sequence[int]) -> None:
        super().__init__()
        drawn = nn.Linear(width, rows[-1] + 1)
        self.weight = drawn.weight
        self.register_buffer("rows", torch.tensor(rows), persistent=False)
        bias = drawn.bias.detach()[torch.tensor(rows)]
        for row in set(rows):
            count = rows.count(row)
            if count > 1:
                first = rows.index(row)
                # Thresholds start in order, as coral_pytorch has them: from likely to unlikely.
                bias[first : first + count] = torch.linspace(1, -1, count)
        self.bias = nn.Parameter(bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (B, K) of inputs (B, H)."""
        return nn.functional.linear(inputs, self.weight)[:, self.rows] + self.bias
