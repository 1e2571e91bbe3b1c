"""Score a run on a part of its split, or on any labelled folder it has not seen."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agecls.data.cache import decode_faces
from agecls.data.faces import Faces
from agecls.data.scan import scan
from agecls.data.sources import SourceName, TableOptions, read_source
from agecls.data.split import Part, Split
from agecls.errors import AgeclsError, DataError, RunError, SplitError
from agecls.learn.inference import EVAL_BATCH, best_device, image_batches, predict_probabilities
from agecls.learn.ledger import note_opening
from agecls.learn.lineage import Lineage
from agecls.learn.run import Run
from agecls.progress import progress
from agecls.report.metrics import measure
from agecls.report.report import Origin, Report


@dataclass(frozen=True)
class Evaluation:
    """A report, its numbers, and what has to be said with them."""

    report: Report
    measured: dict[str, Any]
    notes: tuple[str, ...]


def evaluate_part(run: Run, part: Part, split: Split, roots: Mapping[str, Path]) -> Evaluation:
    """Score a run on valid or test of the split it was trained on; opening test is noted in the run's ledger.

    Raises:
        SplitError: it is not the split of the training.
        LeakageError: the run was fitted on an image of the part.
        DataError: images are missing or changed.
    """
    if split.fingerprint != run.split.fingerprint:
        raise SplitError(
            f"run {run.folder} was trained on another split than {split.folder}",
            got=f"{run.split.name} {run.split.fingerprint[:12]} against {split.fingerprint[:12]}",
            remedy="name the right one with --split, or score other images with --source and --root",
        )
    faces, notes = _labelled(run, split.parts[part], f"{part} of {split.name}")
    # Asked for all three parts at once, the decoded images are those of the training and need no decoding.
    everything = Faces.concat(list(split.parts.values()))
    evaluation = _score(run, faces, everything, roots, Origin(run.name, split.name, part, run.leaked), notes)
    if part == "test":
        try:
            count = note_opening(run.folder, part, split.fingerprint, len(faces))
            times = "time" if count == 1 else "times"
            notes.append(f"this run has opened the test part of {split.name} {count} {times}, this one included")
        except AgeclsError as error:
            notes.append(f"this opening of the test part could not be noted: {error.what}")
    return Evaluation(evaluation.report, evaluation.measured, tuple(notes))


def evaluate_source(run: Run, source: SourceName, root: Path, options: TableOptions | None = None) -> Evaluation:
    """Score a run on a labelled folder.

    Raises:
        LeakageError: the run was fitted on any of its images, by content.
        DataError: no usable image.
    """
    scanned = scan(source, root, read_source(source, root, options or TableOptions()))
    if scanned.table.empty:
        raise DataError(
            f"no image of {root} can be used", got=scanned.rejected[0].reason, remedy="check --source and --root"
        )
    faces = Faces(scanned.table.drop(columns="keys").assign(group=scanned.table["sha256"]))
    labelled, notes = _labelled(run, faces, f"{root}")
    if scanned.rejected:
        reasons = Counter(row.reason for row in scanned.rejected).most_common(3)
        listed = "; ".join(f"{count} {reason}" for reason, count in reasons)
        notes.append(f"{len(scanned.rejected)} files cannot be used and are left out: {listed}")
    origin = Origin(run.name, f"{source} {root.name}", "all", run.leaked)
    return _score(run, labelled, labelled, {source: root}, origin, notes)


def split_of(run: Run, given: Path | None) -> Split:
    """Load the split of a run: the one given, the one recorded, or the one of its name below ``splits/``."""
    if given is not None:
        return Split.load(given)
    candidates = [Path(run.split.folder), Path("splits") / run.split.name]
    for candidate in candidates:
        if (candidate / "manifest.json").is_file():
            return Split.load(candidate)
    raise SplitError(
        f"the split of run {run.folder} is not where it was trained",
        got=", ".join(map(str, candidates)),
        remedy="name its folder with --split",
    )


def roots_of(run: Run, split: Split, given: Sequence[Path], fallback: Callable[[], list[Path]]) -> dict[str, Path]:
    """Folders of the split's images: those given, those recorded, or the fallback."""
    recorded = [Path(root) for root in run.split.roots]
    if not given and recorded and all(root.is_dir() for root in recorded):
        return split.roots(recorded)
    return split.roots(given or fallback())


def _labelled(run: Run, faces: Faces, where: str) -> tuple[Faces, list[str]]:
    """Keep the faces that have a label for the run's task, and say how many have none."""
    known = faces.targets(run.task, run.bins) >= 0
    if not known.any():
        raise DataError(
            f"no image of {where} has a label among {', '.join(run.classes)}", remedy="score a run of other bins"
        )
    missing = int((~known).sum())
    return faces.select(known), [
        f"{missing} images of {where} have no label for {run.task} and are left out"
    ] if missing else []


def _score(
    run: Run, faces: Faces, decoded_with: Faces, roots: Mapping[str, Path], origin: Origin, notes: Sequence[str]
) -> Evaluation:
    paths, hashes = faces.table["path"].tolist(), faces.table["sha256"].tolist()
    Lineage.load(run.folder).refuse_fitted(run.name, paths, hashes)
    network = run.network()
    prepared = run.preprocessing
    decoded = decode_faces(decoded_with, roots, prepared.image_size, prepared.channels)
    rows = decoded.rows(hashes)
    with progress(f"scoring {run.task}", len(rows)) as advance:
        batches = image_batches(decoded.images, rows, EVAL_BATCH)
        probabilities = predict_probabilities(network, batches, run.precision, best_device(), advance)
    if not np.isfinite(probabilities).all():
        raise RunError(
            f"run {run.folder} gives probabilities that are no numbers", remedy="train it again at a lower optimizer.lr"
        )
    report = Report(
        task=run.task,
        classes=run.classes,
        paths=tuple(paths),
        truth=faces.targets(run.task, run.bins),
        probabilities=probabilities,
        years=faces.years,
        groups={name: tuple(faces.table[name]) for name in ("gender", "ethnicity")},
        origin=origin,
    )
    return Evaluation(report, measure(report), tuple(notes))
