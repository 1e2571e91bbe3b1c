"""Several tasks from one network, years, distributions and ranks: trained a little, resumed, scored, asked."""

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from agecls.bin_search.source import from_run, refuse_other_task
from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.faces import Faces
from agecls.data.split import Split
from agecls.errors import BinsError, ConfigError, RunError
from agecls.evaluate import evaluate_part
from agecls.labels import TrainTask
from agecls.learn.datamodule import FaceData
from agecls.learn.decoding import AsClassifier, level_probabilities
from agecls.learn.hierarchy import check_member
from agecls.learn.inference import best_device, predict_outputs, predict_probabilities
from agecls.learn.networks import build_network
from agecls.learn.run import Run
from agecls.learn.targets import find_targets, shared_rows, slices, total_width
from agecls.learn.task import FaceTask
from agecls.learn.transforms import to_batch
from agecls.learn.warm_start import WarmStart
from agecls.other_bins import OtherBins
from agecls.predict import name_tasks, predict_images, write_csv, write_picture
from agecls.screen import show_predictions
from agecls.train import TrainRequest, train

SMALL = ("network.features=6", "network.hidden=16", "train.epochs=2", "train.max_samples=128")
FOUR = ("tasks=[age,gender,ethnicity,years]", "task_weights=learned")

GOLDEN = Path(__file__).parent / "golden_multitask.json"


def quiet(line: str) -> None:
    pass


Ask = Callable[..., TrainRequest]


@pytest.fixture(scope="module")
def ask(drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...]) -> Ask:
    """Ask for a training; the genders of some images, and the exact ages of some others, are not known."""
    parts = {part: _without_some_labels(faces) for part, faces in drawn_split.parts.items()}
    split = dataclasses.replace(drawn_split, parts=parts)

    def asked(out: Path, task: TrainTask, *settings: str) -> TrainRequest:
        config = load_config("agecnn-cpu", task, [*tiny, *SMALL, *settings])
        return TrainRequest(task, Bins.parse("4"), "4", split, split.roots([drawn_faces]), config, out)

    return asked


def _without_some_labels(faces: Faces) -> Faces:
    table = faces.table.copy()
    table.loc[table.index % 7 == 0, "gender"] = ""
    vague = (table.index % 5 == 0) & table["age_low"].between(20, 59)
    table.loc[vague, "age_low"], table.loc[vague, "age_high"] = 20, 59
    return Faces(table)


