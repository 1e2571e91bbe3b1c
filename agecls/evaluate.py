"""Score a run on a part of its split, or on any labelled folder it has not seen."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agecls.data.cache import decode_faces
from agecls.data.faces import Faces
from agecls.data.looks import keep_looks, look_at
from agecls.data.scan import scan
from agecls.data.sources import SourceName, TableOptions, read_source
from agecls.data.split import Part, Split
from agecls.errors import AgeclsError, DataError, RunError, SplitError
from agecls.learn.hierarchy import network_of
from agecls.learn.inference import EVAL_BATCH, best_device, image_batches, predict_probabilities
from agecls.learn.ledger import note_opening
from agecls.learn.lineage import Lineage
from agecls.learn.only import keep_only, write_only
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


def evaluate_part(
    run: Run, part: Part, split: Split, roots: Mapping[str, Path], *, allow_leakage: bool = False
) -> Evaluation:
    """Score a run on valid or test of a split; opening test is noted in the run's ledger.

    Args:
        run: the run; one trained on some images only is scored on such images only.
        part: which part.
        split: the split of its training, or another one that shares no image with it.
        roots: folder of each source.
        allow_leakage: score even images it was fitted on, and mark the result.

    Raises:
        LeakageError: the run or an ancestor was fitted on an image of the part, or on a near twin of one.
        DataError: images are missing or changed.
    """
    where = f"{part} of {split.name}"
    chosen = keep_only(split.parts[part], run.only, where)
    faces, notes = _labelled(run, chosen, where)
    if run.only:
        notes.append(
            f"the run was trained on {write_only(run.only)} alone, so only the {len(chosen)} such images of the "
            f"{len(split.parts[part])} of {where} are scored"
        )
    if split.fingerprint != run.split.fingerprint:
        notes.append(f"the run was trained on another split: {run.split.name} {run.split.fingerprint[:12]}")
    # Asked for all three parts at once, the decoded images are those of the training and need no decoding.
    everything = split.everything
    asked = _Asked(faces, everything, roots, split.name, part, split.fingerprint, split.leaks)
    evaluation = _score(run, asked, notes, allow_leakage=allow_leakage)
    notes = list(evaluation.notes)
    if part == "test":
        try:
            count = note_opening(run.folder, part, split.fingerprint, len(faces))
            times = "time" if count == 1 else "times"
            notes.append(f"this run has opened the test part of {split.name} {count} {times}, this one included")
        except AgeclsError as error:
            notes.append(f"this opening of the test part could not be noted: {error.what}")
    return Evaluation(evaluation.report, evaluation.measured, tuple(notes))


def evaluate_source(
    run: Run,
    source: SourceName,
    root: Path,
    options: TableOptions | None = None,
    *,
    allow_leakage: bool = False,
) -> Evaluation:
    """Score a run on a labelled folder.

    Raises:
        LeakageError: the run or an ancestor was fitted on any of its images, or on a near twin of one.
        DataError: no usable image.
    """
    scanned = scan(source, root, read_source(source, root, options or TableOptions()))
    if scanned.table.empty:
        raise DataError(
            f"no image of {root} can be used", got=scanned.rejected[0].reason, remedy="check --source and --root"
        )
    faces = Faces(scanned.table.drop(columns="keys").assign(group=scanned.table["sha256"]))
    labelled, notes = _labelled(run, faces, f"{root}")
    scored = scanned.table["sha256"].isin(labelled.table["sha256"]).to_numpy()
    keep_looks(scanned.table["sha256"][scored].tolist(), scanned.looks[scored])  # no second look at the files
    if scanned.rejected:
        reasons = Counter(row.reason for row in scanned.rejected).most_common(3)
        listed = "; ".join(f"{count} {reason}" for reason, count in reasons)
        notes.append(f"{len(scanned.rejected)} files cannot be used and are left out: {listed}")
    if run.only:
        notes.append(f"the run was trained on {write_only(run.only)} alone; every labelled image of {root} is scored")
    asked = _Asked(labelled, labelled, {source: root}, f"{source} {root.name}", "all")
    return _score(run, asked, notes, allow_leakage=allow_leakage)


def split_of(run: Run, given: Path | None, *, allow_leakage: bool = False) -> Split:
    """Load the split given, which may be another than the run's; else the recorded one, or that name in ``splits/``.

    Raises:
        SplitError: none is given, and what lies where the run's was is missing or another split.
        LeakageError: the split leaks in itself, and that is not allowed.
    """
    if given is not None:
        return Split.load(given, allow_leakage=allow_leakage)
    candidates = [Path(run.split.folder), Path("splits") / run.split.name]
    for candidate in candidates:
        if (candidate / "manifest.json").is_file():
            split = Split.load(candidate, allow_leakage=allow_leakage)
            if split.fingerprint != run.split.fingerprint:
                raise SplitError(
                    f"run {run.folder} was trained on another split than {split.folder}",
                    got=f"{run.split.name} {run.split.fingerprint[:12]} against {split.fingerprint[:12]}",
                    remedy="name its split with --split, or any other one to score the run on that",
                )
            return split
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


@dataclass(frozen=True)
class _Asked:
    """Images to be scored.

    Attributes:
        faces: labelled ones, to be scored.
        cached_with: the set by which they are found in the cache.
        roots: folder of each source.
        name: of the split or the folder.
        part: of the split, or ``all``.
        fingerprint: of the split; "" for a folder.
        leaks: images that leak within the split itself.
    """

    faces: Faces
    cached_with: Faces
    roots: Mapping[str, Path]
    name: str
    part: str
    fingerprint: str = ""
    leaks: int = 0


def _score(run: Run, asked: _Asked, notes: list[str], *, allow_leakage: bool) -> Evaluation:
    faces, roots = asked.faces, asked.roots
    paths, hashes = faces.table["path"].tolist(), faces.table["sha256"].tolist()
    lineage = Lineage.load(run.folder)
    looks = look_at(asked.cached_with, roots)
    met = lineage.meet(hashes, looks.thumbnails[looks.rows(hashes)], asked.fingerprint).settle(
        paths,
        "score images the run has not seen, such as --part test of its own split",
        allow_leakage=allow_leakage,
        note=notes.append,
    )
    origin = _origin(run, asked, met)
    if origin.leaked and not met:
        notes.append("LEAKED: none of the scored images leaked, but the run, an ancestor of it or the split did")
    network = network_of(run)
    prepared = run.preprocessing
    decoded = decode_faces(asked.cached_with, roots, prepared.image_size, prepared.channels)
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


def _origin(run: Run, asked: _Asked, met: int) -> Origin:
    """Mark the scores where an image, the split, the run or an ancestor leaks: no scoring washes that off."""
    leaked = run.leaked or met > 0 or asked.leaks > 0
    return Origin(run.name, asked.name, asked.part, leaked, met or run.leaked_count or asked.leaks)
