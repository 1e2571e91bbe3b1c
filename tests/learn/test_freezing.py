"""Freezing and rates by depth: what stays as it is, down to the statistics of batch norms, and what moves how fast."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agecls.bins import Bins
from agecls.config import Config, ScheduleConfig, TransferConfig
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import ConfigError
from agecls.learn.freezing import check_freezing, count_frozen, freeze, frozen_blocks
from agecls.learn.networks import build_network
from agecls.learn.networks.network import Network
from agecls.learn.optimizers import build_optimizer, build_schedule, parameter_groups
from agecls.learn.run import Run
from agecls.train import TrainRequest, train

SMALL = ("network.name=resnet18", "network.image_size=32", "network.hidden=8")


def settings(*overrides: str) -> Config:
    return load_config("agecnn", "age", [*SMALL, *overrides])


def build(config: Config) -> Network:
    """A network without the zeros that timm starts the last batch norm of each block with: they pass no gradient."""
    torch.manual_seed(0)
    network = build_network(config.network, 3)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network


def step(network: Network, config: Config, epoch: int = 0) -> dict[str, bool]:
    """Train one step with weight decay; say of each tensor but counters whether it has changed."""
    before = copy.deepcopy(network.state_dict())
    freeze(network.train(), config.transfer, epoch)
    optimizer = build_optimizer(config.optimizer, parameter_groups(network, config))
    chance = torch.Generator().manual_seed(epoch)
    logits = network(torch.rand(8, 1, 32, 32, generator=chance))
    nn.functional.cross_entropy(logits, torch.arange(8) % 3).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return {
        name: not torch.equal(before[name], tensor)
        for name, tensor in network.state_dict().items()
        if not name.startswith("normalise.")
    }


@pytest.mark.parametrize(
    ("overrides", "trained"),
    [
        ([], ("backbone.", "head.")),
        (["freeze=backbone"], ("head.",)),
        (["freeze=backbone+hidden"], ("head.output.",)),
        (["freeze=all-but-last", "trainable_blocks=1"], ("backbone.model.layer4.1.", "head.")),
        (
            ["freeze=all-but-last", "trainable_blocks=3"],
            ("backbone.model.layer4.", "backbone.model.layer3.1.", "head."),
        ),
        (["freeze=gradual", "unfreeze_every=2"], ("head.",)),
    ],
)
def test_what_is_frozen_stays_as_it_is_with_its_statistics(overrides: list[str], trained: tuple[str, ...]) -> None:
    config = settings("optimizer.name=adamw", "optimizer.weight_decay=0.5", *overrides)
    network = build(config)
    changed = step(network, config)
    assert {name for name, moved in changed.items() if moved} == {name for name in changed if name.startswith(trained)}
    # Through Lightning's own changes of mode as well.
    network.eval()
    network.train()
    norms = {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert all(norm.training == f"{name}.".startswith(trained) for name, norm in norms.items())
    still = sum(tensor.numel() for name, tensor in network.named_parameters() if not name.startswith(trained))
    assert count_frozen(network, config.transfer, 0) == still
    assert sum(tensor.numel() for tensor in network.parameters() if not tensor.requires_grad) == still


def test_gradual_thaws_one_block_after_another_from_the_features_down() -> None:
    config = TransferConfig(freeze="gradual", unfreeze_every=2)
    assert [frozen_blocks(config, 3, epoch) for epoch in range(9)] == [3, 3, 2, 2, 1, 1, 0, 0, 0]
    tree = settings("freeze=gradual", "unfreeze_every=2")
    network = build(tree)
    assert not any(moved for name, moved in step(network, tree, epoch=1).items() if name.startswith("backbone."))
    moved = {name for name, changed in step(network, tree, epoch=2).items() if changed}
    assert {name for name in moved if name.startswith("backbone.")} == {
        name for name in network.state_dict() if name.startswith("backbone.model.layer4.1.")
    }


def test_more_blocks_than_there_are_is_refused() -> None:
    check_freezing(settings("freeze=all-but-last", "trainable_blocks=9"))
    with pytest.raises(ConfigError, match="trainable_blocks cannot be used") as refusal:
        check_freezing(settings("freeze=all-but-last", "trainable_blocks=10"))
    assert refusal.value.got == "10 blocks to train, 9 in the backbone"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["freeze=all-but-last"], "freeze=all-but-last needs trainable_blocks"),
        (["freeze=gradual"], "freeze=gradual needs unfreeze_every"),
        (["trainable_blocks=2"], "trainable_blocks belongs to freeze=all-but-last"),
        (["freeze=backbone", "unfreeze_every=2"], "unfreeze_every belongs to freeze=gradual"),
        (["freeze=backbone+hidden", "network.hidden=0"], "resnet18 has none; set network.hidden"),
        (["pretrained=imagenet", "transfer.weights=a.pt"], "both say where to start"),
        (["network.name=levi_hassner", "network.image_size=64", "pretrained=imagenet"], "no ImageNet weights of levi"),
        (["freeze=bakcbone"], "did you mean backbone"),
        (["backbone_lr=0"], "greater than 0"),
        (["layer_decay=1.5"], "less than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        settings(*overrides)
    assert message in str(refusal.value)


def test_rates_fall_from_the_head_to_the_input() -> None:
    config = settings("optimizer.lr=0.1", "backbone_lr=0.5", "layer_decay=0.8")
    network = build_network(config.network, 3)
    groups = parameter_groups(network, config)
    rate = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    assert set(rate) == set(network.parameters())
    assert sum(len(group["params"]) for group in groups) == len(rate)
    named = {name: rate[parameter] for name, parameter in network.named_parameters()}
    assert named["head.output.weight"] == named["head.hidden.0.bias"] == pytest.approx(0.1)
    assert named["backbone.model.layer4.1.conv1.weight"] == pytest.approx(0.1 * 0.5)
    assert named["backbone.model.layer4.0.bn1.bias"] == pytest.approx(0.1 * 0.5 * 0.8)
    assert named["backbone.model.conv1.weight"] == pytest.approx(0.1 * 0.5 * 0.8**8)
    optimizer = build_optimizer(config.optimizer, groups)
    schedule = build_schedule(ScheduleConfig(name="onecycle"), optimizer, 0.1, 10)
    assert schedule is not None
    peaks = [group["max_lr"] for group in optimizer.param_groups]
    assert peaks == pytest.approx([group["lr_scale"] * 0.1 for group in optimizer.param_groups])


def test_without_rates_by_depth_there_is_one_group_in_the_order_of_the_network() -> None:
    # Checkpoints of older runs have one group, and know its members by their place.
    config = settings()
    network = build_network(config.network, 3)
    (group,) = parameter_groups(network, config)
    assert all(one is other for one, other in zip(group["params"], network.parameters(), strict=True))


def test_rates_by_depth_move_weights_by_depth() -> None:
    config = settings("optimizer.name=sgd", "optimizer.weight_decay=0", "optimizer.lr=0.1", "backbone_lr=0.01")
    slow = build(config)
    fast = copy.deepcopy(slow)
    start = copy.deepcopy(slow.state_dict())
    step(slow, config)
    step(fast, settings("optimizer.name=sgd", "optimizer.weight_decay=0", "optimizer.lr=0.1"))

    def moved(network: Network, name: str) -> Tensor:
        moved: Tensor = network.state_dict()[name] - start[name]
        return moved

    for name, share in (("backbone.model.layer4.1.bn2.bias", 0.01), ("head.output.weight", 1.0)):
        torch.testing.assert_close(moved(slow, name), share * moved(fast, name), rtol=1e-3, atol=1e-7)


LITE = (
    "network.name=efficientnet_lite0", "network.image_size=32", "train.batch_size=32", "train.epochs=4",
    "train.precision=fp32", "optimizer.lr=0.001",
)  # fmt: skip


def ask(split: Split, faces: Path, out: Path, *overrides: str, **changes: Any) -> TrainRequest:
    config = load_config("agecnn-cpu", "gender", [*LITE, *overrides])
    request = TrainRequest("gender", Bins.parse("4"), "4", split, split.roots([faces]), config, out)
    return dataclasses.replace(request, **changes)


def test_gradual_thawing_goes_on_after_a_stop_as_if_there_had_been_none(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path
) -> None:
    settings = ("freeze=gradual", "unfreeze_every=1", "layer_decay=0.7")
    whole = train(ask(drawn_split, drawn_faces, tmp_path / "whole", *settings), lambda line: None)

    class Stop(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch 3/"):
            raise Stop

    request = ask(drawn_split, drawn_faces, tmp_path / "cut", *settings)
    with pytest.raises(Stop):
        train(request, stop)
    resumed = train(dataclasses.replace(request, resume=True), lambda line: None)
    assert resumed.metrics["valid_macro_f1"] == whole.metrics["valid_macro_f1"]
    old, new = (torch.load(run.folder / "last.ckpt", weights_only=True)["state_dict"] for run in (whole, resumed))
    assert all(torch.equal(old[key], new[key]) for key in old)


def test_a_parents_backbone_is_kept_where_it_is_frozen(drawn_split: Split, drawn_faces: Path, tmp_path: Path) -> None:
    parent = train(ask(drawn_split, drawn_faces, tmp_path / "parent", "train.epochs=1"), lambda line: None)
    lines: list[str] = []
    request = ask(drawn_split, drawn_faces, tmp_path / "child", "train.epochs=1", "freeze=backbone")
    child = train(dataclasses.replace(request, init_from=parent.folder), lines.append)
    old, new = parent.tensors(), Run.load(child.folder).tensors()
    assert all(torch.equal(old[name], new[name]) for name in old if name.startswith(("backbone.", "normalise.")))
    assert not torch.equal(old["head.output.weight"], new["head.output.weight"])
    said = next(line for line in lines if line.startswith("frozen"))
    assert said == "frozen     3,370,432 of 3,372,994 parameters (backbone)"
