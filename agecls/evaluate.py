"""Score a run on a part of its split, or on any labelled folder it has not seen."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agecls.answering import Asked, answer, keep_labelled
from agecls.data.faces import Faces
from agecls.data.looks import keep_looks
from agecls.data.scan import scan
from agecls.data.sources import SourceName, TableOptions, read_source
from agecls.data.split import Part, Split
from agecls.errors import AgeclsError, DataError, SplitError, UsageError
from agecls.learn.ledger import note_opening
from agecls.learn.only import keep_only, write_only
from agecls.learn.run import Run
from agecls.learn.targets import Target
from agecls.other_bins import OtherBins, targets_in
from agecls.report.metrics import SCHEMA
from agecls.report.report import Report
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
    faces, notes = keep_labelled(targets, chosen, where)
    if run.only:
        notes.append(
            f"the run was trained on {write_only(run.only)} alone, so only the {len(chosen)} such images of the "
            f"{len(split.parts[part])} of {where} are scored"
        )
    if split.fingerprint != run.split.fingerprint:
        notes.append(f"the run was trained on another split: {run.split.name} {run.split.fingerprint[:12]}")
    # Asked for all three parts at once, the decoded images are those of the training and need no decoding.
    everything = split.everything
    asked = Asked(targets, faces, everything, roots, split.name, part, split.fingerprint, split.leaks, bins)
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
    labelled, notes = keep_labelled(targets, faces, f"{root}")
    scored = scanned.table["sha256"].isin(labelled.table["sha256"]).to_numpy()
    keep_looks(scanned.table["sha256"][scored].tolist(), scanned.looks[scored])  # no second look at the files
    if scanned.rejected:
        reasons = Counter(row.reason for row in scanned.rejected).most_common(3)
        listed = "; ".join(f"{count} {reason}" for reason, count in reasons)
        notes.append(f"{len(scanned.rejected)} files cannot be used and are left out: {listed}")
    if run.only:
        notes.append(f"the run was trained on {write_only(run.only)} alone; every labelled image of {root} is scored")
    asked = Asked(targets, labelled, labelled, {source: root}, f"{source} {root.name}", "all", bins=bins)
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
) -> Asked:
    """Labelled images of valid to fit temperature and sets on, but for those of the hashes ``without``."""
    where = f"valid of {split.name}"
    chosen = keep_only(split.parts["valid"], run.only, where)
    kept = ~chosen.table["sha256"].isin(without).to_numpy()
    if not kept.any():
        raise DataError(f"every image of {where} is one to be scored", remedy="score other images")
    faces, _ = keep_labelled(targets, chosen.select(kept), where)
    # Searched bins were chosen on valid, as the epoch was: no reason to refuse it here, where it is not the judge.
    return Asked(targets, faces, split.everything, roots, split.name, "valid", split.fingerprint, split.leaks)


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


def _score(
    run: Run, asked: Asked, notes: list[str], *, asking: Asking, valid: Asked | None, allow_leakage: bool
) -> Evaluation:
    refuse_strangers(run, asking.others, allow_leakage=allow_leakage)
    answers = answer(run, asked, notes, asking, allow_leakage=allow_leakage)
    aside: list[str] = []
    on_valid = answer(run, valid, aside, asking, allow_leakage=allow_leakage) if valid else {}
    notes += [each for each in aside if each.startswith("LEAKED") and each not in notes]
    judged = {name: judge(report, on_valid.get(name), asking, notes.append) for name, report in answers.items()}
    reports = {name: report for name, (report, _) in judged.items()}
    measured = {name: found | asking.to_json(run) for name, (_, found) in judged.items()}
    if len(measured) > 1:
        origin = next(iter(reports.values())).origin
        marks = {name: getattr(origin, name) for name in ("run", "split", "part", "leaked", "leaked_count")}
        return Evaluation(reports, {"schema": SCHEMA, **marks, "tasks": measured}, tuple(notes))
    return Evaluation(reports, next(iter(measured.values())), tuple(notes))
