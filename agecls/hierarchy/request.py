"""What ``agecls hierarchy`` was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agecls.bins import Bins
from agecls.config import Config
from agecls.data.split import Part, Split
from agecls.errors import UsageError
from agecls.hierarchy_config import Wanted
from agecls.learn.chain import By, group_names


@dataclass(frozen=True)
class HierarchyRequest:
    """What to assemble, and from what.

    Attributes:
        by: labels to route by, in order.
        bins: age bins of the flat model and the experts.
        bins_name: how the user named them, for the default folders.
        split: the frozen split.
        roots: folder of each source.
        flat_config: settings of the flat model.
        expert_config: settings of the experts.
        router_configs: settings of the router of each label.
        out: folder of the hierarchy; None takes the next free ``runs/hierarchy-<by>-<bins>-<n>``.
        flat: a run to use as the flat model; None finds or trains one.
        routers: runs to use as routers, whose tasks say for which label; missing ones are found or trained.
        experts: runs to use as experts, by group; missing ones are found or trained.
        routing: which routing the hierarchy answers with; ``best`` takes the best on valid.
        warm_start: whether experts that are trained start from the flat model.
        min_images: training images of each bin that a group needs to have an expert of its own.
        part: which part is scored.
        bins_file: the ``bins.json`` the bins were read from, if any.
        allow_leakage: go on past a leakage guard, and mark the hierarchy and all that is made from it.
        progress: whether to show progress bars.

    Raises:
        UsageError: an expert is given for a group that is none of ``by``.
    """

    by: tuple[By, ...]
    bins: Bins
    bins_name: str
    split: Split
    roots: Mapping[str, Path]
    flat_config: Config
    expert_config: Config
    router_configs: Mapping[By, Config]
    out: Path | None = None
    flat: Path | None = None
    routers: tuple[Path, ...] = ()
    experts: Mapping[str, Path] = field(default_factory=dict)
    routing: Wanted = "best"
    warm_start: bool = False
    min_images: int = 10
    part: Part = "valid"
    bins_file: Path | None = None
    allow_leakage: bool = False
    progress: bool = False

    def __post_init__(self) -> None:
        groups = group_names(self.by)
        for group in self.experts:
            if group not in groups:
                raise UsageError(
                    f"there is no group {group} by {' and '.join(self.by)}", remedy=f"one of {', '.join(groups)}"
                )

    @property
    def folder(self) -> Path:
        """Where the hierarchy and the runs it needs are written: beside ``out``, else ``runs``."""
        return self.out.absolute().parent if self.out else Path("runs")
