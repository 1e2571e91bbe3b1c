"""Networks: a backbone that gives features, and a head that makes logits of them."""

from collections.abc import Sequence

import torch
from torch import nn

from agecls.architectures import ARCHITECTURES, NetworkName
from agecls.config import NetworkConfig
from agecls.learn.networks.agecnn import AgeCNN
from agecls.learn.networks.backbone import Backbone
from agecls.learn.networks.bayesian import make_uncertain
from agecls.learn.networks.heads import BranchHeads, Head
from agecls.learn.networks.inception_resnet_v1 import MEAN, STD, InceptionResnetV1
from agecls.learn.networks.levi_hassner import LeviHassner
from agecls.learn.networks.network import Network, Normalise
from agecls.learn.networks.residual_attention import ResidualAttention
from agecls.learn.networks.timm_backbone import TimmBackbone, statistics
from agecls.learn.networks.two_branch import TwoBranch

_HALF = (0.5, 0.5, 0.5)


def build_network(
    config: NetworkConfig,
    classes: int,
    shared: Sequence[int] | None = None,
    gender: slice | None = None,
    first: int | None = None,
) -> Network:
    """Make a freshly initialised network.

    Args:
        config: its settings.
        classes: number of logits.
        shared: row of the output's weights that each logit uses; None where each has its own.
        gender: logits that answer gender, which ``branch=both`` takes from a branch of their own; None for the last.
        first: number of logits of the first task, which ``bayesian=half`` makes uncertain; None for all.
    """
    backbone = build_backbone(config)
    if isinstance(backbone, TwoBranch) and len(backbone.widths) == 2:
        widths = (backbone.widths["age"], backbone.widths["gender"])
        head: Head | BranchHeads = BranchHeads(widths, config, classes, gender or slice(classes - 1, classes), shared)
    else:
        head = Head(backbone.width, config, classes, shared)
    make_uncertain(head, config, first)
    return Network(build_normalisation(config), backbone, head)


def build_backbone(config: NetworkConfig) -> Backbone:
    """Make what gives the features, freshly initialised."""
    match config.name:
        case "agecnn":
            return AgeCNN(config.channels, config.image_size, **config.settings())
        case "levi_hassner":
            return LeviHassner(config.channels, config.image_size)
        case "two_branch":
            branch = config.settings()["branch"]
            return TwoBranch(config.channels, ("age", "gender") if branch == "both" else (branch,))
        case "inception_resnet_v1":
            return InceptionResnetV1(config.channels)
        case "residual_attention":
            return ResidualAttention(config.channels)
        case _:
            return TimmBackbone(config.name, config.channels)


def build_normalisation(config: NetworkConfig) -> nn.Module:
    """Make what the images pass first: the mean and deviation that published weights of the network expect."""
    match config.name:
        case "agecnn":
            return nn.Identity()  # it has a batch norm on its input
        case "levi_hassner" | "two_branch" | "residual_attention":
            return Normalise(_HALF, _HALF, config.channels)
        case "inception_resnet_v1":
            return Normalise(MEAN, STD, config.channels)
        case _:
            return Normalise(*statistics(config.name), config.channels)


def describe_networks(classes: int = 7) -> list[dict[str, object]]:
    """Every network as ``agecls models`` lists it, with RGB input of the recommended size.

    Args:
        classes: number of logits that are counted with.
    """
    return [_describe(name, classes) for name in ARCHITECTURES]


def _describe(name: NetworkName, classes: int) -> dict[str, object]:
    facts = ARCHITECTURES[name]
    # Neither memory nor time goes into tensors that are only counted.
    with torch.device("meta"):
        network = build_network(NetworkConfig(name=name, channels=3), classes)
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "image_size": facts.size,
        "least_size": facts.least,
        "blocks": len(network.backbone.blocks()),
        "imagenet": facts.imagenet,
        "weights": facts.weights,
        "reference": facts.reference,
    }
