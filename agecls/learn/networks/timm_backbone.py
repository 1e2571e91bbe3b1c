"""Backbones of timm."""

from collections.abc import Mapping
from typing import Any, Final, cast

import timm
from timm.models import group_parameters
from torch import Tensor, nn

from agecls.architectures import NetworkName
from agecls.learn.networks.backbone import Backbone, Block

TIMM: Final[Mapping[NetworkName, str]] = {
    "vgg16": "vgg16",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet152": "resnet152",
    "densenet121": "densenet121",
    "densenet201": "densenet201",
    "efficientnet_b0": "efficientnet_b0",
    "efficientnetv2_s": "tf_efficientnetv2_s",
    "efficientnetv2_m": "tf_efficientnetv2_m",
    "efficientnetv2_l": "tf_efficientnetv2_l",
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "mobilenetv3": "mobilenetv3_large_100",
}
"""Its names there; the ones with tf are those of which weights are published."""


class TimmBackbone(Backbone):
    """One of timm's networks without its classifier.

    Args:
        name: one of ``TIMM``.
        channels: C of the images.
    """

    def __init__(self, name: NetworkName, channels: int) -> None:
        super().__init__()
        self.model = timm.create_model(TIMM[name], num_classes=0, in_chans=channels)
        self.width = cast(int, self.model.head_hidden_size)

    @property
    def body(self) -> nn.Module:
        """The network of timm."""
        return self.model

    def blocks(self) -> list[Block]:
        """As timm groups them for rates that fall from layer to layer."""
        groups = group_parameters(self.model, cast(Any, self.model).group_matcher(coarse=False))
        owners = [dict.fromkeys(name.rpartition(".")[0] for name in names) for _, names in sorted(groups.items())]
        return [tuple(self.model.get_submodule(owner) for owner in each) for each in owners]

    def forward(self, images: Tensor) -> Tensor:
        """Features of shape (B, F)."""
        return self.model(images)  # type: ignore[no-any-return]


def statistics(name: NetworkName) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of the colours that the published weights were trained with."""
    made = timm.get_pretrained_cfg(TIMM[name])
    if made is None:
        raise TypeError(f"timm has no settings for {name}")
    return made.mean, made.std  # type: ignore[return-value]
