"""Cross-validate a training: one run for each fold, judged on the fold it was not fitted on.

Every fold is a split of its own: of a split whose train and valid are cut into folds, each is frozen as one whose valid
is the fold; of published folds, each split has its fold as test. So runs, lineage and guards work as for any split.
"""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agecls.cross_validate.cv_file import SCHEMA, open_folder, save
from agecls.cross_validate.plan import Plan, plan_folds, plan_splits
from agecls.data.split import Split
from agecls.errors import AgeclsError, UsageError
from agecls.evaluate import Evaluation, evaluate_part
from agecls.learn.processes import find_place
from agecls.learn.run import Run
from agecls.learn.run_folder import alone_in
from agecls.learn.run_record import RECORD
from agecls.report.folds import pool, summarise
from agecls.report.metrics import measure
from agecls.report.page import write_page
from agecls.report.report import Origin, Report
from agecls.train import TrainRequest, train

__all__ = ["CrossValidation", "Plan", "cross_validate", "plan_folds", "plan_splits"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class CrossValidation:
    """What the folds have shown.

    Attributes:
        folder: where it lies: ``cv.json``, a run ``fold-N`` for each fold, and a report.
        runs: one for each fold.
        reports: all predictions out of fold, by task.
        told: content of ``cv.json``.
    """

    folder: Path
    runs: tuple[Run, ...]
    reports: Mapping[str, Report]
    told: dict[str, Any]


def cross_validate(request: TrainRequest, plan: Plan, say: Say) -> CrossValidation:
    """Train and judge a run for each fold; with ``resume`` finished folds are taken as they are.

    Args:
        request: a training; its ``out`` is the folder of the whole, and its split has no say.
        plan: the folds.
        say: called with each line of talk.

    Raises:
        UsageError: several machines, or nothing to resume.
        RunError: the folder is there already, or what is to be resumed was started otherwise.
        LeakageError: a run or bins to start from have seen images that a fold is judged on.
        KeyboardInterrupt: it was stopped; with ``resume`` it goes on.
    """
    place = find_place(request.config.train.devices, request.config.train.nodes)
    if place.nodes > 1 or place.launched:
        raise UsageError("--folds starts its trainings on one machine itself", remedy="leave --nodes and torchrun out")
    begun = {"schema": SCHEMA, "task": request.task, "split": plan.split, **plan.told}
    folder = open_folder(request.out, f"{request.task}-{request.bins_name}", begun, resume=request.resume)
    say(f"folds      {folder}: {plan.told['folds']}, of {plan.images} images")
    try:
        with alone_in(folder):
            splits = plan.splits(folder)
            judged = [_judge(request, plan, split, folder, say, number) for number, split in enumerate(splits, start=1)]
            return _summarise(begun, plan, folder, judged)
    except AgeclsError:
        if not request.resume and not any(folder.glob(f"fold-*/{RECORD}")):
            shutil.rmtree(folder, ignore_errors=True)  # refused before anything was trained
        raise
    except KeyboardInterrupt:
        say(f"interrupted; go on with the same command and --resume --out {folder}")
        raise


def _judge(
    request: TrainRequest, plan: Plan, split: Split, folder: Path, say: Say, number: int
) -> tuple[Run, Evaluation]:
    """Train a fold's run where that is not done, and score it on the fold."""
    out = folder / f"fold-{number}"
    resume = (out / RECORD).is_file()
    if not resume:
        shutil.rmtree(out, ignore_errors=True)  # a run that was killed before it had a record
    say(f"fold {number}: {len(split.parts[plan.part])} images are held out")
    run = train(dataclasses.replace(request, split=split, out=out, resume=resume), say)
    if run.status != "finished":
        raise KeyboardInterrupt
    return run, evaluate_part(run, plan.part, split, request.roots, allow_leakage=request.allow_leakage)


def _summarise(
    begun: Mapping[str, Any], plan: Plan, folder: Path, judged: Sequence[tuple[Run, Evaluation]]
) -> CrossValidation:
    """Write ``cv.json`` and the report of all predictions."""
    runs, evaluations = tuple(run for run, _ in judged), [evaluation for _, evaluation in judged]
    origins = [report.origin for each in evaluations for report in each.reports.values()]
    leaked, count = any(each.leaked for each in origins), max(each.leaked_count for each in origins)
    origin = Origin(folder.name, plan.split, plan.where, leaked, count)
    reports = {name: pool([each.reports[name] for each in evaluations], origin) for name in evaluations[0].reports}
    tasks: dict[str, Any] = {}
    for name, report in reports.items():
        tasks[name] = {**summarise([each.tasks[name] for each in evaluations]), "pooled": measure(report)}
    notes = [*plan.notes, *_absent(evaluations)]
    told = {
        **begun,
        "status": "finished",
        "part": plan.where,
        "leaked": leaked,
        "leaked_count": count,
        "tasks": tasks,
        "runs": [
            {
                "run": run.name,
                "split": run.split.name,
                "fingerprint": run.split.fingerprint,
                "best_epoch": run.metrics.get("best_epoch"),
                "notes": list(evaluation.notes),
            }
            for run, evaluation in judged
        ],
        "notes": notes,
    }
    for name, report in reports.items():
        where = folder / "report" / name if len(reports) > 1 else folder / "report"
        write_page(report, tasks[name]["pooled"], where, notes=notes)
    save(folder, told)
    return CrossValidation(folder, runs, reports, told)


def _absent(evaluations: Sequence[Evaluation]) -> list[str]:
    """Say which classes a fold cannot judge."""
    return [
        f"fold {number} has no image labelled {name}: its macro-F1 counts that class as 0"
        for number, evaluation in enumerate(evaluations, start=1)
        for measured in evaluation.tasks.values()
        for name, row in measured["per_class"].items()
        if not row["support"]
    ]
