"""What every backbone offers: features, and its blocks from the input to the features."""

from collections.abc import Sequence

from torch import Tensor, nn

Block = tuple[nn.Module, ...]


class Backbone(nn.Module):
    """Images of shape (B, C, S, S), float, to features of shape (B, F).

    Attributes:
        width: the number of features F.
    """

    width: int

    @property
    def body(self) -> nn.Module:
        """The module whose tensor names are those of published weights."""
        return self

    def blocks(self) -> Sequence[Block]:
        """Modules that are frozen together and share a learning rate, from the input up; each parameter once."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, F) of images (B, C, S, S)."""
        raise NotImplementedError
