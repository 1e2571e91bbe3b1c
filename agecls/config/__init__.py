"""Settings of a training: one frozen tree of sections, validated as a whole."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError, model_validator

from agecls.architectures import WITH_IMAGENET
from agecls.config.loop import AugmentConfig, PredictConfig, TrainConfig
from agecls.config.network import NetworkConfig, TransferConfig
from agecls.config.objective import LOSS_SETTINGS, LossConfig, TargetName, TargetsConfig
from agecls.config.optimisation import (
    AVERAGE_SETTINGS,
    OPTIMIZER_SETTINGS,
    SCHEDULE_SETTINGS,
    AverageConfig,
    OptimizerConfig,
    OptimizerName,
    ScheduleConfig,
)
from agecls.config.section import Section, nearest
from agecls.errors import ConfigError

__all__ = [
    "AVERAGE_SETTINGS",
    "LOSS_SETTINGS",
    "OPTIMIZER_SETTINGS",
    "SCHEDULE_SETTINGS",
    "TAKEN",
    "AugmentConfig",
    "AverageConfig",
    "Config",
    "LossConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "OptimizerName",
    "PredictConfig",
    "ScheduleConfig",
    "Section",
    "TargetName",
    "TargetsConfig",
    "TrainConfig",
    "TransferConfig",
    "describe_settings",
    "nearest",
    "parse_config",
    "setting_names",
]

TAKEN: Final[dict[str, dict[str, frozenset[str]]]] = {
    "optimizer": OPTIMIZER_SETTINGS,
    "schedule": SCHEDULE_SETTINGS,
    "loss": LOSS_SETTINGS,
    "average": AVERAGE_SETTINGS,
}
"""For each section with a name, the settings that belong to some of its names alone."""


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
        if train.nodes > 1 and train.batch_size == "auto":
            raise ValueError(f"train.nodes={train.nodes} needs one batch size for all machines; set train.batch_size")
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
