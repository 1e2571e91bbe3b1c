"""Where a fine matrix comes from: a run's valid predictions, its folds, or a file; and which images it was made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agecls.bin_search.confusion_file import ConfusionFile
from agecls.bin_search.fine_run import FineRequest
from agecls.bin_search.matrix import FineMatrix
from agecls.data.looks import look_at
from agecls.data.split import Split
from agecls.errors import RunError
from agecls.evaluate import evaluate_part
from agecls.learn.ancestry import Seen
from agecls.learn.lineage import Lineage
from agecls.learn.only import keep_only
from agecls.learn.run import Run
from agecls.other_bins import OtherBins


@dataclass(frozen=True, eq=False)
class Source:
    """A fine matrix and its provenance.

    Attributes:
        matrix: of the fine bins.
        run: names of the runs that predicted; "" where not known.
        split: name of the split; "" where not known.
        fingerprint: of the split; "" where the images are not known.
        part: whose images were predicted, such as ``valid``.
        leaked: whether the runs or the split leak.
        leaked_count: how many images.
        seen: content hashes and looks of the images; None where they are not known.
        parents: lineages of the runs.
        notes: what has to be said with the result.
    """

    matrix: FineMatrix
    run: str
    split: str
    fingerprint: str
    part: str
    leaked: bool = False
    leaked_count: int = 0
    seen: Seen | None = None
    parents: tuple[Lineage, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The entries ``run``, ``split``, ``fingerprint``, ``part``, ``leaked`` and ``leaked_count``."""
        names = ("run", "split", "fingerprint", "part", "leaked", "leaked_count")
        return {name: getattr(self, name) for name in names}


def from_run(run: Run, split: Split, roots: Mapping[str, Path], *, allow_leakage: bool = False) -> Source:
    """Predict the valid part with a run of fine bins.

    Args:
        run: an age run without gaps between its bins.
        split: whose valid part to predict.
        roots: folder of each source.
        allow_leakage: go on where the run was fitted on images of valid.

    Raises:
        RunError: it is no age run.
        BinsError: its bins leave gaps.
        LeakageError: it was fitted on images of valid.
    """
    refuse_other_task(run)
    # A run that knows years answers in the finest bins that train fills; another one in its own.
    bins = FineRequest(split, roots, run.config).wanted if run.targets[0].over_years else run.bins
    evaluation = evaluate_part(run, "valid", split, roots, bins=OtherBins(bins), allow_leakage=allow_leakage)
    report = evaluation.report
    faces = keep_only(split.parts["valid"], run.only, f"valid of {split.name}")
    faces = faces.select(faces.targets("age", bins) >= 0)
    hashes = faces.table["sha256"].tolist()
    return Source(
        FineMatrix.of_answers(bins, report.truth, report.predicted),
        run=run.name,
        split=split.name,
        fingerprint=split.fingerprint,
        part="valid",
        leaked=report.origin.leaked,
        leaked_count=report.origin.leaked_count,
        seen=(hashes, look_at(split.everything, roots).perceptual(hashes)),
        parents=(Lineage.load(run.folder),),
        notes=evaluation.notes,
    )


def from_file(file: ConfusionFile) -> Source:
    """A matrix of images that are not known one by one, so that no lineage can be told."""
    told = file.told
    leaked = told.get("leaked") is True
    count = told.get("leaked_count")
    where = [_harmless(told.get(name)) for name in ("run", "split", "part")]
    return Source(
        file.matrix,
        *(where[0], where[1], ""),
        part=where[2],
        leaked=leaked,
        leaked_count=count if leaked and isinstance(count, int) and count >= 0 else 0,
        notes=() if where[2] else (f"{file.path} does not say which images it counts: keep those of test out of it",),
    )


def _harmless(name: object) -> str:
    """A name from a file as one short line without control characters."""
    return "".join(each for each in str(name or "") if each.isprintable())[:100]


def refuse_other_task(run: Run) -> None:
    """Raise ``RunError`` for a run that does not predict age."""
    if run.task not in ("age", "age-regression"):
        raise RunError(
            f"run {run.folder} predicts {run.task}, which has no bins to search",
            remedy="name an age run of fine bins, such as one of --bins 2y",
        )


def join_names(runs: Sequence[Run]) -> str:
    """Names of runs, as ``derived`` has them."""
    return ", ".join(run.name for run in runs)
