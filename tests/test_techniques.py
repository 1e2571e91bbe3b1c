"""Every technique of training: it trains a little, it changes what it should, and nonsense is refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agecls.bins import Bins
from agecls.config import Config, parse_config
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import ConfigError, RunError
from agecls.evaluate import evaluate_part
from agecls.labels import TrainTask
from agecls.learn.datamodule import FaceData
from agecls.learn.hierarchy import network_of
from agecls.learn.rates import LOWEST, RangeTest
from agecls.learn.run import Run
from agecls.learn.task import FaceTask
from agecls.learn.transforms import to_input
from agecls.train import TrainRequest, train

SHORT = ("train.epochs=2", "schedule.name=constant")

TECHNIQUES: dict[str, tuple[str, ...]] = {
    "focal": ("loss.name=focal",),
    "focal, weighted": ("loss.name=focal", "loss.gamma=0.5", "loss.class_weights=inverse"),
    "weighted": ("loss.class_weights=inverse", "train.sampler=uniform"),
    "smoothing": ("loss.label_smoothing=0.2",),
    "mixup": ("augment.mixup=0.4",),
    "cutmix": ("augment.cutmix=1.0", "augment.mixed=0.5"),
    "mixup, cutmix, focal": ("augment.mixup=0.4", "augment.cutmix=1.0", "loss.name=focal"),
    "cosine": ("schedule.name=cosine", "schedule.warmup=0.1"),
    "step": ("schedule.name=step",),
    "plateau": ("schedule.name=plateau", "schedule.wait=1", "train.epochs=6", "optimizer.lr=0.05"),
    "ema": ("average.name=ema", "average.decay=0.5"),
    "swa": ("average.name=swa", "average.start=0"),
    "tempered": ("train.sampler_power=0",),
    "subset": ("train.max_samples=100",),
    "balanced": ("train.balance=gender",),
    "clipping": ("train.clip_norm=0.01", "optimizer.name=sgd"),
    "accumulation": ("train.accumulate=3",),
    "mirrored": ("predict.mirror=true",),
}


def fit(split: Split, faces: Path, out: Path, settings: tuple[str, ...], task: TrainTask = "age") -> Run:
    config = load_config("agecnn-cpu", task, settings)
    return train(TrainRequest(task, Bins.parse("4"), "4", split, split.roots([faces]), config, out), lambda line: None)


@pytest.fixture(scope="module")
def plain(
    drawn_split: Split, drawn_faces: Path, tmp_path_factory: pytest.TempPathFactory, tiny: tuple[str, ...]
) -> Run:
    return fit(drawn_split, drawn_faces, tmp_path_factory.mktemp("plain") / "run", (*tiny, *SHORT))


def last_weights(run: Run) -> dict[str, torch.Tensor]:
    state = torch.load(run.folder / "last.ckpt", weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if name.startswith("network.")}


@pytest.mark.parametrize("name", TECHNIQUES)
def test_technique_trains_and_changes_the_training(
    name: str, plain: Run, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    run = fit(drawn_split, drawn_faces, tmp_path / "run", (*tiny, *SHORT, *TECHNIQUES[name]))
    assert np.isfinite(run.metrics["train_loss"])
    assert np.isfinite(run.metrics["valid_loss"])
    old, new = last_weights(plain), last_weights(run)
    same = all(torch.equal(old[key], new[key]) for key in old)
    if name in ("ema", "swa", "mirrored"):
        # These leave the training as it is; what is validated is another network.
        assert same
        assert run.metrics["valid_loss"] != plain.metrics["valid_loss"]
    else:
        assert not same
    measured = evaluate_part(run, "valid", drawn_split, drawn_split.roots([drawn_faces])).measured
    assert measured["macro_f1"] == pytest.approx(run.metrics["valid_macro_f1"], abs=1e-5)


@pytest.mark.parametrize("task", ["gender", "multitask", "age-regression"])
def test_techniques_go_together_with_other_tasks(
    task: TrainTask, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (
        *tiny, *SHORT, "augment.mixup=0.4", "average.name=ema", "schedule.name=plateau", "schedule.wait=1",
        "train.accumulate=2", "train.clip_norm=5", "train.sampler_power=0.5", "predict.mirror=true",
    )  # fmt: skip
    run = fit(drawn_split, drawn_faces, tmp_path / "run", settings, task)
    assert run.status == "finished"
    assert np.isfinite(run.metrics["train_loss"])
    evaluate_part(run, "valid", drawn_split, drawn_split.roots([drawn_faces]))


def test_plateau_lowers_the_rate_of_a_training_that_stands_still(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, "optimizer.lr=1e-9", "schedule.name=plateau", "schedule.wait=2", "train.epochs=8")
    run = fit(drawn_split, drawn_faces, tmp_path / "run", settings)
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    rate, best, waited = 1e-9, 0.0, 0
    for score in (scalar.value for scalar in events.Scalars("valid_macro_f1")):
        best, waited = (score, 0) if score > best else (best, waited + 1)
        rate, waited = (rate * 0.2, 0) if waited == 2 else (rate, waited)
    assert rate < 1e-9
    state = torch.load(run.folder / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(rate)
    assert state["lr_schedulers"][0]["best"] == pytest.approx(best, abs=1e-6)


def test_clipping_bounds_what_a_step_of_sgd_changes(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, *SHORT, "train.epochs=1", "optimizer.name=sgd", "optimizer.lr=1", "train.batch_size=216")
    still, clipped = (
        last_weights(fit(drawn_split, drawn_faces, tmp_path / name, (*settings, each)))
        for name, each in (("still", "optimizer.lr=1e-30"), ("clipped", "train.clip_norm=0.001"))
    )
    moved = [still[name] - clipped[name] for name in still if "norm" not in name and "running" not in name]
    moved = [each for each in moved if each.is_floating_point()]
    assert float(torch.cat([each.flatten() for each in moved]).norm()) <= 0.0011


def test_accumulated_steps_are_counted_once(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    run = fit(drawn_split, drawn_faces, tmp_path / "run", (*tiny, "train.accumulate=2", "schedule.name=onecycle"))
    state = torch.load(run.folder / "last.ckpt", weights_only=True)
    assert state["global_step"] == 2 * (216 // 64)
    assert state["lr_schedulers"][0]["total_steps"] == 2 * (216 // 64)


def test_mirrored_answer_is_the_mean_of_both(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    run = fit(drawn_split, drawn_faces, tmp_path / "run", (*tiny, *SHORT, "predict.mirror=true"))
    data = FaceData(drawn_split, drawn_split.roots([drawn_faces]), "age", Bins.parse("4"), run.config)
    images = to_input(next(iter(data.val_dataloader()))[0])
    with torch.no_grad():
        asked, network = network_of(run), run.network()
        both = [torch.softmax(network(each), dim=1) for each in (images, images.flip(3))]
        found = torch.softmax(asked(images), dim=1)
        torch.testing.assert_close(found, (both[0] + both[1]) / 2)
        torch.testing.assert_close(found, torch.softmax(asked(images.flip(3)), dim=1))
    assert not torch.allclose(both[0], both[1])


def test_compiled_network_trains_and_its_weights_keep_their_names(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, *SHORT, "average.name=ema")
    plain = fit(drawn_split, drawn_faces, tmp_path / "plain", settings)
    # The compiler itself takes half a minute; what it is given is looked at, and run as it stands.
    with torch.compiler.set_stance("force_eager"):
        run = fit(drawn_split, drawn_faces, tmp_path / "run", (*settings, "train.compile=true"))
    old, new = (torch.load(each.folder / "last.ckpt", weights_only=True)["state_dict"] for each in (plain, run))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)
    counts = [torch.ones(4)]
    compiled, not_compiled = (FaceTask(each.config, run.targets, counts).network for each in (run, plain))
    assert compiled._compiled_call_impl is not None
    assert not_compiled._compiled_call_impl is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["schedule.name=onecycle", "schedule.factor=0.5"], "onecycle takes no factor; it belongs to step, plateau"),
        (["schedule.name=plateau", "schedule.parts=3"], "plateau takes no parts; it belongs to step"),
        (["schedule.name=step", "schedule.wait=3"], "step takes no wait; it belongs to plateau"),
        (["loss.gamma=1"], "cross-entropy takes no gamma; it belongs to focal"),
        (["average.decay=0.5"], "none takes no decay; it belongs to ema"),
        (["average.name=ema", "average.start=0.5"], "ema takes no start; it belongs to swa"),
        (["augment.mixed=0.5"], "mixup and cutmix are both 0"),
        (["train.sampler=uniform", "train.sampler_power=0.5"], "needs train.sampler=weighted"),
        (["schedule.name=plateau", "schedule.wait=5", "train.patience=5"], "schedule.wait=5 and train.patience=5"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_with_both_named(settings: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_config("agecnn", "age", settings)
    assert told in refusal.value.got


@pytest.mark.parametrize(
    "setting",
    [
        "schedule.name=cosin", "schedule.factor=1", "schedule.parts=1", "schedule.wait=0", "loss.name=hinge",
        "loss.gamma=0", "augment.mixup=-1", "augment.cutmix=-1", "augment.mixed=0", "train.sampler_power=1.5",
        "train.max_samples=1", "train.balance=age", "train.clip_norm=-1", "train.accumulate=0", "train.devices=0",
        "train.nodes=0", "train.compile=perhaps", "average.name=polyak", "average.decay=1", "average.start=1",
        "predict.mirror=2",
    ],
)  # fmt: skip
def test_wrong_values_are_refused_with_the_settings_name(setting: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_config("agecnn", "age", [setting])
    assert setting.partition("=")[0] in refusal.value.what


@pytest.mark.parametrize(
    ("file", "given"),
    [
        ({"schedule": {"name": "step", "parts": 3}}, "schedule.name=cosine"),
        ({"loss": {"name": "focal", "gamma": 1.0}}, "loss.name=cross-entropy"),
        ({"average": {"name": "ema", "decay": 0.9}}, "average.name=swa"),
    ],
)
def test_another_name_leaves_out_what_it_does_not_take(file: dict[str, Any], given: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(str(file))
    key, _, value = given.partition("=")
    config = load_config(str(tmp_path / "mine.yaml"), "age", [given])
    assert getattr(config, key.partition(".")[0]).name == value


def test_records_from_before_these_settings_still_load() -> None:
    tree = Config().model_dump(mode="json")
    for section, key in (("train", "devices"), ("schedule", "factor"), ("loss", "name"), ("augment", "mixup")):
        del tree[section][key]
    del tree["average"], tree["predict"]
    assert parse_config(tree) == Config()


def test_a_rate_is_suggested_and_drawn_and_no_run_is_made(
    agecls: Callable[..., Any], drawn_split: Split, drawn_faces: Path, workplace: Path, tiny: tuple[str, ...]
) -> None:
    settings = [word for setting in tiny for word in ("--set", setting)]
    asked = ("--task", "gender", "--split", drawn_split.folder, "--root", drawn_faces, "--config", "agecnn-cpu")
    code, out, err = agecls("train", "--find-lr", *asked, "--bins", "4", "--max-samples", 150, *settings)
    assert code == 0, err
    rate = float(out.strip().removeprefix("optimizer.lr="))
    assert 1e-6 < rate < 0.1
    assert [path.name for path in workplace.iterdir()] == ["find-lr-gender-4.png"]
    assert Image.open(workplace / "find-lr-gender-4.png").size[0] > 500


def test_suggestion_is_a_tenth_of_the_lowest_point_or_refused() -> None:
    assert RangeTest((1e-4, 1e-3, 1e-2, 1e-1), (3.0, 1.0, 0.5, 9.0)).suggestion == pytest.approx(1e-3)
    with pytest.raises(RunError, match="no learning rate"):
        _ = RangeTest((LOWEST, 2 * LOWEST, 1e-3), (1.0, 1.1, 4.0)).suggestion
    with pytest.raises(RunError, match="no learning rate"):
        _ = RangeTest((), ()).suggestion


def test_flags_of_the_command_are_settings(
    agecls: Callable[..., Any], drawn_split: Split, drawn_faces: Path, workplace: Path, tiny: tuple[str, ...]
) -> None:
    settings = [word for setting in (*tiny, "train.epochs=1") for word in ("--set", setting)]
    asked = ("--task", "gender", "--split", drawn_split.folder, "--root", drawn_faces, "--config", "agecnn-cpu")
    flags = ("--max-samples", 80, "--devices", 1, "--nodes", 1)
    assert agecls("train", *asked, "--bins", "4", "--out", "run", *flags, *settings).code == 0
    assert Run.load(workplace / "run").config.train.max_samples == 80
    refused = agecls("train", *asked, "--devices", 0)
    assert refused.code == 2
    assert "train.devices" in refused.err
    listed = agecls("train", "--config", "agecnn", "--settings").out
    for name in ("train.max_samples", "average.name", "predict.mirror", "schedule.wait", "augment.cutmix"):
        assert name in listed