@pytest.fixture(scope="module")
def multitask_run(ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(ask(tmp_path_factory.mktemp("several") / "multitask", "multitask", *FOUR), quiet)


@pytest.fixture(scope="module")
def distribution_run(ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = ("targets.age=distribution", "predict.mirror=true")
    return train(ask(tmp_path_factory.mktemp("one") / "distribution", "age", *settings), quiet)


@pytest.fixture(scope="module")
def regression_run(ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(
        ask(
            tmp_path_factory.mktemp("one") / "regression", "age-regression", "train.epochs=4", "train.max_samples=null"
        ),
        quiet,
    )


def parts_of(ask: Ask) -> tuple[Split, dict[str, Path]]:
    request = ask(Path("none"), "age")
    return request.split, dict(request.roots)


def outputs_of(run: Run, ask: Ask, part: str) -> tuple[Faces, torch.Tensor]:
    request = dataclasses.replace(ask(Path("none"), run.task), config=run.config)
    data = FaceData(request.split, request.roots, run.task, run.bins, run.config)
    batches = (images for images, _ in data.ordered(part))  # type: ignore[arg-type]
    return data.faces[part], predict_outputs(run.answering(), batches, "fp32", best_device())  # type: ignore[index]


def test_record_says_what_is_answered(multitask_run: Run, drawn_run: Run) -> None:
    record = json.loads((multitask_run.folder / "run.json").read_text())
    assert [(each["name"], each["kind"], each["outputs"]) for each in record["targets"]] == [
        ("age", "classes", 4), ("gender", "classes", 2), ("ethnicity", "classes", 5), ("years", "years", 1),
    ]  # fmt: skip
    assert Run.load(multitask_run.folder).targets == multitask_run.targets
    metrics = record["metrics"]
    each = [metrics[f"valid_{name}_macro_f1"] for name in ("age", "gender", "ethnicity", "years")]
    assert metrics["valid_macro_f1"] == pytest.approx(np.mean(each), abs=1e-5)
    assert 0 < metrics["weight_age"] != 1
    assert "targets" not in json.loads((drawn_run.folder / "run.json").read_text())


def test_record_whose_targets_are_not_those_of_its_settings_is_refused(multitask_run: Run, tmp_path: Path) -> None:
    record = json.loads((multitask_run.folder / "run.json").read_text())
    record["targets"][0]["kind"] = "coral"
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="damaged"):
        Run.load(tmp_path)


def test_record_from_before_there_were_targets_is_of_one_classification(drawn_run: Run, tmp_path: Path) -> None:
    record = json.loads((drawn_run.folder / "run.json").read_text())
    del record["config"]["targets"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert [(each.name, each.kind) for each in Run.load(tmp_path).targets] == [("gender", "classes")]


def test_images_without_a_label_count_for_the_other_tasks(ask: Ask) -> None:
    request = ask(Path("none"), "multitask", "tasks=[gender,years]", "train.max_samples=null")
    data = FaceData(request.split, request.roots, "multitask", request.bins, request.config)
    train_part = request.split.parts["train"]
    gender = (train_part.table["gender"] != "").to_numpy()
    years = ~np.isnan(train_part.years)
    assert len(data.faces["train"]) == (gender | years).sum() < len(train_part)
    assert data.unlabelled["train"] == (~gender & ~years).sum()
    assert data.lacking["train"] == {"gender": (~gender & years).sum(), "years": (gender & ~years).sum()}
    assert data.data["train"].targets.shape == (len(data.faces["train"]), 2)
    weights = data.batches().weights
    assert weights is not None
    # Ages are sampled by; an image of a known one is drawn by its bin.
    kinds = data.faces["train"].targets("age", request.bins)
    shares = [weights[kinds == each].sum() for each in range(4)]
    assert shares == pytest.approx([0.25] * 4)
    config = ask(Path("none"), "multitask", "tasks=[gender,years]", "sample_by=gender", "train.max_samples=null").config
    data = FaceData(request.split, request.roots, "multitask", request.bins, config)
    weights, known = data.batches().weights, (data.faces["train"].table["gender"] != "").to_numpy()
    assert weights is not None
    # An image without a gender is drawn as often as one with a gender is on average.
    assert weights[~known] == pytest.approx(weights[known].mean())
    women = (data.faces["train"].table["gender"] == "female").to_numpy()
    assert weights[women].sum() == pytest.approx(weights[known & ~women].sum())


def test_sampling_by_what_is_no_task_is_refused(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sample_by"):
        train(ask(tmp_path / "run", "multitask", "tasks=[gender,years]", "sample_by=ethnicity"), quiet)
    with pytest.raises(ConfigError, match="monitor"):
        train(ask(tmp_path / "run", "multitask", "tasks=[age,gender]", "monitor=years"), quiet)
    assert not (tmp_path / "run").exists()


def test_resumed_multitask_ends_as_an_uninterrupted_one(multitask_run: Run, ask: Ask, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch 2/"):
            raise Stop

    request = ask(tmp_path / "cut", "multitask", *FOUR)
    with pytest.raises(Stop):
        train(request, stop)
    resumed = train(dataclasses.replace(request, resume=True), quiet)
    old, new = (
        torch.load(run.folder / "last.ckpt", weights_only=True)["state_dict"] for run in (multitask_run, resumed)
    )
    assert "loss.log_variances" in old
    assert (old["loss.log_variances"] != 0).all()
    assert all(torch.equal(old[key], new[key]) for key in old)


def shape_of(content: Any) -> Any:
    """Names and kinds of values, without the numbers."""
    if isinstance(content, dict):
        return {key: shape_of(value) for key, value in content.items()}
    if isinstance(content, list):
        return [shape_of(content[0])]
    return type(content).__name__ if isinstance(content, (str, bool)) else "number"  # or None, where there is no image


def missing_from(found: Any, promised: Any, path: str = "") -> list[str]:
    """Entries that are promised and not there, or of another kind; there may be more."""
    if isinstance(promised, dict) and isinstance(found, dict):
        gone = [f"{path}/{key}" for key in promised.keys() - found.keys()]
        return gone + [
            each
            for key in promised.keys() & found.keys()
            for each in missing_from(found[key], promised[key], f"{path}/{key}")
        ]
    return [] if found == promised else [path]


def test_evaluate_json_of_several_tasks(multitask_run: Run, ask: Ask) -> None:
    split, roots = parts_of(ask)
    evaluation = evaluate_part(multitask_run, "valid", split, roots)
    measured = json.loads(json.dumps(evaluation.measured, allow_nan=False))
    assert missing_from(shape_of(measured), json.loads(GOLDEN.read_text())) == []
    assert measured["tasks"]["gender"]["n"] == (split.parts["valid"].table["gender"] != "").sum()
    assert measured["tasks"]["age"]["n"] == len(split.parts["valid"])
    for name, each in measured["tasks"].items():
        assert each["macro_f1"] == pytest.approx(multitask_run.metrics[f"valid_{name}_macro_f1"], abs=1e-4) or (
            name == "years"  # is scored by ranges of ages as well, which a training cannot use
        )
    with pytest.raises(ValueError, match="too many values"):
        _ = evaluation.report


def test_years_are_scored_as_years_and_as_bins(regression_run: Run, ask: Ask) -> None:
    split, roots = parts_of(ask)
    evaluation = evaluate_part(regression_run, "valid", split, roots)
    report, measured = evaluation.report, evaluation.measured
    faces, outputs = outputs_of(regression_run, ask, "valid")
    found = (35 + 20 * outputs[:, 0]).clamp(0, 116).numpy()
    assert measured["task"] == "age"
    assert measured["n_years"] == len(faces) < measured["n"] == len(split.parts["valid"])
    assert measured["mae_years"] == pytest.approx(np.abs(found - faces.years).mean(), abs=1e-4)
    assert measured["r2"] == pytest.approx(r2_score(faces.years, found), abs=1e-4)
    assert measured["cs5"] == pytest.approx((np.abs(found - faces.years) <= 5).mean())
    assert report.predicted_years is not None
    bins = regression_run.bins.index(report.predicted_years.round())
    assert report.predicted.tolist() == bins.tolist()
    spread = np.abs(faces.years - faces.years.mean()).mean()
    assert measured["mae_years"] < spread, "the regression has learnt nothing"
    assert regression_run.metrics["valid_score"] == pytest.approx(-regression_run.metrics["valid_mae_years"])


@pytest.mark.parametrize("bins", ["7", "adience", "0-17,18-116"])
def test_distribution_is_scored_in_any_bins_by_summing(bins: str, distribution_run: Run, ask: Ask) -> None:
    split, roots = parts_of(ask)
    other = Bins.parse(bins)
    report = evaluate_part(distribution_run, "valid", split, roots, bins=OtherBins(other)).report
    assert report.classes == other.names
    faces, outputs = outputs_of(distribution_run, ask, "valid")
    years = torch.softmax(outputs, dim=1).numpy()
    sums = np.stack([years[:, low : high + 1].sum(axis=1) for low, high in other.ranges], axis=1)
    rows = {path: row / row.sum() for path, row in zip(faces.table["path"], sums, strict=True)}
    for path, row in zip(report.paths, report.probabilities, strict=True):
        if path in rows:  # an age that is known as a range alone is scored, and was not trained on
            np.testing.assert_allclose(row, rows[path], atol=1e-5)


def test_mirrored_distribution_is_the_mean_of_both(distribution_run: Run) -> None:
    images = to_batch(np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8))
    network = distribution_run.network()
    plain, mirrored = (
        predict_probabilities(network, iter([each]), "fp32", best_device()) for each in (images, images.flip(3))
    )
    both = predict_probabilities(distribution_run.answering(), iter([images]), "fp32", best_device())
    np.testing.assert_allclose(both, (plain + mirrored) / 2, atol=1e-6)


def test_runs_of_fixed_bins_answer_in_unions_alone(multitask_run: Run, drawn_run: Run, ask: Ask) -> None:
    split, roots = parts_of(ask)
    two = OtherBins(Bins.parse("0-19,20-116"))
    own = evaluate_part(multitask_run, "valid", split, roots).reports["age"].probabilities
    joined = evaluate_part(multitask_run, "valid", split, roots, bins=two).reports["age"].probabilities
    np.testing.assert_allclose(joined[:, 0], own[:, 0] + own[:, 1], atol=1e-6)
    with pytest.raises(BinsError, match="cannot be joined"):
        evaluate_part(multitask_run, "valid", split, roots, bins=OtherBins(Bins.parse("7")))
    with pytest.raises(BinsError, match="no age bins"):
        evaluate_part(drawn_run, "valid", split, roots, bins=two)


@pytest.mark.parametrize("settings", [("targets.age=coral", "over=bins"), ("targets.age=corn",)], ids=["coral", "corn"])
def test_ranks_learn_and_answer(settings: tuple[str, ...], ask: Ask, tmp_path: Path) -> None:
    run = train(ask(tmp_path / "run", "age", *settings, "augment.mixup=0.2"), quiet)
    split, roots = parts_of(ask)
    measured = evaluate_part(run, "valid", split, roots).measured
    assert ("mae_years" in measured) == ("over=bins" not in settings)
    assert ("valid_mae_years" in run.metrics) == ("over=bins" not in settings)
    lines = load_losses(run)
    assert lines[-1] < lines[0]
    weight = run.tensors()["head.output.weight"]
    assert weight.shape[0] == (1 if "over=bins" in settings else 116)


def load_losses(run: Run) -> list[float]:
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars("train_loss")]


def test_warm_start_takes_the_outputs_of_a_task_it_shares(drawn_run: Run, tiny: tuple[str, ...]) -> None:
    config = load_config("agecnn-cpu", "multitask", [*tiny, "targets.age=coral", *FOUR])
    targets = find_targets("multitask", Bins.parse("4"), config.targets)
    network = build_network(config.network, total_width(targets), shared_rows(targets))
    lines: list[str] = []
    WarmStart.load(drawn_run.folder, config.network).fill(network, config.network, targets, lines.append)
    taken, old = network.state_dict(), drawn_run.tensors()
    assert torch.equal(taken["head.hidden.0.weight"], old["head.hidden.0.weight"])
    (_, gender, *_) = slices(targets)
    assert torch.equal(taken["head.output.bias"][gender], old["head.output.bias"])
    assert torch.equal(taken["head.output.weight"][1:3], old["head.output.weight"])  # row 0 is all thresholds'
    assert lines[0].endswith(
        "fresh: head.output.weight, head.output.bias (the classes differ) but for the outputs of gender"
    )


def test_mixing_of_several_tasks_mixes_their_losses(ask: Ask) -> None:
    config = ask(Path("none"), "multitask", "augment.mixup=1", "train.batch_size=4").config
    targets = find_targets("multitask", Bins.parse("4"), config.targets)
    task = FaceTask(config, targets, [torch.ones(len(each.classes)) for each in targets]).eval()
    with torch.no_grad():
        dict(task.network.named_parameters())["head.output.weight"].mul_(50)  # so that images are told apart
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[0, 1, 2], [3, 0, 1], [1, -1, 4], [2, 1, 0]])
    torch.manual_seed(3)
    loss = task.loss_of(images, labels)
    torch.manual_seed(3)
    assert task.mixing is not None
    mixed, _ = task.mixing(images, torch.arange(4))
    share = float(((mixed - images.roll(1, 0)) / (images - images.roll(1, 0))).median())
    assert 0.01 < share < 0.99
    outputs = task.network(mixed)
    wanted = share * task.loss(outputs, labels) + (1 - share) * task.loss(outputs, labels.roll(1, 0))
    torch.testing.assert_close(loss, wanted, rtol=1e-3, atol=1e-3)


def test_predict_names_every_task(
    multitask_run: Run, distribution_run: Run, drawn_run: Run, drawn_faces: Path, tmp_path: Path
) -> None:
    images = sorted((drawn_faces / "faces").iterdir())[:2]
    (first, _) = predict_images([multitask_run], images)
    answers = json.loads(json.dumps(first.to_json()))["tasks"]
    assert list(answers) == ["age", "gender", "ethnicity", "years"]
    assert answers["gender"].keys() == {"label", "probabilities"}
    assert answers["years"].keys() == {"label", "years"}  # a regression has no probabilities
    assert sum(answers["age"]["probabilities"].values()) == pytest.approx(1)
    runs = [multitask_run, distribution_run, drawn_run]
    names = ["multitask:age", "multitask:gender", "ethnicity", "years", "distribution", "gender"]
    assert name_tasks(runs) == names
    predictions = predict_images(runs, [*images, tmp_path / "none.jpg"])
    assert predictions[0].tasks["distribution"].keys() == {"label", "probabilities", "years"}
    write_csv(predictions, tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert float(rows[0]["years:in_years"]) == pytest.approx(answers["years"]["years"], abs=0.01)
    assert rows[0]["gender"] == predictions[0].tasks["gender"]["label"]
    assert {rows[2][name] for name in names} == {""}
    write_picture(predictions, tmp_path / "out.png", leaked=False)
    show_predictions(predictions, leaked=False)


def test_hierarchy_takes_a_distribution_for_a_classifier_and_refuses_several_tasks(
    multitask_run: Run, distribution_run: Run, regression_run: Run
) -> None:
    check_member("flat", "", distribution_run, ("gender",), distribution_run.bins)
    network = distribution_run.classifying()
    assert isinstance(network, AsClassifier)
    images = to_batch(np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8))
    found = predict_probabilities(network, iter([images]), "fp32", best_device())
    outputs = predict_outputs(distribution_run.answering(), iter([images]), "fp32", best_device())
    years = level_probabilities(distribution_run.targets[0], outputs).numpy()
    np.testing.assert_allclose(found[:, 0], years[:, :13].sum(axis=1), atol=1e-9)
    for run in (multitask_run, regression_run):
        with pytest.raises(RunError, match="must be a run of task age"):
            check_member("flat", "", run, ("gender",), run.bins)
        with pytest.raises(RunError, match="no single classifier"):
            run.classifying()


def test_bins_are_searched_in_years(distribution_run: Run, multitask_run: Run, ask: Ask) -> None:
    split, roots = parts_of(ask)
    source = from_run(distribution_run, split, roots)
    assert len(source.matrix.bins) > len(distribution_run.bins)
    with pytest.raises(RunError, match="no bins to search"):
        refuse_other_task(multitask_run)


def test_command_trains_several_tasks_and_years(
    drawn_split: Split, drawn_faces: Path, agecls: Callable[..., Any], tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    settings = [part for each in (*tiny, *SMALL, "train.epochs=1") for part in ("--set", each)]
    where = ("--split", drawn_split.folder, "--root", drawn_faces, "--bins", "4", "--config", "agecnn-cpu")
    several = ("--set", "tasks=[gender, age]", "--set", "task_weights={age: 2}", "--set", "monitor=gender")
    told = tmp_path / "run.json"
    found = agecls("train", "--task", "multitask", *where, *settings, *several, "--out", tmp_path / "m", "--json", told)
    assert found.code == 0, found.err
    assert "best epoch by macro-F1 of gender on valid" in found.err
    assert "gender 0." in found.out
    metrics = json.loads(told.read_text())
    assert metrics["valid_score"] == metrics["valid_gender_macro_f1"]
    found = agecls("train", "--task", "age-regression", *where, *settings, "--set", "years=l2", "--out", tmp_path / "y")
    assert found.code == 0, found.err
    assert "best epoch by mean absolute error in years on valid" in found.err
    assert "MAE " in found.out
    found = agecls("train", "--task", "gender", *where, *several, "--out", tmp_path / "g")
    assert found.code == 2
    assert "--task multitask" in found.err


def test_a_page_and_a_table_for_each_task(
    multitask_run: Run, drawn_split: Split, agecls: Callable[..., Any], tmp_path: Path
) -> None:
    found = agecls(
        *("evaluate", multitask_run.folder, "--part", "valid", "--split", drawn_split.folder),
        *("--json", tmp_path / "all.json", "--report", tmp_path / "report", "--bins", "0-19,20-116"),
    )
    assert found.code == 0, found.err
    told = json.loads((tmp_path / "all.json").read_text())
    assert list(told["tasks"]) == ["age", "gender", "ethnicity", "years"]
    assert told["tasks"]["years"]["classes"] == ["0-19", "20-116"]
    assert found.out.count("majority baseline") == 4
    assert "mean absolute error" in found.out
    for name, measured in told["tasks"].items():
        assert json.loads((tmp_path / "report" / name / "report.json").read_text()) == measured
    page = (tmp_path / "report" / "years" / "report.html").read_text()
    assert "Years, labelled and predicted" in page
    assert "Years, labelled and predicted" not in (tmp_path / "report" / "gender" / "report.html").read_text()
    header = (tmp_path / "report" / "years" / "predictions.csv").read_text().split("\n")[0]
    assert header.endswith("20-116,predicted_years")
    refused = agecls("evaluate", multitask_run.folder, "--part", "valid", "--split", drawn_split.folder, "--bins", "7")
    assert refused.code == 2
    assert "unions" in refused.err
