"""What a network is asked for: one target a task, its outputs, and the labels it is taught by."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from agecls.bins import UNLABELLED, Bins
from agecls.config import Config, LossConfig, TargetName, TargetsConfig
from agecls.data.faces import Faces
from agecls.errors import BinsError, ConfigError
from agecls.labels import AGE_MAX, AGE_MIN, ETHNICITIES, GENDERS, Task, TrainTask

Kind = Literal["classes", "distribution", "coral", "corn", "years"]
"""How outputs are read: a logit a class; a logit a year; a logit a threshold (Cao 2020; Shi 2021); years themselves."""

_NONE: Final = Bins.parse("3")
"""What faces are asked with for gender and ethnicity, which have no bins."""

YEARS: Final = tuple((year, year) for year in range(AGE_MIN, AGE_MAX + 1))
"""The 117 ages as ranges, which is what bins are made of."""


@dataclass(frozen=True)
class Target:
    """One task of a network.

    Attributes:
        name: ``age``, ``gender``, ``ethnicity``, or ``years`` for an age that is answered in years alone.
        kind: how its outputs are read.
        bins: age bins of the training; None for gender and ethnicity.
        over_years: whether it is taught by exact years, so that it knows them and answers in any bins.
        others: age bins to answer in instead of those of the training.
    """

    name: TargetName
    kind: Kind
    bins: Bins | None = None
    over_years: bool = False
    others: Bins | None = None

    @property
    def task(self) -> Task:
        """Whose labels it answers."""
        return "age" if self.name == "years" else self.name

    @property
    def answered(self) -> Bins | None:
        """Age bins that it answers in."""
        return self.others or self.bins

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes that it answers with."""
        if self.answered is not None:
            return self.answered.names
        return GENDERS if self.name == "gender" else ETHNICITIES

    @property
    def levels(self) -> int:
        """Number of what it is taught: classes or years."""
        if self.over_years:
            return len(YEARS)
        return len(self.bins or self.classes)

    @property
    def width(self) -> int:
        """Number of its outputs."""
        match self.kind:
            case "classes" | "distribution":
                return self.levels
            case "coral" | "corn":
                return self.levels - 1
            case "years":
                return 1

    def labels(self, faces: Faces) -> npt.NDArray[np.int64]:
        """What it is taught: class or whole year of each image, shape (N,); -1 where that is not known."""
        if not self.over_years:
            return faces.targets(self.task, self.bins or _NONE)
        years = faces.years
        return np.where(np.isnan(years), UNLABELLED, years).astype(np.int64)

    def truth(self, faces: Faces) -> npt.NDArray[np.int64]:
        """What it is scored by: class of each image, shape (N,); -1 where that is not known."""
        return faces.targets(self.task, self.answered or _NONE)

    def in_bins(self, bins: Bins) -> "Target":
        """The same outputs, scored in other bins.

        Raises:
            BinsError: they are not unions of the bins it was taught.
        """
        target = dataclasses.replace(self, others=None if bins == self.bins else bins)
        if target.others:
            join_levels(target)
        return target

    def to_json(self) -> dict[str, Any]:
        """Its entry in a run's record."""
        return {"name": self.name, "kind": self.kind, "classes": list(self.classes), "outputs": self.width}


def find_targets(task: TrainTask, bins: Bins, config: TargetsConfig) -> tuple[Target, ...]:
    """What a training is for, in the order of the network's outputs."""
    match task:
        case "multitask":
            names: tuple[TargetName, ...] = config.tasks
        case "age-regression":
            names = ("years",)
        case _:
            names = (task,)
    return tuple(_target(name, bins, config) for name in names)


def _target(name: TargetName, bins: Bins, config: TargetsConfig) -> Target:
    match name:
        case "years":
            return Target(name, "years", bins, over_years=True)
        case "age" if config.age != "bins":
            return Target(name, config.age, bins, config.age == "distribution" or config.over == "years")
        case "age":
            return Target(name, "classes", bins)
        case _:
            return Target(name, "classes")


