"""The run of fine bins that a bare search uses: the newest that fits, else one trained now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from agecls.bins import Bins
from agecls.config import Config
from agecls.data.split import Split
from agecls.errors import BinsError
from agecls.labels import AGE_MAX, AGE_MIN
from agecls.learn.datamodule import name_groups
from agecls.learn.run import Run
from agecls.learn.run_folder import newest_runs
from agecls.train import TrainRequest, train

FINE: Final = 24
"""Bins of a run that a bare search takes for fine, at least: twice the most that it searches for."""

LEAST: Final = (20, 10, 5, 2, 1)
"""Training images of each fine bin, at least: the first of these with which there are as many bins as ``FINE``."""

STEM: Final = "fine"
"""Trained runs lie in ``runs/age-fine-N``."""


@dataclass(frozen=True)
class FineRequest:
    """What a run of fine bins is looked for or trained with.

    Attributes:
        split: the frozen split.
        roots: folder of each source.
        config: settings of a training.
        exact: take only a run of these very settings.
        bins: fine bins that were asked for; None for single years merged as ``fine_bins`` does.
        folds: into which train is cut, so that a bin must have images for each; 0 for none.
        runs: folder in which runs lie.
        allow_leakage: train on a split that leaks.
        progress: whether to show progress bars.
    """

    split: Split
    roots: Mapping[str, Path]
    config: Config
    exact: bool = False
    bins: Bins | None = None
    folds: int = 0
    runs: Path = Path("runs")
    allow_leakage: bool = False
    progress: bool = False

    @property
    def wanted(self) -> Bins:
        """Bins of a training."""
        return self.bins or fine_bins(self.years, self.least)

    @property
    def least(self) -> int:
        """Training images of each fine bin, at least; fewer in a small split, which would have too few bins else."""
        enough = next((each for each in LEAST if len(_starts(self.years, each)) >= FINE), LEAST[-1])
        # Twice the folds, for a group is never cut, and each model must be fitted on some image of each bin.
        return max(enough, 2 * self.folds)

    @property
    def years(self) -> npt.NDArray[np.float64]:
        """Exact ages of the training images, shape (N,); NaN where only a range is known."""
        return self.split.parts["train"].years


def fine_bins(years: npt.NDArray[np.float64], least: int) -> Bins:
    """Single years, each merged with the next ones until it has ``least`` images; too few at the end join the last bin.

    Args:
        years: exact ages of the training images, shape (N,); NaN where only a range is known.
        least: images of each bin.

    Raises:
        BinsError: the images do not fill two such bins.
    """
    starts = _starts(years, least)
    if len(starts) < 2:
        raise BinsError(
            f"the training images do not fill two fine bins of {least} images",
            got=f"{int((~np.isnan(years)).sum())} images of known age",
            remedy="split more images, or name fine bins with --fine",
        )
    ends = [*(start - 1 for start in starts[1:]), AGE_MAX]
    return Bins(tuple(zip(starts, ends, strict=True)))


def _starts(years: npt.NDArray[np.float64], least: int) -> list[int]:
    """First year of each fine bin."""
    counts = np.bincount(years[~np.isnan(years)].astype(np.int64), minlength=AGE_MAX + 1)
    starts, held = [AGE_MIN], 0
    for year in range(AGE_MIN, AGE_MAX + 1):
        held += int(counts[year])
        if held >= least and year < AGE_MAX:
            starts.append(year + 1)
            held = 0
    if held < least:
        starts.pop()  # what is left over is too few for a bin of its own
    return starts


def find_fine_run(request: FineRequest) -> Run | None:
    """The newest finished run of fine bins on the very split, trained on all its images and not leaked.

    Runs of fewer than 24 bins count where their bins are those that would be trained now.
    """
    fitting = [run for run in _runs_of(request) if run.status == "finished" and not run.held_out and not run.leaked]
    for run in fitting:
        if request.bins is not None:
            fine = run.bins == request.bins
        else:
            fine = not run.bins.gaps and (len(run.bins) >= FINE or run.bins == request.wanted)
        if fine and (not request.exact or run.config == request.config):
            return run
    return None


def train_fine_run(
    request: FineRequest, say: Callable[[str], None], held_out: frozenset[str] = frozenset(), stem: str = STEM
) -> Run:
    """Train a run of fine bins, or go on with an interrupted one; a finished one of the same making is taken as it is.

    Args:
        request: what to train.
        say: called with each line of talk.
        held_out: groups of train that the run is not fitted on.
        stem: of the folder, ``runs/age-STEM-N``.

    Raises:
        KeyboardInterrupt: the training was stopped; the next search goes on with it.
    """
    bins = request.wanted
    made = name_groups(held_out)
    begun = [
        run
        for run in _runs_of(request)
        if (run.bins, run.config, run.held_out) == (bins, request.config, made)
        and run.name.startswith(f"age-{stem}-")
        and (held_out or run.status != "finished")
        and (not run.leaked or request.allow_leakage)
    ]
    finished = [run for run in begun if run.status == "finished"]
    if finished:
        say(f"taking {finished[0].folder}, which is such a run")
        return finished[0]
    if begun:
        say(f"going on with {begun[0].folder}")
    run = train(
        TrainRequest(
            task="age",
            bins=bins,
            bins_name=stem,
            split=request.split,
            roots=request.roots,
            config=request.config,
            out=begun[0].folder if begun else None,
            resume=bool(begun),
            held_out=held_out,
            allow_leakage=request.allow_leakage,
            progress=request.progress,
        ),
        say,
    )
    if run.status == "interrupted":
        say(f"{run.folder} is left as it stands; the same command goes on with it")
        raise KeyboardInterrupt
    return run


def _runs_of(request: FineRequest) -> list[Run]:
    """Age runs on the very split and on all its images, the newest first; what cannot be read is no such run."""
    return [
        run
        for run in newest_runs(request.runs)
        if run.task == "age" and run.split.fingerprint == request.split.fingerprint and not run.only and not run.chain
    ]
