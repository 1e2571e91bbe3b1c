"""Score further runs as a first one was scored, and lay their answers beside its."""

from collections import Counter
from collections.abc import Callable, Sequence

from agecls.errors import RunError, UsageError
from agecls.evaluate import Evaluation
from agecls.learn.run import Run
from agecls.other_bins import OtherBins
from agecls.report.against import compare


def evaluate_against(
    first: Run,
    others: Sequence[Run],
    bins: OtherBins | None,
    score: Callable[[Run, OtherBins | None], Evaluation],
) -> Evaluation:
    """Score a run, and others on the same images and in the same bins.

    Args:
        first: the run; the others are compared with it in each task that both answer.
        others: further runs, of whatever task, network and targets.
        bins: age bins to score all of them in; None for those of the first run.
        score: scores one run in some bins; None for its own.

    Returns:
        The first run's evaluation; ``against`` in the measures of each task has the rows of ``report.against.compare``.

    Raises:
        RunError: another run answers none of the first one's tasks.
        UsageError: a run is named twice.
        BinsError: another run cannot answer in the bins.
        DataError: another run is scored on other images.
    """
    named = Counter(run.folder.resolve() for run in (first, *others))
    if twice := [folder for folder, times in named.items() if times > 1]:
        raise UsageError("a run is compared with itself", got=str(twice[0]), remedy="name each run once")
    for other in others:
        if not _tasks(first) & _tasks(other):
            raise RunError(
                f"{other.folder} answers nothing that {first.folder} answers",
                got=f"{', '.join(sorted(_tasks(other)))}, not {', '.join(sorted(_tasks(first)))}",
            )
    evaluation = score(first, bins)
    found = {_shown(other, (first, *others)): score(other, _common_bins(first, other, bins)) for other in others}
    notes = list(evaluation.notes)
    for name, each in found.items():
        notes += [f"{name}: {note}" for note in each.notes]
    for name, measured in evaluation.tasks.items():
        report = evaluation.reports[name]
        fitting = {other: _answer(each, name, report.task) for other, each in found.items()}
        beside = {
            other: (each.reports[key], each.tasks[key]) for other, each in found.items() if (key := fitting[other])
        }
        if beside:
            measured["against"] = compare(report, measured, beside)
    return Evaluation(evaluation.reports, evaluation.measured, tuple(notes))


def _answer(evaluation: Evaluation, name: str, task: str) -> str:
    """The answer of this name, else one to the same question, such as ages in bins beside years; "" for none."""
    alike = [each for each, report in evaluation.reports.items() if report.task == task]
    return name if name in alike else next(iter(alike), "")


def _tasks(run: Run) -> set[str]:
    return {target.task for target in run.targets}


def _common_bins(first: Run, other: Run, bins: OtherBins | None) -> OtherBins | None:
    """What another run is scored in: the bins given, else those of the first run where both have ages."""
    if bins is not None:
        return bins if "age" in _tasks(other) else None
    both = _tasks(first) & _tasks(other)
    return OtherBins(first.bins) if "age" in both and first.bins != other.bins else None


def _shown(run: Run, runs: Sequence[Run]) -> str:
    """The name of a run's folder, or its path where another run's folder has that name too."""
    return run.name if [each.name for each in runs].count(run.name) == 1 else str(run.folder)
