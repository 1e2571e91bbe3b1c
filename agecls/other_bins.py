"""Age bins that a finished run is asked in, other than those of its training."""

from dataclasses import dataclass
from pathlib import Path

from agecls.bins import Bins
from agecls.errors import BinsError
from agecls.learn.bins_origin import BinsOrigin
from agecls.learn.run import Run
from agecls.learn.targets import Target


@dataclass(frozen=True)
class OtherBins:
    """Bins to be scored in.

    Attributes:
        bins: these.
        origin: of searched ones.
    """

    bins: Bins
    origin: BinsOrigin | None = None

    @classmethod
    def parse(cls, text: str) -> "OtherBins":
        """Read what ``--bins`` gives: a preset, a list, or a ``bins.json`` with what it was searched on.

        Raises:
            BinsError: there are no such bins.
        """
        return cls(Bins.parse(text), BinsOrigin.load(Path(text)) if text.strip().endswith(".json") else None)


def targets_in(run: Run, bins: OtherBins | None) -> tuple[Target, ...]:
    """What a run answers, its ages in the bins given.

    Raises:
        BinsError: it has no age, or cannot answer in these bins.
    """
    if bins is None:
        return run.targets
    if not any(target.bins for target in run.targets):
        raise BinsError(f"run {run.folder} of task {run.task} has no age bins", remedy="leave --bins out")
    if run.chain is not None and bins.bins != run.bins:
        raise BinsError(
            f"{run.folder} is a hierarchy, whose bins are fixed", got=bins.bins.text, remedy="leave --bins out"
        )
    return tuple(target.in_bins(bins.bins) if target.bins else target for target in run.targets)