def refuse_idle(task: TrainTask, config: Config) -> None:
    """Refuse settings that this task would not use.

    Raises:
        ConfigError: naming the first one.
    """
    targets, default = config.targets, TargetsConfig()
    asked = find_targets(task, _NONE, targets)
    several = "train --task multitask"
    idle = {"tasks": several, "task_weights": several, "sample_by": several} if task != "multitask" else {}
    if task == "age":  # a configuration of many tasks may speak of others' ages, which gender does not mind
        idle["years"] = "train --task age-regression"
    for key, remedy in idle.items():
        if getattr(targets, key) != getattr(default, key):
            raise ConfigError(
                f"task {task} takes no targets.{key}",
                got=str(getattr(targets, key)),
                remedy=f"leave it out, or {remedy}",
            )
    if config.network.branch == "both" and (len(asked) == 1 or gender_slice(asked) is None):
        raise ConfigError(
            "network.branch=both answers gender and something else",
            got=f"targets {', '.join(target.name for target in asked)}",
            remedy=f"{several}, or choose the branch age or gender",
        )
    if "classes" not in {target.kind for target in asked}:
        for name in ("name", "class_weights"):
            if getattr(config.loss, name) != getattr(LossConfig(), name):
                raise ConfigError(
                    f"loss.{name}={getattr(config.loss, name)} is of classes, and this training has none",
                    got=f"targets {', '.join(f'{target.name} ({target.kind})' for target in asked)}",
                    remedy=f"leave loss.{name} out, or learn age as bins",
                )


def is_plain(targets: Sequence[Target]) -> bool:
    """Whether a network has one target of classes: its outputs are their logits."""
    return len(targets) == 1 and targets[0].kind == "classes"


def total_width(targets: Sequence[Target]) -> int:
    """Outputs of a network with these targets."""
    return sum(target.width for target in targets)


def slices(targets: Sequence[Target]) -> list[slice]:
    """Where the outputs of each target stand."""
    ends = np.cumsum([target.width for target in targets]).tolist()
    return [slice(end - target.width, end) for target, end in zip(targets, ends, strict=True)]


def gender_slice(targets: Sequence[Target]) -> slice | None:
    """Where the outputs of gender stand; None where there is no such target."""
    places = zip(targets, slices(targets), strict=True)
    return next((place for target, place in places if target.name == "gender"), None)


def shared_rows(targets: Sequence[Target]) -> tuple[int, ...] | None:
    """Row of the last layer's weights that each output uses; None where each has its own.

    The thresholds of CORAL differ in their biases alone, so that they cannot cross (Cao 2020).
    """
    if not any(target.kind == "coral" for target in targets):
        return None
    rows: list[int] = []
    for target in targets:
        first = rows[-1] + 1 if rows else 0
        rows += [first if target.kind == "coral" else first + number for number in range(target.width)]
    return tuple(rows)


def join_levels(target: Target) -> npt.NDArray[np.int64]:
    """Bin that each level of an age target is counted into, shape (L,); -1 for a year in a gap.

    Raises:
        BinsError: the target has other bins that these are not unions of.
    """
    bins = target.answered
    assert bins is not None  # noqa: S101 - ages have bins
    own = YEARS if target.over_years or target.bins is None else target.bins.ranges
    lows, highs = zip(*own, strict=True)
    found = bins.index_of_range(lows, highs)
    if not target.over_years:
        held = np.bincount(found[found >= 0], weights=(np.array(highs) - lows + 1)[found >= 0], minlength=len(bins))
        if (found < 0).any() or held.tolist() != [high - low + 1 for low, high in bins.ranges]:
            raise BinsError(
                "the run was trained on bins that these cannot be joined from",
                got=f"{bins.text}; trained on {target.bins.text if target.bins else 'none'}",
                remedy="give bins that are unions of its own, or train with --set targets.age=distribution, which "
                "serves any bins",
            )
    return found
