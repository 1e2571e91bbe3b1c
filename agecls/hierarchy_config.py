"""Settings of a hierarchy: the ``hierarchy`` table of a configuration file."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from agecls.config import Section, nearest
from agecls.errors import ConfigError

Routing = Literal["flat", "hard", "soft", "oracle", "abstain"]
"""How an image finds its answer."""

ROUTINGS: Final[tuple[Routing, ...]] = get_args(Routing)
"""In the order of every table and picture."""

Usable = Literal["hard", "soft", "abstain"]
"""Routings that use the router and need nothing but the image."""

Wanted = Literal["best", "hard", "soft", "abstain"]
"""Routing a hierarchy answers with; ``best`` is the best of the three on valid."""


class MemberSettings(Section):
    """Training settings of the members that differ from those of the file, as sections of settings."""

    flat: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Of the age model of all images."""
    router: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Of the routers."""
    expert: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Of the age model of each group."""


class HierarchyConfig(Section):
    """How a hierarchy is made."""

    by: tuple[Literal["gender", "ethnicity"], ...] = ("gender",)
    """Labels to route by, one after another."""
    routing: Wanted = "best"
    """What it answers with."""
    warm_start: bool = False
    """Whether experts start from the flat model's weights."""
    min_images: Annotated[int, Field(ge=1)] = 10
    """Training images of each bin that a group needs to have an expert."""
    members: MemberSettings = MemberSettings()
    """Training settings by role."""

    @field_validator("by")
    @classmethod
    def _once_each(cls, by: tuple[str, ...]) -> tuple[str, ...]:
        if not by or len(set(by)) < len(by):
            raise ValueError("name each label once, at least one")
        return by


def parse_hierarchy(table: Mapping[str, Any], where: str) -> HierarchyConfig:
    """Validate the ``hierarchy`` table of a file.

    Raises:
        ConfigError: for the first wrong key or value.
    """
    try:
        return HierarchyConfig.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, ("hierarchy", *first["loc"])))
        remedy = ""
        if first["type"] == "extra_forbidden":
            sections = MemberSettings if len(first["loc"]) > 1 else HierarchyConfig
            remedy = nearest(first["loc"][-1], list(sections.model_fields))
        raise ConfigError(f"{where}: {name}: {first['msg']}", got=repr(first["input"]), remedy=remedy) from None
