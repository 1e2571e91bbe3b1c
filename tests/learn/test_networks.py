"""Networks: each one builds, learns a step, keeps its weights, and is as large as its source says."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from agecls.architectures import ARCHITECTURES, NetworkName
from agecls.config import NetworkConfig, OptimizerConfig
from agecls.config_files import load_config
from agecls.errors import ConfigError
from agecls.learn.networks import build_backbone, build_network, describe_networks
from agecls.learn.networks.inception_resnet_v1 import InceptionResnetV1
from agecls.learn.networks.levi_hassner import LeviHassner
from agecls.learn.networks.network import Network, Normalise
from agecls.learn.networks.residual_attention import ResidualAttention
from agecls.learn.networks.two_branch import TwoBranch
from agecls.learn.optimizers import build_optimizer
from agecls.learn.targets import refuse_idle

NAMES: tuple[NetworkName, ...] = get_args(NetworkName)
LARGE = frozenset({"vgg16", "resnet152", "efficientnetv2_m", "efficientnetv2_l"})
"""Built without memory here: their layers are those of the smaller ones."""


def config_of(name: str, channels: int = 1, **settings: object) -> NetworkConfig:
    least = ARCHITECTURES[name].least  # type: ignore[index]
    return NetworkConfig.model_validate({"name": name, "image_size": max(32, least), "channels": channels, **settings})


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def images(config: NetworkConfig, number: int = 4) -> Tensor:
    chance = torch.Generator().manual_seed(0)
    return torch.rand(number, config.channels, config.image_size, config.image_size, generator=chance)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", sorted(set(NAMES) - LARGE))
def test_learns_two_steps(name: NetworkName, channels: int) -> None:
    torch.manual_seed(0)
    config = config_of(name, channels)
    network = build_network(config, 3).train()
    before = [parameter.clone() for parameter in network.parameters()]
    optimizer = build_optimizer(OptimizerConfig(lr=1e-3, weight_decay=0.0), network.parameters())
    batch, targets = images(config), torch.tensor([0, 1, 2, 0])
    for _ in range(2):
        optimizer.zero_grad()
        logits = network(batch)
        loss = nn.functional.cross_entropy(logits, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        assert logits.shape == (4, 3)
        assert torch.isfinite(loss)
    assert all(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    assert network.features(batch).shape == (4, network.backbone.width)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", sorted(LARGE))
def test_large_ones_give_logits(name: NetworkName, channels: int) -> None:
    config = config_of(name, channels)
    with torch.device("meta"):
        network = build_network(config, 3)
        assert network(torch.rand(2, channels, config.image_size, config.image_size)).shape == (2, 3)


@pytest.mark.parametrize("name", NAMES)
def test_works_from_its_least_size_and_is_refused_below(name: NetworkName) -> None:
    least = ARCHITECTURES[name].least
    config = config_of(name, image_size=least)
    with torch.device("meta"):
        assert build_network(config, 3).train()(torch.rand(2, 1, least, least)).shape == (2, 3)
    if least > 16:
        with pytest.raises(ConfigError, match=f"image_size {least - 1} is too small for {name}: it needs {least}"):
            load_config("agecnn", "age", [f"network.name={name}", f"network.image_size={least - 1}"])


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_stands_in_one_block(name: NetworkName) -> None:
    with torch.device("meta"):
        backbone = build_backbone(config_of(name))
    found = [parameter for block in backbone.blocks() for module in block for parameter in module.parameters()]
    assert len(found) == len(set(found))
    assert set(found) == set(backbone.parameters())
    assert all(block for block in backbone.blocks())
    stem = {id(parameter) for module in backbone.blocks()[0] for parameter in module.parameters()}
    assert id(next(backbone.parameters())) in stem


@pytest.mark.parametrize("name", ["agecnn", "levi_hassner", "two_branch", "inception_resnet_v1", "efficientnet_lite0"])
def test_weights_go_into_a_file_and_back(name: NetworkName) -> None:
    config = config_of(name)
    torch.manual_seed(1)
    first = build_network(config, 3)
    torch.manual_seed(2)
    second = build_network(config, 3)
    state = {key: tensor.contiguous() for key, tensor in first.state_dict().items()}
    second.load_state_dict(load(save(state)))
    with torch.no_grad():
        assert torch.equal(first.eval()(images(config)), second.eval()(images(config)))


def test_levi_hassner_is_as_large_as_the_papers() -> None:
    # Levi and Hassner 2015, section 3.2: 96 x 28 x 28 and 256 x 14 x 14 maps of 227 px, two hidden layers of 512.
    config = NetworkConfig(name="levi_hassner", channels=3)
    backbone = LeviHassner(3, 227)
    maps = backbone.pool(backbone.conv1(torch.zeros(1, 3, 227, 227)))
    assert maps.shape == (1, 96, 28, 28)
    assert backbone.pool(backbone.conv2(maps)).shape == (1, 256, 14, 14)
    assert backbone.width == 384 * 7 * 7
    convolutions = (3 * 49 + 1) * 96 + (96 * 25 + 1) * 256 + (256 * 9 + 1) * 384
    hidden = (384 * 49 + 1) * 512 + (512 + 1) * 512
    with torch.device("meta"):
        network = build_network(config, 8)
    assert count(network) == convolutions + hidden + (512 + 1) * 8 == 11_415_048
    assert [layer.out_features for layer in network.head.hidden] == [512, 512]  # type: ignore[union-attr]


def test_inception_resnet_v1_is_as_large_as_facenets() -> None:
    # facenet-pytorch's InceptionResnetV1: 23,482,624 to the embedding, 27,910,327 with VGGFace2's 8,631 identities.
    with torch.device("meta"):
        backbone = InceptionResnetV1(3)
        assert count(backbone) == 23_482_624
        assert count(build_network(NetworkConfig(name="inception_resnet_v1", channels=3), 8631)) == 27_910_327
    names = set(backbone.state_dict())
    assert {"conv2d_1a.conv.weight", "repeat_1.0.branch0.conv.weight", "repeat_2.9.branch1.2.bn.running_var"} <= names
    assert {"mixed_6a.branch1.2.conv.weight", "mixed_7a.branch2.2.bn.bias", "block8.conv2d.bias"} <= names
    assert {"repeat_3.4.conv2d.weight", "last_linear.weight", "last_bn.running_mean"} <= names


def test_residual_attention_is_as_large_as_the_papers() -> None:
    # Wang et al. 2017: Attention-56 has 31.9 million parameters with 1,000 classes. The paper leaves open where biases
    # and bridges stand, which decides about the rest.
    with torch.device("meta"):
        network = build_network(NetworkConfig(name="residual_attention", channels=3), 1000)
    assert count(network) == pytest.approx(31.9e6, rel=0.005)
    # "56" counts layers with weights along the trunk: the first convolution, three to a unit, and the output. Units:
    # one before each of three attention modules, one at each end and two in the trunk of each, and three at the end.
    units = 3 * (1 + 1 + 2 + 1) + 3
    assert 1 + 3 * units + 1 == 56


@torch.no_grad()
def test_attention_multiplies_the_trunk_by_one_to_two() -> None:
    network = ResidualAttention(1).eval()
    attention: Any = network.stages[1]
    maps = torch.rand(1, 256, 8, 8)
    mask = attention.mask(attention.before(maps))
    assert mask.shape == maps.shape
    assert 0 < float(mask.min()) < float(mask.max()) < 1


def test_two_branches_share_three_layers_and_age_goes_deeper() -> None:
    network = TwoBranch(3, ("age", "gender")).eval()
    convolutions = {
        name: [module.out_channels for module in part.modules() if isinstance(module, nn.Conv2d)]
        for name, part in (("shared", network.shared), *network.branches.items())
    }
    assert convolutions == {"shared": [16, 32, 64], "gender": [128], "age": [128, 256, 512]}
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 512 + 128)
    layer = 9 * 3 * 16 + 9 * 16 * 32 + 9 * 32 * 64 + 3 * (16 + 32 + 64)  # 3x3 weights; a bias and two of a batch norm
    assert count(TwoBranch(3, ("gender",))) == layer + 9 * 64 * 128 + 3 * 128
    assert count(TwoBranch(3, ("age",))) == layer + 9 * (64 * 128 + 128 * 256 + 256 * 512) + 3 * (128 + 256 + 512)


def test_branch_is_chosen_by_setting() -> None:
    assert build_backbone(config_of("two_branch", branch="gender")).width == 128
    assert build_backbone(config_of("two_branch")).width == 512
    with pytest.raises(ConfigError, match="branch=both answers gender and something else"):
        refuse_idle("age", load_config("agecnn", "age", ["network.name=two_branch", "network.branch=both"]))


@pytest.mark.parametrize("shared", [None, (0, 1, 2, 3, 3, 3)])
def test_both_branches_answer_their_own_outputs(shared: tuple[int, ...] | None) -> None:
    network = build_network(config_of("two_branch", branch="both"), 6, shared, slice(1, 3)).eval()
    of_gender = {name for name, _ in network.named_parameters() if "gender" in name}
    of_age = {name for name, _ in network.named_parameters() if ".age" in name}
    both = {name for name, _ in network.named_parameters()} - of_gender - of_age
    assert both == {name for name, _ in network.named_parameters() if name.startswith("backbone.shared.")}
    for place in range(6):
        network.zero_grad(set_to_none=True)
        network(torch.rand(2, 1, 32, 32))[:, place].sum().backward()
        reached = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
        touched = {name for name in reached if network.get_parameter(name).grad.any()}  # type: ignore[union-attr]
        assert not touched & (of_age if place in (1, 2) else of_gender)
        assert touched & (of_gender if place in (1, 2) else of_age)
    if shared:
        assert network.head.age.output.weight.shape[0] == 2  # type: ignore[union-attr, index]


@pytest.mark.parametrize(
    ("name", "million"),
    # timm's own counts for 1,000 classes and RGB, as its model cards have them.
    [("vgg16", 138.4), ("resnet18", 11.7), ("resnet34", 21.8), ("resnet50", 25.6), ("resnet152", 60.2),
     ("densenet121", 8.0), ("densenet201", 20.0), ("efficientnet_b0", 5.3), ("efficientnetv2_s", 21.5),
     ("efficientnetv2_m", 54.1), ("efficientnetv2_l", 118.5), ("efficientnet_lite0", 4.7), ("mobilenetv3", 5.5)],
)  # fmt: skip
def test_is_as_large_as_published(name: NetworkName, million: float) -> None:
    with torch.device("meta"):
        network = build_network(NetworkConfig(name=name, channels=3), 1000)
    assert count(network) / 1e6 == pytest.approx(million, abs=0.05)


def test_normalisation_is_in_the_network_and_its_weights() -> None:
    colour = build_network(config_of("resnet18", 3), 2)
    grey = build_network(config_of("resnet18", 1), 2)
    assert isinstance(colour.normalise, Normalise)
    assert colour.normalise.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert {"normalise.mean", "normalise.std"} <= set(colour.state_dict())
    assert float(grey.normalise.mean) == pytest.approx((0.485 + 0.456 + 0.406) / 3)  # type: ignore[arg-type]
    inception = build_network(config_of("inception_resnet_v1", 3), 2).normalise
    scaled = inception(torch.full((1, 3, 1, 1), 255 / 255))
    assert scaled.flatten().tolist() == pytest.approx([(255 - 127.5) / 128] * 3)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network.name=resnet18", "network.layers=3"], "resnet18 takes no layers; it belongs to agecnn"),
        (["network.name=resnet18", "network.branch=age"], "resnet18 takes no branch; it belongs to two_branch"),
        (["network.branch=age"], "agecnn takes no branch; it belongs to two_branch"),
        (["network.name=resnet19"], "did you mean resnet1"),
        (["network.name=[1]"], "unknown value"),
    ],
)
def test_settings_of_another_network_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_config("agecnn", "age", overrides)
    assert message in str(refusal.value)


def test_a_network_named_above_takes_its_own_defaults_and_the_input_of_the_file(tmp_path: Path) -> None:
    network = load_config("agecnn-cpu", "ethnicity", ["network.name=levi_hassner"]).network
    assert (network.image_size, network.hidden, network.hidden_layers, network.dropout) == (64, 512, 2, 0.5)
    assert (network.features, network.layers, network.input_norm) == (None, None, None)
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: agecnn-cpu\nnetwork: {name: resnet18, dropout: 0.3}\n")
    network = load_config(str(mine), "age").network
    assert (network.name, network.image_size, network.hidden, network.dropout) == ("resnet18", 64, 0, 0.3)
    mine.write_text("network: {name: efficientnetv2_s}\n")
    assert load_config(str(mine), "age").network.image_size == 300
    assert load_config("agecnn", "age", ["network.name=agecnn", "network.layers=3"]).network.hidden == 132


def test_networks_are_described() -> None:
    described = {str(each["name"]): each for each in describe_networks()}
    assert tuple(described) == NAMES
    assert described["resnet18"]["parameters"] == 11_689_512 - 513 * 1000 + 513 * 7
    assert all(each["reference"] and each["image_size"] for each in described.values())


def test_old_names_of_agecnn_are_known() -> None:
    torch.manual_seed(0)
    config = config_of("agecnn", features=4, hidden=8, layers=2)
    network = build_network(config, 3)
    new = {"backbone.input_norm": "input_norm", "backbone.features": "features", "head.hidden.0": "hidden"}
    old = {}
    for name, tensor in network.state_dict().items():
        start = next((each for each in new if name.startswith(each)), "head.output")
        old[new.get(start, "output") + name.removeprefix(start)] = tensor
    assert {"input_norm.weight", "features.0.weight", "hidden.weight", "output.bias"} <= set(old)
    torch.manual_seed(1)
    other = build_network(config, 3)
    assert isinstance(other, Network)
    holder = nn.ModuleDict({"network": other})
    holder.load_state_dict({f"network.{name}": tensor for name, tensor in old.items()})
    for name, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
