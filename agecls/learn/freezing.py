"""Freezing: parts of a network that training leaves as they are."""

import torch
from torch import nn

from agecls.config import Config, TransferConfig
from agecls.errors import ConfigError
from agecls.learn.networks import build_backbone
from agecls.learn.networks.heads import BranchHeads, Head
from agecls.learn.networks.network import Network


def frozen_blocks(config: TransferConfig, blocks: int, epoch: int) -> int:
    """How many blocks of the backbone, counted from the input, are frozen.

    Args:
        config: what to freeze.
        blocks: how many there are.
        epoch: counted from 0.

    Raises:
        ConfigError: more blocks are to train than there are.
    """
    match config.freeze:
        case "none":
            return 0
        case "backbone" | "backbone+hidden":
            return blocks
        case "all-but-last":
            trained = config.trainable_blocks or 0
            if trained > blocks:
                raise ConfigError(
                    "setting transfer.trainable_blocks cannot be used",
                    got=f"{trained} blocks to train, {blocks} in the backbone",
                    remedy="name fewer; agecls models lists the blocks of every network",
                )
            return blocks - trained
        case "gradual":
            return max(0, blocks - epoch // (config.unfreeze_every or 1))


def check_freezing(config: Config) -> None:
    """Refuse, before anything is made, to train more blocks than there are.

    Raises:
        ConfigError: they are more.
    """
    if config.transfer.freeze == "all-but-last":
        with torch.device("meta"):
            frozen_blocks(config.transfer, len(build_backbone(config.network).blocks()), epoch=0)


def freeze(network: Network, config: TransferConfig, epoch: int) -> None:
    """Freeze what is to be frozen in an epoch, and thaw the rest.

    A frozen parameter gets no gradient; a frozen batch norm keeps its statistics and works with them, and so does
    everything else that behaves otherwise in training.

    Args:
        network: keeps its mode, ``train`` or ``eval``.
        config: what to freeze.
        epoch: counted from 0.

    Raises:
        ConfigError: more blocks are to train than there are.
    """
    network.requires_grad_(True)
    network.frozen = tuple(_frozen_modules(network, config, epoch))
    for module in network.frozen:
        module.requires_grad_(False)
    network.train(network.training)


def count_frozen(network: Network, config: TransferConfig, epoch: int) -> int:
    """How many single weights are frozen in an epoch; the network stays as it is.

    Raises:
        ConfigError: more blocks are to train than there are.
    """
    modules = _frozen_modules(network, config, epoch)
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def _frozen_modules(network: Network, config: TransferConfig, epoch: int) -> list[nn.Module]:
    blocks = network.backbone.blocks()
    frozen = [module for block in blocks[: frozen_blocks(config, len(blocks), epoch)] for module in block]
    if config.freeze == "backbone+hidden" and isinstance(network.head, Head | BranchHeads):
        frozen.extend(network.head.first_hidden)
    return frozen
