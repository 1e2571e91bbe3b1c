"""Settings of a training: one frozen tree of sections, validated as a whole."""

import difflib
from collections.abc import Mapping, Sequence, Set
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agecls.architectures import ARCHITECTURES, OWN_SETTINGS, WITH_IMAGENET, NetworkName, takers
from agecls.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
TargetName = Literal["age", "gender", "ethnicity", "years"]
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

LOSS_SETTINGS: Final[dict[str, frozenset[str]]] = {"cross-entropy": frozenset(), "focal": frozenset({"gamma"})}
"""Settings each loss takes besides smoothing and class weights."""

AVERAGE_SETTINGS: Final[dict[str, frozenset[str]]] = {
    "none": frozenset(),
    "ema": frozenset({"decay"}),
    "swa": frozenset({"start"}),
}
"""Settings each averaging of weights takes."""

TAKEN: Final[dict[str, dict[str, frozenset[str]]]] = {
    "optimizer": OPTIMIZER_SETTINGS,
    "schedule": SCHEDULE_SETTINGS,
    "loss": LOSS_SETTINGS,
    "average": AVERAGE_SETTINGS,
}
"""For each section with a name, the settings that belong to some of its names alone."""


class Section(BaseModel):
    """A frozen table of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def refuse_strangers(self, taken: Mapping[str, Set[str]]) -> None:
        """Raise ``ValueError`` where a setting differs from its default that the chosen ``name`` does not take."""
        chosen = str(self.name)  # type: ignore[attr-defined]
        for key in sorted(set().union(*taken.values()) - taken[chosen]):
            if getattr(self, key) != type(self).model_fields[key].default:
                owners = ", ".join(each for each, names in taken.items() if key in names)
                raise ValueError(f"{chosen} takes no {key}; it belongs to {owners}")


class NetworkConfig(Section):
    """Architecture and input; settings left out take the defaults of the network."""

    name: NetworkName = "agecnn"
    """Architecture; agecls models lists them."""
    image_size: Annotated[int, Field(ge=16, le=512)] = 224
    """Side of the input in pixels; left out, the one the network is made for."""
    channels: Literal[1, 3] = 1
    """1 for grey, 3 for RGB."""
    layers: Annotated[int, Field(ge=1, le=5)] | None = None
    """Number of convolutions of agecnn; each halves the side and doubles the features."""
    features: Annotated[int, Field(ge=1, le=512)] | None = None
    """Feature maps of agecnn's first convolution."""
    hidden: Annotated[int, Field(ge=0, le=8192)] = 132
    """Neurons of a hidden layer between features and output; 0 for none."""
    hidden_layers: Annotated[int, Field(ge=1, le=4)] = 1
    """How many of them, one after another."""
    dropout: Fraction = 0.6
    """Share of hidden neurons, or of features where none are hidden, dropped before the next layer."""
    bayesian: Literal["none", "half", "full"] = "none"
    """Last layer of uncertain weights (Blundell 2015): full for all outputs; half for those of the first task, or of
    two_branch's deeper branch, alone. evaluate answers by their means, and with --mc-dropout by drawn ones."""
    prior: Positive = 1.0
    """Deviation of the normal distribution about 0 that uncertain weights are pulled to."""
    input_norm: bool | None = None
    """Whether agecnn's input passes a batch norm of its own."""
    branch: Literal["age", "gender", "both"] | None = None
    """Which of two_branch's branches answers: the deeper one, made for age; the one for gender; or, for --task
    multitask, both: gender from its own, all else from the deeper one."""

    @model_validator(mode="before")
    @classmethod
    def _takes_the_defaults_of_its_network(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        known = ARCHITECTURES.get(given.get("name", "agecnn")) if isinstance(given.get("name", ""), str) else None
        missing = {key: value for key, value in known.defaults.items() if given.get(key) is None} if known else {}
        return {**given, **missing}

    @model_validator(mode="after")
    def _takes_what_is_set(self) -> "NetworkConfig":
        own = ARCHITECTURES[self.name].own
        for name in OWN_SETTINGS:
            if name not in own and getattr(self, name) is not None:
                raise ValueError(f"{self.name} takes no {name}; it belongs to {', '.join(takers(name))}")
        if self.bayesian == "none" and self.prior != type(self).model_fields["prior"].default:
            raise ValueError("prior belongs to bayesian=half or full")
        if self.layers is not None and self.image_size >> self.layers < 1:
            raise ValueError(f"image_size {self.image_size} does not survive {self.layers} poolings by 2")
        least, size = ARCHITECTURES[self.name].least, ARCHITECTURES[self.name].size
        if self.image_size < least:
            raise ValueError(
                f"image_size {self.image_size} is too small for {self.name}: it needs {least} and is made for {size}"
            )
        return self

    def settings(self) -> dict[str, Any]:
        """What the network takes besides its input and its head."""
        return {name: getattr(self, name) for name in ARCHITECTURES[self.name].own}


class TransferConfig(Section):
    """Where weights come from, and how much of them training may change."""

    pretrained: Literal["none", "imagenet"] = "none"
    """imagenet starts the backbone from published ImageNet weights; agecls models says where they come from."""
    weights: Annotated[str, Field(min_length=1)] | None = None
    """File of tensors to start the backbone from, safetensors or PyTorch's; what --weights sets."""
    freeze: Literal["none", "backbone", "backbone+hidden", "all-but-last", "gradual"] = "none"
    """What stays as it starts: the backbone; the first hidden layer too; all but the last trainable_blocks blocks of
    the backbone; or the backbone at first, and every unfreeze_every epochs one block less (Howard and Ruder 2018)."""
    trainable_blocks: Annotated[int, Field(ge=1)] | None = None
    """Blocks of the backbone that train, counted from its features, for freeze=all-but-last."""
    unfreeze_every: Annotated[int, Field(ge=1)] | None = None
    """Epochs from one block to the next, for freeze=gradual."""
    backbone_lr: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of the backbone as a share of the head's."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of each block of the backbone as a share of the one above it."""

    @model_validator(mode="after")
    def _goes_together(self) -> "TransferConfig":
        if self.weights is not None and self.pretrained != "none":
            raise ValueError("weights and pretrained both say where to start; give one of them")
        for name, freeze in (("trainable_blocks", "all-but-last"), ("unfreeze_every", "gradual")):
            given = getattr(self, name) is not None
            if given != (self.freeze == freeze):
                raise ValueError(f"{name} belongs to freeze={freeze}" if given else f"freeze={freeze} needs {name}")
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
    task_weights: dict[TargetName, Annotated[float, Field(ge=0)]] | Literal["learned"] = {}
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
    mixup: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Blend each image and its label with another's, by a share from Beta(mixup, mixup) (Zhang 2018); 0 is off."""
    cutmix: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Paste a box of another image, its area from Beta(cutmix, cutmix) (Yun 2019); 0 is off."""
    mixed: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the batches that are mixed; where mixup and cutmix are both on, each has half of them."""

    @model_validator(mode="after")
    def _mixes_by_something(self) -> "AugmentConfig":
        if self.mixed < 1 and not (self.mixup or self.cutmix):
            raise ValueError(
                f"mixed is {self.mixed} while mixup and cutmix are both 0; set one of them, such as mixup 0.2"
            )
        return self


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
    sampler_power: Annotated[float, Field(ge=0, le=1)] = 1.0
    """weighted draws an image with a chance of class frequency ** -sampler_power: 1 evens the classes out, 0 leaves
    their frequencies."""
    max_samples: Annotated[int, Field(ge=2)] | None = None
    """At most so many training images, drawn once from the seed; a larger number adds to a smaller one's."""
    balance: Literal["none", "class", "gender"] = "none"
    """class or gender: train on equally many images of each, drawn once from the seed; the rest is left out."""
    clip_norm: Annotated[float, Field(ge=0)] = 0.0
    """Largest norm of the gradient; a longer one is shortened to it; 0 never clips."""
    accumulate: Annotated[int, Field(ge=1, le=65536)] = 1
    """Batches whose gradients make one step: the step of one batch so many times as large, but for batch norms, which
    see each batch alone, and class weights, which are averaged within each."""
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes on each machine, one a GPU where there are any; each takes its own share of every epoch, so that a step
    sees devices x nodes x accumulate x batch_size images. Batch norms are over all processes."""
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Machines; start the same command on each, with MASTER_ADDR, MASTER_PORT and NODE_RANK in its environment."""
    compile: bool = False
    """Compile the network by torch.compile: a wait at the start, then faster steps on most GPUs."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto times both on this network and machine and takes the faster one if its results agree."""
    workers: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = "auto"
    """Processes that prepare batches; auto takes none on two cores or fewer."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Of weights, batches and augmentation."""
    picture_every: Annotated[int, Field(ge=0)] = 10
    """Epochs between confusion-matrix pictures in TensorBoard; 0 draws none."""


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


class PredictConfig(Section):
    """How the trained network is asked, on valid as well."""

    mirror: bool = False
    """Average the probabilities of each image and its mirror image, at twice the time."""


class Config(Section):
    """Everything that decides what a training does."""

    network: NetworkConfig = NetworkConfig()
    transfer: TransferConfig = TransferConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    targets: TargetsConfig = TargetsConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    average: AverageConfig = AverageConfig()
    predict: PredictConfig = PredictConfig()

    @model_validator(mode="after")
    def _goes_together(self) -> "Config":
        train, wait = self.train, self.schedule.wait
        if train.sampler == "uniform" and train.sampler_power != 1:
            raise ValueError(f"train.sampler_power={train.sampler_power} needs train.sampler=weighted")
        if self.schedule.name == "plateau" and 0 < train.patience <= wait:
            raise ValueError(
                f"with schedule.wait={wait} and train.patience={train.patience} training would stop before the rate "
                f"has ever fallen; set train.patience above schedule.wait"
            )
        if train.nodes > 1 and train.precision == "auto":
            raise ValueError(
                f"train.nodes={train.nodes} needs one precision for all machines; set train.precision to fp32 or bf16"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_network(self) -> "Config":
        name = self.network.name
        if self.transfer.pretrained == "imagenet" and name not in WITH_IMAGENET:
            raise ValueError(f"there are no ImageNet weights of {name}; there are of {', '.join(WITH_IMAGENET)}")
        if self.transfer.freeze == "backbone+hidden" and not self.network.hidden:
            raise ValueError(f"freeze=backbone+hidden needs a hidden layer, and {name} has none; set network.hidden")
        return self


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
            subject = f"setting {name}" if name else "the settings"
            return ConfigError(f"{subject} cannot be used", got=str(first["ctx"]["error"]))
        case _:
            message = first["msg"].removeprefix("Input ")
            problem = f"it {message}" if message.startswith("should") else message
            return ConfigError(f"setting {name} has a wrong value", got=repr(first["input"]), remedy=problem)
