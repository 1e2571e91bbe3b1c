"""Score a run on a part of its split, or on any labelled folder it has not seen."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agecls.data.cache import decode_faces
from agecls.data.faces import Faces
from agecls.data.looks import keep_looks, look_at
from agecls.data.scan import scan
from agecls.data.sources import SourceName, TableOptions, read_source
from agecls.data.split import Part, Split
from agecls.errors import AgeclsError, DataError, RunError, SplitError, UsageError
from agecls.learn.decoding import class_probabilities, mean_outputs, years_of
from agecls.learn.hierarchy import network_of
from agecls.learn.inference import EVAL_BATCH, best_device, image_batches, predict_outputs
from agecls.learn.ledger import note_opening
from agecls.learn.lineage import Lineage
from agecls.learn.only import keep_only, write_only
from agecls.learn.run import Run
from agecls.learn.sampling import sampled
from agecls.learn.scored_bins import guard_scores
from agecls.learn.targets import Target, slices
from agecls.other_bins import OtherBins, targets_in
from agecls.progress import progress
from agecls.report.metrics import SCHEMA
from agecls.report.report import Origin, Report
from agecls.uncertainty import PLAIN, Asking, judge, refuse_strangers


@dataclass(frozen=True)
class Evaluation:
    """Reports, their numbers, and what has to be said with them.

    Attributes:
        reports: one for each task of the run, by name.
        measured: content of ``evaluate --json``; of several tasks, one object each under ``tasks``.
        notes: sentences.
    """

    reports: Mapping[str, Report]
    measured: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def report(self) -> Report:
        """That of a run of one task."""
        (report,) = self.reports.values()
        return report

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """What was measured of each task."""
        one = next(iter(self.reports))
        return self.measured.get("tasks", {one: self.measured})  # type: ignore[no-any-return]


def evaluate_part(
    run: Run,
    part: Part,
    split: Split,
    roots: Mapping[str, Path],
    *,
    bins: OtherBins | None = None,
    asking: Asking = PLAIN,
    allow_leakage: bool = False,
) -> Evaluation:
    """Score a run on valid or test of a split; opening test is noted in the run's ledger.

    Args:
        run: the run; one trained on some images only is scored on such images only.
        part: which part.
        split: the split of its training, or another one that shares no image with it.
        roots: folder of each source.
        bins: age bins to score in; None for the run's own.
        asking: how it is asked; what is fitted for it comes from valid of the split.
        allow_leakage: score even images it was fitted on, and mark the result.

    Raises:
        UsageError: valid is to be scored by what is fitted on it.
        BinsError: the run cannot answer in these bins.
        LeakageError: the run or an ancestor was fitted on an image of the part, or on a near twin of one.
        DataError: images are missing or changed.
    """
    where = f"{part} of {split.name}"
    chosen = keep_only(split.parts[part], run.only, where)
    targets = targets_in(run, bins)
    faces, notes = _labelled(targets, chosen, where)
    if run.only:
        notes.append(
            f"the run was trained on {write_only(run.only)} alone, so only the {len(chosen)} such images of the "
            f"{len(split.parts[part])} of {where} are scored"
        )
    if split.fingerprint != run.split.fingerprint:
        notes.append(f"the run was trained on another split: {run.split.name} {run.split.fingerprint[:12]}")
    # Asked for all three parts at once, the decoded images are those of the training and need no decoding.
    everything = split.everything
    asked = _Asked(targets, faces, everything, roots, split.name, part, split.fingerprint, split.leaks, bins)
    if asking.needs_valid and part == "valid":
        raise UsageError("temperature and sets are fitted on valid, so valid cannot judge them", remedy="--part test")
    valid = _valid(run, targets, split, roots) if asking.needs_valid else None
    evaluation = _score(run, asked, notes, asking=asking, valid=valid, allow_leakage=allow_leakage)
    notes = list(evaluation.notes)
    for member in (run, *asking.others) if part == "test" else ():
        called = f"run {member.name}" if asking.others else "this run"
        try:
            count = note_opening(member.folder, part, split.fingerprint, len(faces))
            times = "time" if count == 1 else "times"
            notes.append(f"{called} has opened the test part of {split.name} {count} {times}, this one included")
        except AgeclsError as error:
            notes.append(f"this opening of the test part could not be noted: {error.what}")
    return Evaluation(evaluation.reports, evaluation.measured, tuple(notes))


def evaluate_source(
    run: Run,
    source: SourceName,
    root: Path,
    options: TableOptions | None = None,
    *,
    bins: OtherBins | None = None,
    asking: Asking = PLAIN,
    held_out: tuple[Split, Mapping[str, Path]] | None = None,
    allow_leakage: bool = False,
) -> Evaluation:
    """Score a run on a labelled folder.

    Args:
        run: the run.
        source: kind of the folder.
        root: the folder.
        options: how a table is read.
        bins: age bins to score in; None for the run's own.
        asking: how it is asked.
        held_out: split of the run's training and where its images lie, where ``asking`` needs valid.
        allow_leakage: score even images it was fitted on, and mark the result.

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
    targets = targets_in(run, bins)
    labelled, notes = _labelled(targets, faces, f"{root}")
    scored = scanned.table["sha256"].isin(labelled.table["sha256"]).to_numpy()
    keep_looks(scanned.table["sha256"][scored].tolist(), scanned.looks[scored])  # no second look at the files
    if scanned.rejected:
        reasons = Counter(row.reason for row in scanned.rejected).most_common(3)
        listed = "; ".join(f"{count} {reason}" for reason, count in reasons)
        notes.append(f"{len(scanned.rejected)} files cannot be used and are left out: {listed}")
    if run.only:
        notes.append(f"the run was trained on {write_only(run.only)} alone; every labelled image of {root} is scored")
    asked = _Asked(targets, labelled, labelled, {source: root}, f"{source} {root.name}", "all", bins=bins)
    valid = None
    if asking.needs_valid:
        if held_out is None:
            raise UsageError("temperature and sets are fitted on valid", remedy="name the run's split with --split")
        valid = _valid(run, targets, *held_out, without=frozenset(labelled.table["sha256"]))
    return _score(run, asked, notes, asking=asking, valid=valid, allow_leakage=allow_leakage)


