"""What ``agecls train`` was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agecls.bins import Bins
from agecls.config import Config
from agecls.data.split import Split
from agecls.labels import TrainTask


@dataclass(frozen=True)
class TrainRequest:
    """What ``agecls train`` was asked for.

    Attributes:
        task: what to learn; ``multitask`` learns those of ``targets.tasks`` by one network.
        bins: age bins.
        bins_name: how the user named them, for the default folder.
        split: the frozen split.
        roots: folder of each source.
        config: settings.
        out: folder of the run; None takes the next free ``runs/<task>-<bins>-<n>``.
        resume: go on from the run's last checkpoint.
        init_from: folder of a run whose weights to start from.
        only: labels that every image must have, such as ``{"gender": "male"}``; empty takes all.
        held_out: groups of train that the run is not fitted on.
        bins_file: the ``bins.json`` that the bins were read from; None for others.
        allow_leakage: go on past a leakage guard, and mark the run and all that is made from it.
        progress: whether to show a progress bar.
    """

    task: TrainTask
    bins: Bins
    bins_name: str
    split: Split
    roots: Mapping[str, Path]
    config: Config
    out: Path | None = None
    resume: bool = False
    init_from: Path | None = None
    only: Mapping[str, str] = field(default_factory=dict)
    held_out: frozenset[str] = frozenset()
    bins_file: Path | None = None
    allow_leakage: bool = False
    progress: bool = False
