"""Which networks there are: what each takes, its input, where trained weights come from, and its source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

NetworkName = Literal[
    "agecnn",
    "levi_hassner",
    "two_branch",
    "vgg16",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet152",
    "densenet121",
    "densenet201",
    "efficientnet_b0",
    "efficientnetv2_s",
    "efficientnetv2_m",
    "efficientnetv2_l",
    "efficientnet_lite0",
    "mobilenetv3",
    "inception_resnet_v1",
    "residual_attention",
]

HEAD_SETTINGS: Final = ("hidden", "hidden_layers", "dropout")
"""Settings every network takes, each with a default of its own."""

OWN_SETTINGS: Final = ("layers", "features", "input_norm", "branch")
"""Settings that some networks take alone."""


@dataclass(frozen=True)
class Architecture:
    """One network.

    Attributes:
        reference: paper or source.
        size: recommended side of its input in pixels.
        least: smallest side it works on.
        head: defaults of ``HEAD_SETTINGS``.
        fixed_size: whether its weights are for one size of input.
        own: defaults of those of ``OWN_SETTINGS`` it takes.
        imagenet: where its ImageNet weights come from; empty where there are none.
        weights: what else ``--weights`` is known to take for it.
    """

    reference: str
    size: int = 224
    least: int = 32
    head: Mapping[str, Any] = field(default_factory=lambda: _head())
    own: Mapping[str, Any] = field(default_factory=dict)
    fixed_size: bool = False
    imagenet: str = ""
    weights: str = ""

    @property
    def defaults(self) -> dict[str, Any]:
        """Default of every setting it takes."""
        return {"image_size": self.size, **self.head, **self.own}


def _head(hidden: int = 0, dropout: float = 0.0, layers: int = 1) -> dict[str, Any]:
    return {"hidden": hidden, "hidden_layers": layers, "dropout": dropout}


_RESNET: Final = "He et al. 2016, arXiv:1512.03385"
_DENSENET: Final = "Huang et al. 2017, arXiv:1608.06993"
_EFFICIENTNET_V2: Final = "Tan and Le 2021, arXiv:2104.00298"

ARCHITECTURES: Final[dict[NetworkName, Architecture]] = {
    "agecnn": Architecture(
        "the study's CNN of 1 to 5 layers",
        least=16,
        head=_head(132, 0.6),
        own={"layers": 4, "features": 64, "input_norm": True},
        fixed_size=True,
    ),
    "levi_hassner": Architecture(
        "Levi and Hassner 2015, doi:10.1109/CVPRW.2015.7301352",
        227,
        35,
        head=_head(512, 0.5, layers=2),
        fixed_size=True,
    ),
    "two_branch": Architecture(
        "shared layers, then a branch for gender or age",
        128,
        head=_head(128, 0.5),
        own={"branch": "age"},
    ),
    "vgg16": Architecture("Simonyan and Zisserman 2015, arXiv:1409.1556", head=_head(0, 0.5), imagenet="timm"),
    "resnet18": Architecture(_RESNET, imagenet="timm"),
    "resnet34": Architecture(_RESNET, imagenet="timm"),
    "resnet50": Architecture(_RESNET, imagenet="timm"),
    "resnet152": Architecture(_RESNET, imagenet="timm"),
    "densenet121": Architecture(_DENSENET, imagenet="timm"),
    "densenet201": Architecture(_DENSENET, imagenet="timm"),
    "efficientnet_b0": Architecture("Tan and Le 2019, arXiv:1905.11946", head=_head(0, 0.2), imagenet="timm"),
    "efficientnetv2_s": Architecture(_EFFICIENTNET_V2, 300, head=_head(0, 0.2), imagenet="timm"),
    "efficientnetv2_m": Architecture(_EFFICIENTNET_V2, 384, head=_head(0, 0.3), imagenet="timm"),
    "efficientnetv2_l": Architecture(_EFFICIENTNET_V2, 384, head=_head(0, 0.4), imagenet="timm"),
    "efficientnet_lite0": Architecture(
        "Liu 2020, EfficientNet-Lite, after arXiv:1905.11946",
        head=_head(0, 0.2),
        imagenet="agecls[lite0] or timm",
    ),
    "mobilenetv3": Architecture(
        "Howard et al. 2019 (large), arXiv:1905.02244", head=_head(0, 0.2), imagenet="timm"
    ),
    "inception_resnet_v1": Architecture(
        "Szegedy et al. 2017, arXiv:1602.07261, as in FaceNet",
        160,
        80,
        _head(0, 0.6),
        weights="facenet-pytorch's files",
    ),
    "residual_attention": Architecture("Wang et al. 2017 (Attention-56), arXiv:1704.06904"),
}  # fmt: skip
"""Every network; ``agecls models`` prints them."""

WITH_IMAGENET: Final = tuple(name for name, each in ARCHITECTURES.items() if each.imagenet)
"""Networks of which ImageNet weights are published."""


def takers(setting: str) -> list[str]:
    """Names of the networks that take a setting."""
    return [name for name, each in ARCHITECTURES.items() if setting in each.defaults]


if set(ARCHITECTURES) != set(get_args(NetworkName)):  # pragma: no cover - a slip in this file
    raise TypeError("ARCHITECTURES and NetworkName differ")
