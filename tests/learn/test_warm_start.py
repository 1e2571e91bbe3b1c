"""Warm start: what is taken, what stays fresh, and what does not fit."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import RunError
from agecls.learn.lineage import Lineage
from agecls.learn.networks import build_network
from agecls.learn.run import Run
from agecls.learn.targets import Target, total_width
from agecls.learn.warm_start import WarmStart, refuse_other_network, reopen_parent
from agecls.train import TrainRequest, train


def fill(run: Run, targets: tuple[Target, ...], *settings: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    config = load_config("agecnn-cpu", run.task, settings).network
    lines: list[str] = []
    network = build_network(config, total_width(targets))
    WarmStart.load(run.folder, config).fill(network, config, targets, lines.append)
    return network.state_dict(), lines


def test_same_classes_take_everything(drawn_run: Run, tiny: tuple[str, ...]) -> None:
    taken, lines = fill(drawn_run, drawn_run.targets, *tiny)
    assert all(torch.equal(tensor, taken[name]) for name, tensor in drawn_run.tensors().items())
    assert lines[0].endswith("fresh: none")


def test_last_layer_stays_fresh_where_classes_of_equal_number_differ(drawn_run: Run, tiny: tuple[str, ...]) -> None:
    taken, lines = fill(drawn_run, (Target("age", "classes", Bins.parse("0-30,31-116")),), *tiny)
    old = drawn_run.tensors()
    assert not torch.equal(old["head.output.weight"], taken["head.output.weight"])
    assert all(torch.equal(old[name], taken[name]) for name in old if not name.startswith("head.output."))
    assert lines[0].endswith("fresh: head.output.weight, head.output.bias (the classes differ)")


def test_another_hidden_layer_takes_the_convolutions(drawn_run: Run, tiny: tuple[str, ...]) -> None:
    taken, lines = fill(drawn_run, drawn_run.targets, *tiny, "network.hidden=16")
    assert torch.equal(drawn_run.tensors()["backbone.features.0.weight"], taken["backbone.features.0.weight"])
    assert "fresh: head.hidden.0.weight, head.hidden.0.bias, head.output.weight" in lines[0]


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("network.image_size=64", "network.image_size is 32 there and 64 here"),
        ("network.channels=3", "network.channels is 1 there and 3 here"),
        ("network.features=4", "network.features is 8 there and 4 here"),
    ],
)
def test_other_network_is_refused_by_setting(drawn_run: Run, setting: str, named: str, tiny: tuple[str, ...]) -> None:
    with pytest.raises(RunError, match="do not fit") as refusal:
        fill(drawn_run, drawn_run.targets, *tiny, setting)
    assert refusal.value.got == named
    assert f"--set {setting.split('=')[0]}=" in refusal.value.remedy


def test_a_network_for_any_size_is_tuned_at_another_one(drawn_run: Run) -> None:
    config = load_config("agecnn", "gender", ["network.name=efficientnet_lite0", "network.image_size=32"])
    parent = dataclasses.replace(drawn_run, config=config)
    larger = load_config("agecnn", "gender", ["network.name=efficientnet_lite0", "network.image_size=64"]).network
    refuse_other_network(parent, larger)
    with pytest.raises(RunError, match="do not fit"):
        refuse_other_network(parent, larger.model_copy(update={"channels": 3}))
    with pytest.raises(RunError, match="do not fit") as refusal:
        refuse_other_network(drawn_run, larger)
    assert refusal.value.got == "network.name is agecnn there and efficientnet_lite0 here"
    assert refusal.value.remedy == "train with its settings: --set network.name=agecnn"


def test_weights_of_which_nothing_fits_are_refused(drawn_run: Run, tiny: tuple[str, ...]) -> None:
    config = load_config("agecnn-cpu", "gender", tiny).network
    start = WarmStart(drawn_run, Lineage.load(drawn_run.folder), {"other": torch.zeros(3)})
    with pytest.raises(RunError, match="no weights of run"):
        start.fill(build_network(config, 2), config, drawn_run.targets, lambda line: None)


@pytest.mark.parametrize("file", ["lineage.npz", "model.safetensors", "run.json"])
def test_parent_without_one_of_its_files_is_refused(
    file: str, drawn_run: Run, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    shutil.copytree(drawn_run.folder, tmp_path / "run")
    (tmp_path / "run" / file).unlink()
    with pytest.raises(RunError):
        WarmStart.load(tmp_path / "run", load_config("agecnn-cpu", "gender", tiny).network)


def test_a_parent_that_was_replaced_is_not_taken_again(
    drawn_run: Run, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    shutil.copytree(drawn_run.folder, tmp_path / "parent")
    request = TrainRequest(
        "gender", Bins.parse("4"), "4", drawn_split, drawn_split.roots([drawn_faces]),
        load_config("agecnn-cpu", "gender", [*tiny, "train.epochs=1"]), tmp_path / "child",
    )  # fmt: skip
    child = train(dataclasses.replace(request, init_from=tmp_path / "parent"), lambda line: None)
    assert reopen_parent(child)
    assert reopen_parent(drawn_run) is None
    Lineage.of("parent", "another split").save(tmp_path / "parent")
    with pytest.raises(RunError, match="is not the one"):
        reopen_parent(child)
