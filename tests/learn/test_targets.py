"""What outputs mean: probabilities of ranks and years, losses, learned weights, and the settings that do not fit."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agecls.bins import PRESETS, Bins
from agecls.config import Config, LossConfig, TargetsConfig, parse_config
from agecls.data.faces import Faces
from agecls.errors import BinsError, ConfigError
from agecls.labels import AGE_MAX, TrainTask
from agecls.learn.age_losses import DistributionLoss, OrdinalLoss, YearsLoss
from agecls.learn.decoding import class_probabilities, exceedance, level_probabilities, mean_outputs, years_of
from agecls.learn.multitask import JointLoss, build_loss
from agecls.learn.networks.heads import SharedLinear
from agecls.learn.scores import Scores, choose_monitor
from agecls.learn.targets import Kind, Target, find_targets, refuse_idle, shared_rows, slices, total_width

SEVEN = Bins.parse("7")
DISTRIBUTION = Target("age", "distribution", SEVEN, over_years=True)
CORAL = Target("age", "coral", SEVEN, over_years=True)
CORN = Target("age", "corn", SEVEN, over_years=True)
YEARS = Target("years", "years", SEVEN, over_years=True)
GENDER = Target("gender", "classes")


def outputs_of(width: int) -> st.SearchStrategy[torch.Tensor]:
    """Outputs of three images, from nearly equal to nearly certain."""

    def draw(seed: int, scale: float) -> torch.Tensor:
        return scale * torch.randn(3, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return st.builds(draw, st.integers(0, 2**32 - 1), st.floats(0, 40))


@settings(max_examples=40, deadline=None)
@given(outputs_of(116), st.sampled_from(["coral", "corn"]))
def test_ranks_have_probabilities_that_never_rise_and_sum_to_one(outputs: torch.Tensor, kind: Kind) -> None:
    target = Target("age", kind, SEVEN, over_years=True)
    beyond = exceedance(target, outputs)
    assert (torch.diff(beyond, dim=1) <= 0).all()
    levels = level_probabilities(target, outputs)
    assert levels.shape == (3, 117)
    assert (levels >= 0).all()
    torch.testing.assert_close(levels.sum(dim=1), torch.ones(3, dtype=torch.float64))
    # The expected rank is the sum of the probabilities of having passed each threshold.
    torch.testing.assert_close(years_of(target, outputs), beyond.sum(dim=1))


@settings(max_examples=40, deadline=None)
@given(outputs_of(117), st.sampled_from(sorted(PRESETS)))
def test_bins_of_a_distribution_are_the_sums_over_their_years(outputs: torch.Tensor, preset: str) -> None:
    bins = Bins.parse(preset)
    found = class_probabilities(DISTRIBUTION.in_bins(bins), outputs).numpy()
    years = torch.softmax(outputs, dim=1).numpy()
    direct = np.stack([years[:, low : high + 1].sum(axis=1) for low, high in bins.ranges], axis=1)
    held = direct.sum(axis=1) > 1e-30  # years in gaps are left out, and the rest is shared out
    np.testing.assert_allclose(found[held], (direct / direct.sum(axis=1, keepdims=True))[held], atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(outputs_of(6))
def test_bins_are_joined_from_bins_by_summing(outputs: torch.Tensor) -> None:
    target = Target("age", "classes", Bins.parse("0-2,3-6,7-14,15-30,31-40,41-116"))
    found = class_probabilities(target.in_bins(Bins.parse("0-14,15-40,41-116")), outputs)
    own = torch.softmax(outputs, dim=1)
    direct = torch.stack([own[:, :3].sum(dim=1), own[:, 3:5].sum(dim=1), own[:, 5]], dim=1)
    torch.testing.assert_close(found, direct)


@pytest.mark.parametrize("other", ["4", "0-1,2-116", "0-14,15-35,36-116", "adience"])
def test_bins_that_are_no_unions_are_refused(other: str) -> None:
    with pytest.raises(BinsError, match="cannot be joined") as refusal:
        Target("age", "classes", SEVEN).in_bins(Bins.parse(other))
    assert "targets.age=distribution" in refusal.value.remedy


@settings(max_examples=40, deadline=None)
@given(st.floats(-60, 200), st.sampled_from(["7", "4", "adience"]))
def test_regression_is_in_the_bin_of_its_year_or_the_nearest(years: float, preset: str) -> None:
    target = YEARS.in_bins(Bins.parse(preset))
    outputs = torch.tensor([[(years - 35) / 20]], dtype=torch.float64)
    found = years_of(target, outputs)
    assert found is not None
    assert float(found) == pytest.approx(min(max(years, 0), AGE_MAX), abs=1e-9)
    (chosen,) = class_probabilities(target, outputs).argmax(dim=1).tolist()
    whole = round(float(found))
    away = [max(low - whole, whole - high, 0) for low, high in Bins.parse(preset).ranges]
    assert away[chosen] == min(away)


@pytest.mark.parametrize("target", [DISTRIBUTION, CORAL, CORN, YEARS, GENDER], ids=lambda each: str(each.kind))
def test_mean_of_two_answers_is_that_of_their_probabilities_or_years(target: Target) -> None:
    one, other = torch.randn(2, 4, target.width, generator=torch.Generator().manual_seed(0))
    both = (target, GENDER) if target is not GENDER else (GENDER,)
    pad = torch.zeros(4, total_width(both) - target.width)
    mean = mean_outputs(both, torch.cat([one, pad], 1), torch.cat([other, pad], 1))[:, slices(both)[0]]
    if target.kind == "years":
        torch.testing.assert_close(mean, (one + other) / 2)
    else:
        wanted = (level_probabilities(target, one) + level_probabilities(target, other)) / 2
        torch.testing.assert_close(level_probabilities(target, mean.double()).float(), wanted, atol=1e-5, rtol=1e-4)


def test_thresholds_of_coral_share_their_weights() -> None:
    targets = (GENDER, CORAL, Target("ethnicity", "classes"))
    rows = shared_rows(targets)
    assert rows is not None
    assert rows[:3] == (0, 1, 2)
    assert rows[2:118] == (2,) * 116
    assert rows[118:] == (3, 4, 5, 6, 7)
    assert shared_rows((GENDER, CORN)) is None
    layer = SharedLinear(5, rows)
    out = layer(torch.randn(2, 5))
    assert out.shape == (2, 123)
    assert layer.weight.shape == (8, 5)
    # Between two images all thresholds move by the same amount, and on a fresh layer they are in order.
    moved = (out[0] - out[1])[2:118]
    torch.testing.assert_close(moved, moved[:1].expand(116))
    assert (torch.diff(out[0, 2:118]) < 0).all()


def descend(loss: torch.nn.Module, outputs: torch.Tensor, labels: torch.Tensor, steps: int, lr: float) -> torch.Tensor:
    """Outputs after steps down the sign of the gradient, which get shorter."""
    for step in range(steps):
        outputs = outputs.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(outputs, labels), outputs)
        outputs = outputs - lr * (1 - step / steps) * gradient.sign()
    return outputs.detach()


AGES = torch.tensor([0, 5, 33, 116])


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (YearsLoss(TargetsConfig()), YEARS),
        (YearsLoss(TargetsConfig(years="l2")), YEARS),
        (YearsLoss(TargetsConfig(years="smooth-l1", bend=2)), YEARS),
        (DistributionLoss(TargetsConfig(age="distribution")), DISTRIBUTION),
        (OrdinalLoss(conditional=False), CORAL),
        (OrdinalLoss(conditional=True), CORN),
    ],
    ids=["l1", "l2", "smooth-l1", "distribution", "coral", "corn"],
)
def test_least_loss_is_at_the_labelled_age(loss: torch.nn.Module, target: Target) -> None:
    found = years_of(target, descend(loss, torch.zeros(4, target.width), AGES, steps=120, lr=0.3))
    assert found is not None
    # A distribution about 0 or 116 is cut off there, so its expectation lies within.
    np.testing.assert_allclose(found.numpy(), AGES.numpy(), atol=2.5)


def test_losses_of_years_are_what_they_are_called() -> None:
    outputs, years = torch.tensor([[0.0], [0.0]]), torch.tensor([45, 15])  # 10 and 20 years from 35
    assert float(YearsLoss(TargetsConfig())(outputs, years)) == pytest.approx((0.5 + 1) / 2)
    assert float(YearsLoss(TargetsConfig(years="l2"))(outputs, years)) == pytest.approx((0.25 + 1) / 2)
    smooth = YearsLoss(TargetsConfig(years="smooth-l1", bend=15))  # 0.75 units: below it quadratic, above it straight
    assert float(smooth(outputs, years)) == pytest.approx((0.5**2 / 2 / 0.75 + 1 - 0.75 / 2) / 2)


def test_corn_asks_a_threshold_of_those_beyond_the_one_before_alone() -> None:
    outputs = torch.zeros(1, 6, requires_grad=True)
    OrdinalLoss(conditional=True)(outputs, torch.tensor([2])).backward()
    assert outputs.grad is not None
    assert (outputs.grad[0, :3] != 0).all()
    assert (outputs.grad[0, 3:] == 0).all()


def joint(weights: object, names: tuple[str, ...] = ("age", "gender", "years")) -> JointLoss:
    config = parse_config({"targets": {"tasks": names, "task_weights": weights}})
    targets = find_targets("multitask", SEVEN, config.targets)
    loss = build_loss(targets, config, [torch.ones(len(target.classes)) for target in targets])
    assert isinstance(loss, JointLoss)
    return loss


def test_image_without_a_label_counts_for_the_other_tasks_alone() -> None:
    loss = joint({})
    outputs = torch.randn(3, 10, requires_grad=True)
    labels = torch.tensor([[2, 0, 30], [-1, 1, -1], [3, -1, 41]])
    parts, present = loss.parts(outputs, labels)
    alone, _ = loss.parts(outputs[:2], labels[:2])
    assert present.tolist() == [1, 1, 1]
    torch.testing.assert_close(parts[1], alone[1])
    loss(outputs, labels).backward()
    assert outputs.grad is not None
    assert (outputs.grad[1, :7] == 0).all()
    assert (outputs.grad[1, 7:9] != 0).all()
    assert outputs.grad[1, 9] == 0
    nobody, present = loss.parts(outputs, torch.tensor([[2, -1, 30]] * 3))
    assert nobody[1] == 0
    assert present.tolist() == [1, 0, 1]


def test_fixed_weights_weigh() -> None:
    outputs, labels = torch.randn(3, 10), torch.tensor([[2, 0, 30], [1, 1, 7], [3, 0, 41]])
    parts, _ = joint({}).parts(outputs, labels)
    torch.testing.assert_close(joint({})(outputs, labels), parts.sum())
    weighted = joint({"age": 3.0, "years": 0.0})(outputs, labels)
    torch.testing.assert_close(weighted, 3 * parts[0] + parts[1])


def test_learned_weights_turn_from_the_noisier_task() -> None:
    chance = torch.Generator().manual_seed(0)
    years = torch.randint(20, 50, (64,), generator=chance)
    genders = torch.randint(0, 2, (64,), generator=chance)
    loss = joint("learned", ("gender", "years"))
    assert loss.weights.tolist() == [1, 1]
    # Both are told apart from the outputs only by their losses: gender is answered well, years are off by 40.
    outputs = torch.zeros(64, 3)
    outputs[torch.arange(64), genders] = 5
    outputs[:, 2] = (years - 75) / 20
    optimizer = torch.optim.SGD(loss.parameters(), lr=1.0)
    for _ in range(150):
        optimizer.zero_grad()
        loss(outputs, torch.stack([genders, years], dim=1)).backward()
        optimizer.step()
    parts, _ = loss.parts(outputs, torch.stack([genders, years], dim=1))
    # The least of exp(-s) L + s / 2 is at exp(-s) = 1 / (2 L).
    torch.testing.assert_close(loss.weights[1], 1 / (2 * parts[1]), rtol=0.02, atol=0.0)
    assert loss.weights[0] > 10 * loss.weights[1]


def table(ages: list[tuple[int, int]], genders: list[str]) -> Faces:
    columns = ("ethnicity", "source", "sha256", "group")
    low, high = zip(*ages, strict=True)
    named = {"path": [f"{row}.jpg" for row in range(len(ages))], "age_low": low, "age_high": high, "gender": genders}
    return Faces(pd.DataFrame({**named, **{column: [""] * len(ages) for column in columns}}))


def test_labels_are_years_where_years_are_taught() -> None:
    faces = table([(7, 7), (15, 30), (116, 116)], ["male", "", "female"])
    assert CORN.labels(faces).tolist() == [7, -1, 116]
    assert CORN.truth(faces).tolist() == [2, 3, 6]
    assert Target("age", "coral", SEVEN).labels(faces).tolist() == [2, 3, 6]
    assert GENDER.labels(faces).tolist() == [0, -1, 1]


def test_scores_of_several_targets() -> None:
    targets = (DISTRIBUTION, GENDER)
    scores = Scores(targets, TargetsConfig(monitor="years"))
    outputs = torch.zeros(3, 119)
    outputs[torch.arange(3), torch.tensor([5, 30, 70])] = 100
    outputs[:, 117] = 1
    scores.update(outputs, torch.tensor([[5, 0], [33, 1], [-1, 0]]))
    found = scores.compute()
    assert scores.chosen_by == "valid_score"
    assert float(found.metrics["valid_score"]) == pytest.approx(-1.5)
    assert float(found.metrics["valid_age_mae_years"]) == pytest.approx(1.5)
    assert found.confusions["age"].sum() == 2
    assert found.confusions["age"][4, 3] == 1
    assert found.confusions["gender"].tolist() == [[2, 0], [1, 0]]
    each = [found.metrics[f"valid_{name}_macro_f1"] for name in ("age", "gender")]
    torch.testing.assert_close(found.metrics["valid_macro_f1"], sum(each) / 2)
    scores.update(outputs[:1], torch.tensor([[5, 0]]))
    assert float(scores.compute().metrics["valid_score"]) == pytest.approx(0)


@pytest.mark.parametrize(
    ("task", "monitor", "chosen"),
    [
        ("age-regression", "auto", "years"),
        ("multitask", "auto", "mean"),
        ("age", "auto", "mean"),
        ("age", "age", "age"),
    ],
)
def test_what_epochs_are_chosen_by(task: TrainTask, monitor: str, chosen: str) -> None:
    config = parse_config({"targets": {"monitor": monitor}}).targets
    assert choose_monitor(find_targets(task, SEVEN, config), config) == chosen


@pytest.mark.parametrize(("task", "monitor"), [("age", "years"), ("gender", "age"), ("multitask", "years")])
def test_epochs_are_not_chosen_by_what_is_not_answered(task: TrainTask, monitor: str) -> None:
    config = parse_config({"targets": {"monitor": monitor}}).targets
    with pytest.raises(ConfigError, match="not among what this training answers"):
        choose_monitor(find_targets(task, SEVEN, config), config)


@pytest.mark.parametrize(
    "targets",
    [
        {"tasks": []}, {"tasks": ["age", "age"]}, {"tasks": ["mood"]}, {"task_weights": {"years": 2}},
        {"task_weights": {"age": -1}}, {"task_weights": {"age": 0, "gender": 0, "ethnicity": 0}}, {"over": "bins"},
        {"spread": 3}, {"age": "coral", "spread": 3}, {"bend": 2}, {"spread": 0, "age": "distribution"},
        {"monitor": "x"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(targets: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="targets"):
        parse_config({"targets": targets})


@pytest.mark.parametrize(
    ("task", "config"),
    [
        ("age", Config(targets=TargetsConfig(tasks=("age", "gender")))),
        ("age", Config(targets=TargetsConfig(years="l2"))),
        ("gender", Config(targets=TargetsConfig(sample_by="gender"))),
        ("age-regression", Config(targets=TargetsConfig(task_weights="learned"))),
        ("age-regression", Config(loss=LossConfig(name="focal"))),
        ("age", Config(targets=TargetsConfig(age="corn"), loss=LossConfig(class_weights="inverse"))),
    ],
)
def test_settings_that_the_task_would_not_use_are_refused(task: TrainTask, config: Config) -> None:
    with pytest.raises(ConfigError):
        refuse_idle(task, config)


@pytest.mark.parametrize("task", ["age", "gender", "ethnicity", "multitask", "age-regression"])
def test_default_settings_suit_every_task(task: TrainTask) -> None:
    refuse_idle(task, Config())
