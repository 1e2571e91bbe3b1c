"""Settings of what is learnt and of the loss."""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from agecls.config.section import Fraction, Section

TargetName = Literal["age", "gender", "ethnicity", "years"]

LOSS_SETTINGS: Final[dict[str, frozenset[str]]] = {"cross-entropy": frozenset(), "focal": frozenset({"gamma"})}
"""Settings each loss takes besides smoothing and class weights."""


class LossConfig(Section):
    """The loss and its weights."""

    name: Literal["cross-entropy", "focal"] = "cross-entropy"
    """focal counts an image the less, the surer the network is of its class (Lin 2017)."""
    gamma: Annotated[float, Field(gt=0, le=10)] = 2.0
    """How steeply focal does so: the loss of a class of probability p is multiplied by (1 - p) ** gamma."""
    label_smoothing: Fraction = 0.001
    """Probability shared out over all classes."""
    class_weights: Literal["none", "one-minus-share", "inverse"] = "none"
    """Weight of a class: 1, 1 - its share, or 1 / its share (scaled to mean 1)."""

    @model_validator(mode="after")
    def _takes_what_is_set(self) -> "LossConfig":
        self.refuse_strangers(LOSS_SETTINGS)
        return self


class TargetsConfig(Section):
    """What the network is asked for."""

    tasks: Annotated[tuple[TargetName, ...], Field(min_length=1)] = ("age", "gender", "ethnicity")
    """Tasks of --task multitask, any of age, gender, ethnicity and years; one backbone and hidden layer for all."""
    age: Literal["bins", "distribution", "coral", "corn"] = "bins"
    """How age is learnt: a class a bin; a distribution over the 117 years (Gao 2017), whose bins come out by summing;
    or as a rank, by CORAL (Cao 2020) or CORN (Shi 2021)."""
    over: Literal["years", "bins"] = "years"
    """What coral and corn rank: years, from which any bins come out by summing, or the bins of the training."""
    spread: Annotated[float, Field(gt=0, le=50)] = 2.0
    """Standard deviation in years of the distribution that stands for an age."""
    expectation: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the L1 of the distribution's expectation, in units of 20 years."""
    years: Literal["l1", "l2", "smooth-l1"] = "l1"
    """Loss of a regression of years: --task age-regression, or years among the tasks."""
    bend: Annotated[float, Field(gt=0)] = 5.0
    """Error in years from which on smooth-l1 grows straight."""
    task_weights: dict[TargetName, Annotated[float, Field(ge=0)]] | Literal["learned"] = Field(default_factory=dict)
    """Weights of the tasks' losses, such as {age: 2, gender: 1}, 1 where not named; or learned, from the tasks' noise
    (Kendall, Gal and Cipolla 2018)."""
    monitor: Literal["auto", "mean", "age", "gender", "ethnicity", "years"] = "auto"
    """What chooses the best epoch and stops early: mean is the mean of the tasks' macro-F1, a task its own macro-F1,
    years the mean absolute error in years; auto is years for age-regression and mean for all others."""
    sample_by: Literal["auto", "age", "gender", "ethnicity"] = "auto"
    """Task by whose classes several are sampled and balanced; auto is age, or the first where age is not asked."""

    @model_validator(mode="after")
    def _goes_together(self) -> "TargetsConfig":
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks names one twice: {', '.join(self.tasks)}")
        if isinstance(self.task_weights, dict):
            strangers = [name for name in self.task_weights if name not in self.tasks]
            if strangers:
                raise ValueError(f"task_weights names {strangers[0]}, which is not among tasks")
            if self.task_weights and not any(self.task_weights.get(name, 1.0) for name in self.tasks):
                raise ValueError("task_weights are all 0")
        ranks = self.age in ("coral", "corn")
        spreads = self.age == "distribution"
        for key, fits, owner in (
            ("over", ranks, "age=coral or age=corn"),
            ("spread", spreads, "age=distribution"),
            ("expectation", spreads, "age=distribution"),
            ("bend", self.years == "smooth-l1", "years=smooth-l1"),
        ):
            if not fits and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} belongs to {owner}")
        return self
