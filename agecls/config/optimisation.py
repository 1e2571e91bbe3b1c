"""Settings of the optimiser, of its learning rate, and of what is averaged of its steps."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from agecls.config.section import Fraction, Positive, Section

OptimizerName = Literal["adam", "adamw", "nadam", "sgd", "rmsprop", "adadelta", "adamax"]

OPTIMIZER_SETTINGS: Final[dict[str, frozenset[str]]] = {
    "adam": frozenset({"betas", "eps", "amsgrad"}),
    "adamw": frozenset({"betas", "eps", "amsgrad"}),
    "nadam": frozenset({"betas", "eps", "momentum_decay", "decoupled_weight_decay"}),
    "sgd": frozenset({"momentum", "nesterov"}),
    "rmsprop": frozenset({"eps", "alpha", "momentum", "centered"}),
    "adadelta": frozenset({"eps", "rho"}),
    "adamax": frozenset({"betas", "eps"}),
}
"""Settings each optimiser takes besides ``lr`` and ``weight_decay``."""

SCHEDULE_SETTINGS: Final[dict[str, frozenset[str]]] = {
    "constant": frozenset(),
    "onecycle": frozenset(),
    "cosine": frozenset(),
    "step": frozenset({"factor", "parts"}),
    "plateau": frozenset({"factor", "wait"}),
}
"""Settings each schedule takes besides ``warmup``."""

AVERAGE_SETTINGS: Final[dict[str, frozenset[str]]] = {
    "none": frozenset(),
    "ema": frozenset({"decay"}),
    "swa": frozenset({"start"}),
}
"""Settings each averaging of weights takes."""


class OptimizerConfig(Section):
    """Optimiser; settings left out keep PyTorch's defaults."""

    name: OptimizerName = "nadam"
    """One of torch.optim's."""
    lr: Positive = 1e-4
    """Learning rate; the peak where a schedule changes it."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """L2 penalty; decoupled from the gradient for adamw, and for nadam with decoupled_weight_decay."""
    betas: tuple[Fraction, Fraction] | None = None
    """Decay of the two moment averages."""
    eps: Positive | None = None
    """Added to the denominator."""
    amsgrad: bool | None = None
    """Keep the largest second moment."""
    momentum_decay: Positive | None = None
    """NAdam's momentum decay."""
    decoupled_weight_decay: bool | None = None
    """Apply NAdam's weight decay as AdamW does."""
    momentum: Fraction | None = None
    """Momentum of sgd and rmsprop."""
    nesterov: bool | None = None
    """Nesterov momentum for sgd."""
    alpha: Fraction | None = None
    """Smoothing of rmsprop."""
    centered: bool | None = None
    """Centre rmsprop's gradient."""
    rho: Fraction | None = None
    """Averaging of adadelta."""

    @model_validator(mode="after")
    def _takes_what_is_set(self) -> "OptimizerConfig":
        self.refuse_strangers(OPTIMIZER_SETTINGS)
        return self

    def settings(self) -> dict[str, Any]:
        """What is set besides name, lr and weight_decay."""
        return self.model_dump(exclude={"name", "lr", "weight_decay"}, exclude_none=True)


class ScheduleConfig(Section):
    """How the learning rate moves."""

    name: Literal["constant", "onecycle", "cosine", "step", "plateau"] = "constant"
    """onecycle (Smith and Topin 2018) and cosine rise to lr and anneal to nothing over all epochs, cosine straight up;
    step lowers lr from part to part of the training; plateau when valid macro-F1 has stopped rising."""
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the steps in which onecycle and cosine rise."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """What step and plateau multiply the rate by."""
    parts: Annotated[int, Field(ge=2, le=1000)] = 4
    """Equal parts of the training for step: four of them at factor 0.2 give 1, 0.2, 0.04 and 0.008 of lr."""
    wait: Annotated[int, Field(ge=1)] = 5
    """Epochs without a better valid macro-F1 after which plateau lowers the rate."""

    @model_validator(mode="after")
    def _takes_what_is_set(self) -> "ScheduleConfig":
        self.refuse_strangers(SCHEDULE_SETTINGS)
        return self


class AverageConfig(Section):
    """Mean of the weights over the steps; where there is one, it is validated, kept and saved."""

    name: Literal["none", "ema", "swa"] = "none"
    """ema is an exponential moving average, batch-norm statistics included; swa the plain mean of the last epochs'
    (Izmailov 2018), its batch-norm statistics taken anew from one pass over the training images each epoch."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """Share of the average that ema keeps at each step; less in the first steps, (1 + n) / (10 + n) after n."""
    start: Fraction = 0.75
    """Share of the epochs before swa begins."""

    @model_validator(mode="after")
    def _takes_what_is_set(self) -> "AverageConfig":
        self.refuse_strangers(AVERAGE_SETTINGS)
        return self
