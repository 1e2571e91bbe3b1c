"""Chain: how a hierarchy routes, as its run's record keeps it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from agecls.data.faces import Faces
from agecls.hierarchy_config import Usable
from agecls.labels import GROUPINGS

By = Literal["gender", "ethnicity"]
"""What a router tells apart."""

MEMBERS: Final = "members"
"""Folder of the members inside that of the hierarchy."""

FLAT: Final = "flat"


@dataclass(frozen=True)
class Chain:
    """How a hierarchy answers for an image.

    Attributes:
        by: labels of its routers, in their order.
        routing: ``hard``, ``soft`` or ``abstain``.
        threshold: least P(group | image) at which ``abstain`` trusts the router; 0 for the other routings.
        experts: groups that have an expert of their own, in the order of ``group_names``.
        fallback: the other groups, each with the reason why the flat model answers for it.

    Raises:
        ValueError: the groups are not those of ``by``, or a value is impossible.
    """

    by: tuple[By, ...]
    routing: Usable
    threshold: float
    experts: tuple[str, ...]
    fallback: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.by or len(set(self.by)) < len(self.by) or not set(self.by) <= set(GROUPINGS):
            raise ValueError(f"by {', '.join(self.by)}")
        if self.routing not in get_args(Usable) or not 0 <= self.threshold <= 1:
            raise ValueError(f"routing {self.routing} with threshold {self.threshold}")
        if not self.experts or sorted([*self.experts, *self.fallback]) != sorted(self.groups):
            raise ValueError(f"experts for {', '.join(self.experts)}")

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of all groups, such as ``male`` or ``male/white``."""
        return group_names(self.by)

    @property
    def expert_numbers(self) -> dict[int, str]:
        """Number and name of each group that has an expert."""
        return {number: name for number, name in enumerate(self.groups) if name in self.experts}

    def to_json(self) -> dict[str, Any]:
        """What the record keeps."""
        return {**asdict(self), "by": list(self.by), "experts": list(self.experts)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Chain":
        """Read what ``to_json`` gave."""
        lists = {name: tuple(content[name]) for name in ("by", "experts")}
        return cls(**{**content, **lists})


def group_names(by: Sequence[By]) -> tuple[str, ...]:
    """Names of the groups of some labels, the last label running fastest."""
    return tuple("/".join(labels) for labels in product(*(GROUPINGS[each] for each in by)))


def only_of(by: Sequence[By], group: str) -> dict[str, str]:
    """What images of a group have in common, such as ``{"gender": "male"}``."""
    return dict(zip(by, group.split("/"), strict=True))


def group_of(faces: Faces, by: Sequence[By]) -> npt.NDArray[np.int64]:
    """Number of the group of each face, shape (N,); -1 where a label is unknown."""
    number, known = np.zeros(len(faces), np.int64), np.ones(len(faces), np.bool_)
    for label in by:
        position = faces.codes(label)
        number, known = number * len(GROUPINGS[label]) + position, known & (position >= 0)
    return np.where(known, number, -1)


def router_folder(label: str) -> str:
    """Where the router of a label lies in the folder of the hierarchy."""
    return f"{MEMBERS}/router-{label}"


def expert_folder(group: str) -> str:
    """Where the expert of a group lies in the folder of the hierarchy."""
    return f"{MEMBERS}/expert-{group.replace('/', '-')}"


def flat_folder() -> str:
    """Where the flat model lies in the folder of the hierarchy."""
    return f"{MEMBERS}/{FLAT}"
