"""Training: what it leaves, that it is the same again, that it can be stopped, and that it learns."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import DataError, RunError, UsageError
from agecls.evaluate import evaluate_part
from agecls.labels import Task
from agecls.learn.lineage import Lineage
from agecls.learn.run import Run
from agecls.train import TrainRequest, train


def ask(split: Split, faces: Path, out: Path | None, settings: tuple[str, ...], task: Task = "age") -> TrainRequest:
    config = load_config("agecnn-cpu", task, settings)
    return TrainRequest(task, Bins.parse("4"), "4", split, split.roots([faces]), config, out)


def quiet(line: str) -> None:
    pass


def test_run_holds_what_the_contract_says(drawn_run: Run, drawn_split: Split) -> None:
    record = json.loads((drawn_run.folder / "run.json").read_text())
    assert record["schema"] == 1
    assert record["status"] == "finished"
    assert record["leaked"] is False
    assert record["leaked_count"] == 0
    assert record["parents"] == []
    assert record["only"] == {}
    assert record["classes"] == ["male", "female"]
    assert record["split"]["fingerprint"] == drawn_split.fingerprint
    assert record["preprocessing"] == {"image_size": 32, "channels": 1, "scale": 1.0}
    assert {"torch", "agecls", "pytorch-lightning"} <= record["software"].keys()
    assert record["metrics"]["valid_macro_f1"] == pytest.approx(drawn_run.metrics["valid_macro_f1"])
    for name in ("model.safetensors", "last.ckpt", "lineage.npz", "tensorboard"):
        assert (drawn_run.folder / name).exists(), name
    assert not [path for path in drawn_run.folder.iterdir() if path.name.startswith(".")]


def test_lineage_is_the_train_and_the_valid_part(drawn_run: Run, drawn_split: Split) -> None:
    lineage = Lineage.load(drawn_run.folder)
    hashes = {part: faces.table["sha256"].tolist() for part, faces in drawn_split.parts.items()}
    blank = np.zeros((len(drawn_split.parts["train"]), 64, 64), np.uint8)
    met = {part: lineage.meet(each, blank[: len(each)]) for part, each in hashes.items()}
    assert met["train"].exact.all()
    assert not met["train"].selected.any()
    assert met["valid"].selected.all()
    assert not met["valid"].leaked.any()
    assert not (met["test"].leaked | met["test"].selected).any()
    assert lineage.ancestors[0].split == drawn_split.fingerprint


def test_learns_drawn_faces_far_beyond_the_majority(drawn_run: Run, drawn_split: Split, drawn_faces: Path) -> None:
    measured = evaluate_part(drawn_run, "valid", drawn_split, drawn_split.roots([drawn_faces])).measured
    assert measured["macro_f1"] > measured["majority_macro_f1"] + 0.3


def test_best_epoch_is_what_evaluate_finds_on_valid(drawn_run: Run, drawn_split: Split, drawn_faces: Path) -> None:
    measured = evaluate_part(drawn_run, "valid", drawn_split, drawn_split.roots([drawn_faces])).measured
    assert measured["macro_f1"] == pytest.approx(drawn_run.metrics["valid_macro_f1"], abs=1e-5)
    assert measured["accuracy"] == pytest.approx(drawn_run.metrics["valid_accuracy"], abs=1e-5)


def test_same_seed_gives_identical_weights_and_another_does_not(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    weights = []
    for name, extra in (("a", ()), ("b", ()), ("c", ("train.seed=7",))):
        run = train(ask(drawn_split, drawn_faces, tmp_path / name, (*tiny, *extra)), quiet)
        weights.append(load_file(run.folder / "model.safetensors"))
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not all(torch.equal(weights[0][key], weights[2][key]) for key in weights[0])


def test_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, "train.epochs=4", "schedule.name=onecycle", "augment.flip=true")
    whole = train(ask(drawn_split, drawn_faces, tmp_path / "whole", settings), quiet)

    class Stop(Exception):
        pass

    def stop_after_two(line: str) -> None:
        if line.startswith("epoch 3/"):
            raise Stop

    request = ask(drawn_split, drawn_faces, tmp_path / "cut", settings)
    with pytest.raises(Stop):
        train(request, stop_after_two)
    assert Run.load(tmp_path / "cut").status == "interrupted"
    resumed = train(dataclasses.replace(request, resume=True), quiet)
    assert resumed.metrics["epochs"] == 4
    assert resumed.metrics["valid_macro_f1"] == whole.metrics["valid_macro_f1"]
    old, new = (torch.load(run.folder / "last.ckpt", weights_only=True)["state_dict"] for run in (whole, resumed))
    assert all(torch.equal(old[key], new[key]) for key in old)


def test_resume_refuses_other_settings_and_says_which(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    train(ask(drawn_split, drawn_faces, tmp_path / "run", tiny), quiet)
    other = ask(drawn_split, drawn_faces, tmp_path / "run", (*tiny, "optimizer.lr=0.5"))
    with pytest.raises(RunError, match=r"optimizer\.lr was 0\.003, now 0\.5"):
        train(dataclasses.replace(other, resume=True), quiet)


def test_existing_run_is_not_written_over(
    drawn_run: Run, drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...]
) -> None:
    before = (drawn_run.folder / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match="exists already"):
        train(ask(drawn_split, drawn_faces, drawn_run.folder, tiny), quiet)
    assert (drawn_run.folder / "model.safetensors").read_bytes() == before


def test_resuming_nothing_is_refused(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    request = dataclasses.replace(ask(drawn_split, drawn_faces, tmp_path / "none", tiny), resume=True)
    with pytest.raises(UsageError, match="no run to resume"):
        train(request, quiet)


def test_class_without_training_images_is_refused_by_name(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    present = set(drawn_split.parts["train"].table["age_low"])
    absent = next(age for age in range(90, 116) if age not in present)
    bins = Bins.parse(f"0-{absent - 1},{absent}-{absent},{absent + 1}-116")
    request = dataclasses.replace(ask(drawn_split, drawn_faces, tmp_path / "run", tiny), bins=bins)
    with pytest.raises(DataError, match=f"{absent}-{absent}"):
        train(request, quiet)


def test_ages_in_a_gap_are_left_out_and_counted(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    lines: list[str] = []
    request = dataclasses.replace(ask(drawn_split, drawn_faces, tmp_path / "run", tiny), bins=Bins.parse("adience"))
    run = train(request, lines.append)
    assert run.classes == Bins.parse("adience").names
    left_out = int((drawn_split.parts["train"].targets("age", request.bins) < 0).sum())
    assert left_out > 0
    assert f"{left_out} images of train have no label for these classes and are left out" in lines


def test_tensorboard_holds_settings_curves_and_a_confusion_picture(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    run = train(ask(drawn_split, drawn_faces, tmp_path / "run", (*tiny, "train.picture_every=1")), quiet)
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    assert {"train_loss", "valid_loss", "valid_macro_f1"} <= set(events.Tags()["scalars"])
    assert len(events.Images("valid_confusion")) == 2
    assert "optimizer.lr: 0.003" in (run.folder / "tensorboard" / "hparams.yaml").read_text()


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "sgd", "rmsprop", "adadelta", "adamax"])
def test_every_optimiser_trains(
    name: str, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, f"optimizer.name={name}", "train.epochs=1", "loss.class_weights=inverse")
    run = train(ask(drawn_split, drawn_faces, tmp_path / "run", settings), quiet)
    assert np.isfinite(run.metrics["train_loss"])


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_depth_and_colour_trains(
    layers: int, channels: int, drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (
        *tiny, f"network.layers={layers}", f"network.channels={channels}", "network.features=2", "train.epochs=1",
        "train.sampler=uniform", "loss.class_weights=one-minus-share", "network.input_norm=false",
    )  # fmt: skip
    run = train(ask(drawn_split, drawn_faces, tmp_path / "run", settings, "ethnicity"), quiet)
    assert run.classes == ("white", "black", "asian", "indian", "others")


def test_early_stopping_stops(drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    settings = (*tiny, "train.epochs=30", "train.patience=1", "optimizer.lr=1e-12")
    run = train(ask(drawn_split, drawn_faces, tmp_path / "run", settings), quiet)
    assert run.metrics["epochs"] < 10
    assert run.status == "finished"


def start_endless(split: Split, faces: Path, out: Path, settings: tuple[str, ...]) -> subprocess.Popen[str]:
    """Start a training that would go on for hours, in a process of its own."""
    command = [
        sys.executable, "-m", "agecls", "train", "--task", "gender", "--split", str(split.folder),
        "--root", str(faces), "--out", str(out), "--config", "agecnn-cpu", "--bins", "4",
    ]  # fmt: skip
    for setting in (*settings, "train.epochs=5000", "train.patience=0"):
        command += ["--set", setting]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_interrupt_leaves_a_usable_run(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    process = start_endless(drawn_split, drawn_faces, tmp_path / "run", tiny)
    assert process.stderr
    with process.stderr:
        for line in process.stderr:
            if line.startswith("epoch 1/"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.wait(60) == 130
    assert "--resume" in rest
    assert "Traceback" not in rest
    run = Run.load(tmp_path / "run")
    assert run.status == "interrupted"
    evaluate_part(run, "valid", drawn_split, drawn_split.roots([drawn_faces]))


def test_killed_run_still_evaluates(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    process = start_endless(drawn_split, drawn_faces, tmp_path / "run", tiny)
    assert process.stderr
    with process.stderr:
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                break
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
    evaluate_part(Run.load(tmp_path / "run"), "valid", drawn_split, drawn_split.roots([drawn_faces]))


def test_diverging_training_stops_and_says_what_to_lower(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = (*tiny, "optimizer.name=sgd", "optimizer.lr=1e30")
    with pytest.raises(RunError, match="no number") as refusal:
        train(ask(drawn_split, drawn_faces, tmp_path / "run", settings), quiet)
    assert "optimizer.lr" in refusal.value.remedy
    assert Run.load(tmp_path / "run").status == "interrupted"


def test_finished_run_is_not_trained_further(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    request = ask(drawn_split, drawn_faces, tmp_path / "run", tiny)
    train(request, quiet)
    before = (tmp_path / "run" / "last.ckpt").read_bytes()
    lines: list[str] = []
    assert train(dataclasses.replace(request, resume=True), lines.append).status == "finished"
    assert any("nothing to resume" in line for line in lines)
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before


def test_second_process_does_not_train_into_the_same_run(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    request = ask(drawn_split, drawn_faces, tmp_path / "run", tiny)

    def meanwhile(line: str) -> None:
        if line.startswith("epoch 1/"):
            with pytest.raises(RunError, match="another process"):
                train(dataclasses.replace(request, resume=True), quiet)

    assert train(request, meanwhile).status == "finished"
    assert not (tmp_path / "run" / ".training.lock").exists()


def test_progress_bar_goes_to_stderr_alone(
    drawn_split: Split,
    drawn_faces: Path,
    tmp_path: Path,
    tiny: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    request = ask(drawn_split, drawn_faces, tmp_path / "run", tiny)
    train(dataclasses.replace(request, progress=True), quiet)
    out, err = capsys.readouterr()
    assert out == ""
    assert "valid_macro_f1" in err


def test_number_of_loader_processes_changes_nothing(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    alone, helped = (
        train(ask(drawn_split, drawn_faces, tmp_path / str(workers), (*tiny, f"train.workers={workers}")), quiet)
        for workers in (0, 2)
    )
    old, new = (load_file(run.folder / "model.safetensors") for run in (alone, helped))
    assert all(torch.equal(old[key], new[key]) for key in old)