def _valid(
    run: Run,
    targets: tuple[Target, ...],
    split: Split,
    roots: Mapping[str, Path],
    without: frozenset[str] = frozenset(),
) -> "_Asked":
    """Labelled images of valid to fit temperature and sets on, but for those of the hashes ``without``."""
    where = f"valid of {split.name}"
    chosen = keep_only(split.parts["valid"], run.only, where)
    kept = ~chosen.table["sha256"].isin(without).to_numpy()
    if not kept.any():
        raise DataError(f"every image of {where} is one to be scored", remedy="score other images")
    faces, _ = _labelled(targets, chosen.select(kept), where)
    # Searched bins were chosen on valid, as the epoch was: no reason to refuse it here, where it is not the judge.
    return _Asked(targets, faces, split.everything, roots, split.name, "valid", split.fingerprint, split.leaks)


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


def _labelled(targets: Sequence[Target], faces: Faces, where: str) -> tuple[Faces, list[str]]:
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


@dataclass(frozen=True)
class _Asked:
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


def _score(
    run: Run, asked: _Asked, notes: list[str], *, asking: Asking, valid: _Asked | None, allow_leakage: bool
) -> Evaluation:
    refuse_strangers(run, asking.others, allow_leakage=allow_leakage)
    answers = _answer(run, asked, notes, asking, allow_leakage=allow_leakage)
    aside: list[str] = []
    on_valid = _answer(run, valid, aside, asking, allow_leakage=allow_leakage) if valid else {}
    notes += [each for each in aside if each.startswith("LEAKED") and each not in notes]
    judged = {name: judge(report, on_valid.get(name), asking, notes.append) for name, report in answers.items()}
    reports = {name: report for name, (report, _) in judged.items()}
    measured = {name: found | asking.to_json(run) for name, (_, found) in judged.items()}
    if len(measured) > 1:
        origin = next(iter(reports.values())).origin
        marks = {name: getattr(origin, name) for name in ("run", "split", "part", "leaked", "leaked_count")}
        return Evaluation(reports, {"schema": SCHEMA, **marks, "tasks": measured}, tuple(notes))
    return Evaluation(reports, next(iter(measured.values())), tuple(notes))


def _answer(run: Run, asked: _Asked, notes: list[str], asking: Asking, *, allow_leakage: bool) -> dict[str, Report]:
    """Guard the images, have the run or the whole ensemble answer, and lay the labels beside."""
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


def _outputs(run: Run, asked: _Asked, hashes: Sequence[str], passes: int) -> Tensor:
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


def _origin(run: Run, others: Sequence[Run], asked: _Asked, met: int) -> Origin:
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
