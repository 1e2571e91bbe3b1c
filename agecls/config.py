"""Settings of a training: one frozen tree of sections, validated as a whole."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agecls.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
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


class Section(BaseModel):
    """A frozen table of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class NetworkConfig(Section):
    """The 4-layer CNN family."""

    name: Literal["agecnn"] = "agecnn"
    """Architecture; agecnn is convolution 3x3 -> ReLU -> batch norm -> max pool, repeated."""
    image_size: Annotated[int, Field(ge=16, le=512)] = 224
    """Side of the input in pixels."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB."""
    layers: Annotated[int, Field(ge=1, le=5)] = 4
    """Number of convolutions; each halves the side and doubles the features."""
    features: Annotated[int, Field(ge=1, le=512)] = 64
    """Feature maps of the first convolution."""
    hidden: Annotated[int, Field(ge=1, le=8192)] = 132
    """Neurons of the hidden layer."""
    dropout: Fraction = 0.6
    """Share of hidden neurons dropped before the output."""
    input_norm: bool = True
    """Whether the input passes a batch norm of its own."""

    @model_validator(mode="after")
    def _survives_pooling(self) -> "NetworkConfig":
        if self.image_size >> self.layers < 1:
            raise ValueError(f"image_size {self.image_size} does not survive {self.layers} poolings by 2")
        return self


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
        extra = set(self.settings()) - OPTIMIZER_SETTINGS[self.name]
        if extra:
            name = min(extra)
            takers = ", ".join(each for each, names in OPTIMIZER_SETTINGS.items() if name in names)
            raise ValueError(f"{self.name} takes no {name}; it belongs to {takers}")
        return self

    def settings(self) -> dict[str, Any]:
        """What is set besides name, lr and weight_decay."""
        return self.model_dump(exclude={"name", "lr", "weight_decay"}, exclude_none=True)


class ScheduleConfig(Section):
    """How the learning rate moves."""

    name: Literal["constant", "onecycle"] = "constant"
    """onecycle rises to lr and anneals to nothing over all epochs (Smith and Topin 2018)."""
    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the steps in which onecycle rises."""


class LossConfig(Section):
    """Cross-entropy and its weights."""

    label_smoothing: Fraction = 0.001
    """Probability shared out over all classes."""
    class_weights: Literal["none", "one-minus-share", "inverse"] = "none"
    """Weight of a class: 1, 1 - its share, or 1 / its share (scaled to mean 1)."""


class AugmentConfig(Section):
    """Random changes to training images; the ranges are fractions of the side unless said otherwise."""

    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Chance of each change."""
    shift: Fraction = 0.05
    """Largest shift."""
    scale: Fraction = 0.05
    """Largest change of scale."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest rotation in degrees."""
    crop: Fraction = 0.1
    """Largest part of the side cut away by a random crop, scaled back to size."""
    blur: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Largest standard deviation of a Gaussian blur, in pixels."""
    brightness: Fraction = 0.2
    """Largest change of brightness."""
    contrast: Fraction = 0.2
    """Largest change of contrast."""
    flip: bool = False
    """Mirror left and right."""


class TrainConfig(Section):
    """The loop."""

    batch_size: Annotated[int, Field(ge=2, le=65536)] = 64
    """Images a step."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    """At most so many passes."""
    patience: Annotated[int, Field(ge=0)] = 20
    """Stop after so many epochs without a better valid macro-F1; 0 never stops."""
    sampler: Literal["weighted", "uniform"] = "weighted"
    """weighted draws images by inverse class frequency, with replacement; uniform shuffles them."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto times both on this network and machine and takes the faster one if its results agree."""
    workers: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = "auto"
    """Processes that prepare batches; auto takes none on two cores or fewer."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Of weights, batches and augmentation."""
    picture_every: Annotated[int, Field(ge=0)] = 10
    """Epochs between confusion-matrix pictures in TensorBoard; 0 draws none."""


class Config(Section):
    """Everything that decides what a training does."""

    network: NetworkConfig = NetworkConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()


def parse_config(tree: Mapping[str, Any]) -> Config:
    """Validate a tree of settings.

    Raises:
        ConfigError: for the first wrong key or value.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise _explain(error) from None


def setting_names() -> list[str]:
    """Every setting as ``section.key``."""
    return [f"{section}.{key}" for section, model in _sections().items() for key in model.model_fields]


def describe_settings() -> list[tuple[str, str, str]]:
    """Every setting with its default and what it means, for help texts."""
    default = Config().model_dump(mode="json")
    return [
        (f"{section}.{key}", str(default[section][key]), field.description or "")
        for section, model in _sections().items()
        for key, field in model.model_fields.items()
    ]


def _sections() -> dict[str, type[Section]]:
    return {name: field.annotation for name, field in Config.model_fields.items() if isinstance(field.annotation, type)}


def nearest(text: object, names: Sequence[str]) -> str:
    """Name the nearest right word, or all of them where none is near."""
    near = difflib.get_close_matches(str(text), names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(names)}"


def _explain(error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    where = [str(step) for step in first["loc"] if not str(step).startswith(("literal[", "constrained"))]
    name = ".".join(where)
    match first["type"]:
        case "extra_forbidden":
            section = _sections().get(where[0])
            names = list(section.model_fields) if section and len(where) > 1 else list(Config.model_fields)
            return ConfigError(f"there is no setting {name!r}", remedy=nearest(where[-1], names))
        case "literal_error":
            allowed = [piece.strip("'") for piece in first["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            near = nearest(first["input"], allowed)
            return ConfigError(f"setting {name} has an unknown value", got=repr(first["input"]), remedy=near)
        case "value_error":
            return ConfigError(f"setting {name} cannot be used", got=str(first["ctx"]["error"]))
        case _:
            message = first["msg"].removeprefix("Input ")
            problem = f"it {message}" if message.startswith("should") else message
            return ConfigError(f"setting {name} has a wrong value", got=repr(first["input"]), remedy=problem)
