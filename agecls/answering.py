"""What a run or an ensemble answers for labelled images it may be judged by: guarded, then laid beside the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agecls.config.loop import EVAL_BATCH
from agecls.data.cache import decode_faces
from agecls.data.faces import Faces
from agecls.data.looks import look_at
from agecls.errors import DataError, RunError
from agecls.learn.decoding import class_probabilities, mean_outputs, years_of
from agecls.learn.hierarchy import network_of
from agecls.learn.inference import best_device, image_batches, predict_outputs
from agecls.learn.lineage import Lineage
from agecls.learn.run import Run
from agecls.learn.sampling import sampled
from agecls.learn.scored_bins import guard_scores
from agecls.learn.targets import Target, slices
from agecls.other_bins import OtherBins
from agecls.progress import progress
from agecls.report.report import Origin, Report
from agecls.uncertainty import Asking


@dataclass(frozen=True)
class Asked:
    """Images to be scored.

    Attributes:
        targets: what the run answers.
        faces: labelled ones, to be scored.
        cached_with: the set by which they are found in the cache.
        roots: folder of each source.
        name: of the split or the folder.
        part: of the split, or ``all``.
        fingerprint: of the split; "" for a folder.
        leaks: images that leak within the split itself.
        bins: other bins than the run's.
    """

    targets: tuple[Target, ...]
    faces: Faces
    cached_with: Faces
    roots: Mapping[str, Path]
    name: str
    part: str
    fingerprint: str = ""
    leaks: int = 0
    bins: OtherBins | None = None


def keep_labelled(targets: Sequence[Target], faces: Faces, where: str) -> tuple[Faces, list[str]]:
    """Keep the faces that have a label for any task, and say how many lack one."""
    known = [target.truth(faces) >= 0 for target in targets]
    for target, has in zip(targets, known, strict=True):
        if not has.any():
            raise DataError(
                f"no image of {where} has a label among {', '.join(target.classes)}", remedy="score a run of other bins"
            )
    kept = np.any(known, axis=0)
    return faces.select(kept), [
        f"{missing} images of {where} have no label for {target.name} and are left out"
        for target, has in zip(targets, known, strict=True)
        if (missing := int((~has).sum()))
    ]


def answer(run: Run, asked: Asked, notes: list[str], asking: Asking, *, allow_leakage: bool) -> dict[str, Report]:
    """Guard the images, have the run or the whole ensemble answer, and lay the labels beside.

    Args:
        run: the run.
        asked: the images.
        notes: to which what has to be said with the answers is added.
        asking: how it is asked.
        allow_leakage: go on where an image leaks, and mark the answers.

    Returns:
        A report for each task.

    Raises:
        LeakageError: the run, an ensemble's other run or an ancestor was fitted on one of the images.
        RunError: a run answers with what is no number.
    """
    faces, roots = asked.faces, asked.roots
    paths, hashes = faces.table["path"].tolist(), faces.table["sha256"].tolist()
    looks = look_at(asked.cached_with, roots)
    met = max(
        Lineage.load(member.folder)
        .meet(hashes, looks.thumbnails[looks.rows(hashes)], asked.fingerprint)
        .settle(
            paths,
            "score images the run has not seen, such as --part test of its own split",
            allow_leakage=allow_leakage,
            note=notes.append,
        )
        for member in (run, *asking.others)
    )
    if asked.bins and asked.bins.origin:
        searched, thumbnails = asked.bins.origin, looks.thumbnails[looks.rows(hashes)]
        where = (asked.part, asked.fingerprint)
        met = max(
            met,
            guard_scores(searched, paths, hashes, thumbnails, *where, allow_leakage=allow_leakage, note=notes.append),
        )
    origin = _origin(run, asking.others, asked, met)
    if origin.leaked and not met:
        notes.append("LEAKED: none of the scored images leaked, but the run, an ancestor of it or the split did")
    each = [_outputs(member, asked, hashes, asking.passes) for member in (run, *asking.others)]
    outputs = each[0] if len(each) == 1 else mean_outputs(asked.targets, *each)
    return {
        target.name: _report(target, faces, outputs[:, part], origin)
        for target, part in zip(asked.targets, slices(asked.targets), strict=True)
    }


def _outputs(run: Run, asked: Asked, hashes: Sequence[str], passes: int) -> Tensor:
    """One run's outputs for each image, float64 of shape (N, W)."""
    network = sampled(network_of(run), run.targets, passes, f"run {run.folder}")
    prepared = run.preprocessing
    decoded = decode_faces(asked.cached_with, asked.roots, prepared.image_size, prepared.channels)
    rows = decoded.rows(hashes)
    with progress(f"scoring {run.task}", len(rows)) as advance:
        batches = image_batches(decoded.images, rows, EVAL_BATCH)
        outputs = predict_outputs(network, batches, run.precision, best_device(), advance)
    if not torch.isfinite(outputs).all():
        raise RunError(
            f"run {run.folder} gives probabilities that are no numbers", remedy="train it again at a lower optimizer.lr"
        )
    return outputs


def _report(target: Target, faces: Faces, outputs: Tensor, origin: Origin) -> Report:
    truth = target.truth(faces)
    known = truth >= 0
    if not known.all():
        faces, truth, outputs = faces.select(known), truth[known], outputs[torch.from_numpy(known)]
    years = years_of(target, outputs)
    return Report(
        task=target.task,
        classes=target.classes,
        paths=tuple(faces.table["path"]),
        truth=truth,
        probabilities=class_probabilities(target, outputs).numpy(),
        years=faces.years,
        groups={name: tuple(faces.table[name]) for name in ("gender", "ethnicity")},
        origin=origin,
        predicted_years=None if years is None else years.numpy(),
    )


def _origin(run: Run, others: Sequence[Run], asked: Asked, met: int) -> Origin:
    """Mark the scores where an image, the split, a run or an ancestor leaks: no scoring washes that off."""
    searched = asked.bins.origin if asked.bins else None
    members = (run, *others)
    # An ensemble of several splits got past its guard: one run was fitted on what another is judged by.
    mixed = len({member.split.fingerprint for member in members}) > 1
    leaked = any(member.leaked for member in members) or met > 0 or asked.leaks > 0 or mixed
    leaked = leaked or (searched is not None and searched.leaked)
    before = max(member.leaked_count for member in members) or asked.leaks
    before = before or (searched.leaked_count if searched else 0)
    return Origin(" + ".join(member.name for member in members), asked.name, asked.part, leaked, met or before)
