"""Schedules of the learning rate."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from agecls.config import OptimizerConfig, ScheduleConfig
from agecls.learn.optimizers import build_optimizer, build_schedule


def rates(config: ScheduleConfig, steps: int) -> list[float]:
    optimizer = build_optimizer(OptimizerConfig(lr=0.1), [torch.nn.Parameter(torch.zeros(2))])
    schedule = build_schedule(config, optimizer, 0.1, steps)
    assert isinstance(schedule, LRScheduler)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("steps", [1, 4, 100, 101, 102, 103])
def test_step_falls_in_quarters(steps: int) -> None:
    found = rates(ScheduleConfig(name="step"), steps)
    quarter = math.ceil(steps / 4)
    expected = [0.1 * [1, 0.2, 0.04, 0.008][step // quarter] for step in range(steps)]
    assert found == pytest.approx(expected)


def test_step_takes_other_parts_and_factors() -> None:
    found = rates(ScheduleConfig(name="step", parts=2, factor=0.5), 10)
    assert found == pytest.approx([0.1] * 5 + [0.05] * 5)


@pytest.mark.parametrize("steps", [2, 10, 97])
def test_cosine_rises_straight_and_falls_to_nearly_nothing(steps: int) -> None:
    found = rates(ScheduleConfig(name="cosine", warmup=0.2), steps)
    rising = max(1, round(0.2 * steps))
    assert found[:rising] == pytest.approx([0.1 * (step + 1) / rising for step in range(rising)])
    assert found[rising - 1] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in zip(found[rising - 1 :], found[rising:], strict=False))
    middle = rising + (steps - rising) / 2 - 0.5
    if steps == 97:
        assert found[int(middle)] == pytest.approx(0.05, rel=0.05)
        assert 0 < found[-1] < 0.001


def test_plateau_falls_after_so_many_epochs_without_a_better_score() -> None:
    optimizer = build_optimizer(OptimizerConfig(lr=1.0), [torch.nn.Parameter(torch.zeros(2))])
    schedule = build_schedule(ScheduleConfig(name="plateau", wait=2, factor=0.5), optimizer, 1.0, 100)
    assert isinstance(schedule, ReduceLROnPlateau)
    seen = []
    for score in (0.1, 0.2, 0.2, 0.15, 0.15, 0.15, 0.3, 0.3):
        schedule.step(score)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_blocks_keep_their_share_of_the_rate() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr, "lr_scale": lr} for lr in (1.0, 0.1)]
    for name in ("onecycle", "cosine", "step"):
        optimizer = build_optimizer(OptimizerConfig(lr=1.0, name="sgd"), [dict(group) for group in groups])
        schedule = build_schedule(ScheduleConfig(name=name), optimizer, 1.0, 10)
        assert isinstance(schedule, LRScheduler)
        for _ in range(9):
            optimizer.step()
            schedule.step()
            head, block = (group["lr"] for group in optimizer.param_groups)
            assert block == pytest.approx(0.1 * head, rel=1e-3, abs=1e-5)
