"""``agecls search-bins``."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agecls.commands.options import AllowLeakage, Json, Roots, SplitFolder, config_for_machine
from agecls.defaults import default, default_roots, default_split
from agecls.errors import LeakageError, UsageError
from agecls.screen import results, say, write_json

if TYPE_CHECKING:
    from agecls.bin_search.source import Source

EXAMPLE = "Example: agecls search-bins --run runs/age-fine-1 --min-bins 3 --max-bins 12 --out bins.json"


def search_bins(
    run: Annotated[Path | None, typer.Option(metavar="RUN", help="Age run of fine bins, whose valid is used.")] = None,
    confusion: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Confusion matrix instead: CSV, or JSON of evaluate.")
    ] = None,
    bins: Annotated[int | None, typer.Option(metavar="N", help="Number of bins, where one alone is wanted.")] = None,
    min_bins: Annotated[int | None, typer.Option(metavar="N", help="Fewest bins. Default: 3.")] = None,
    max_bins: Annotated[int | None, typer.Option(metavar="N", help="Most bins. Default: 12.")] = None,
    objective: Annotated[
        Literal["macro-f1", "balanced-accuracy", "accuracy", "kappa", "width-aware"] | None,
        typer.Option(help="What to maximise. Default: macro-f1."),
    ] = None,
    min_support: Annotated[
        int | None, typer.Option(metavar="N", help="Labelled images of each bin. Default: one in a hundred.")
    ] = None,
    min_width: Annotated[int, typer.Option(metavar="YEARS", help="Least width of a bin.")] = 1,
    max_width: Annotated[
        int | None, typer.Option(metavar="YEARS", help="Largest width of any bin but the last. Default: none.")
    ] = None,
    edge: Annotated[
        list[str] | None, typer.Option("--edge", metavar="YEARS", help="Years at which a bin must begin, as 18,21.")
    ] = None,
    no_edge: Annotated[
        list[str] | None, typer.Option("--no-edge", metavar="YEARS", help="Years at which no bin may begin.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(metavar="K", help="Train K models and use out-of-fold predictions of train.")
    ] = None,
    fine: Annotated[
        str | None, typer.Option(metavar="BINS", help="Fine bins of a run to be found or trained, such as 2y.")
    ] = None,
    part: Annotated[str | None, typer.Option(metavar="valid", help="Part to search on; valid is the only one.")] = None,
    split: SplitFolder = None,
    root: Roots = None,
    config: Annotated[
        str | None, typer.Option(metavar="NAME", help="Settings of a run to be trained: YAML file or shipped name.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting of a run to be trained. Repeatable."),
    ] = None,
    resamples: Annotated[int, typer.Option(metavar="N", help="Bootstrap resamples of the images.")] = 200,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the bins go. Default: bins.json.")] = None,
    allow_leakage: AllowLeakage = False,
    json: Json = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write pictures, results.csv and results.json into this folder.")
    ] = None,
) -> None:
    """Search the age bins that a run of fine bins can tell apart best, and write them for train --bins.

    The search is exact. Without --run and --confusion the newest run of fine bins on the split is used; where there is
    none, one is trained. The test part is never looked at (exit 3).
    """
    _refuse_other_part(part)
    trains = {"--folds": folds, "--fine": fine, "--config": config, "--set": set_}
    given = [flag for flag, value in {"--run": run, "--confusion": confusion}.items() if value is not None]
    if given and any(value is not None for value in trains.values()):
        flags = ", ".join(flag for flag, value in trains.items() if value is not None)
        raise UsageError(
            f"{given[0]} is searched as it is, and {flags} is for a run to be trained", remedy="leave one out"
        )
    if len(given) == 2:
        raise UsageError("search-bins takes either --run or --confusion", remedy="leave one out")

    from agecls.bin_search.asked import Asked, choose_numbers, choose_support, refuse_numbers
    from agecls.bin_search.bins_file import refuse_other_name, write_bins
    from agecls.bin_search.confusion_file import read_confusion
    from agecls.bin_search.constraints import NO_LIMIT, Constraints
    from agecls.bin_search.objectives import Objective
    from agecls.bin_search.search import search
    from agecls.bin_search.source import from_file
    from agecls.bin_search.table import print_search

    refuse_numbers(bins, min_bins, max_bins)
    constraints = Constraints(
        1 if min_support is None else min_support,
        min_width,
        NO_LIMIT if max_width is None else max_width,
        _years("--edge", edge),
        _years("--no-edge", no_edge),
    )
    goal: Objective = default(objective, "macro-f1", "--objective", say)
    target = default(out, Path("bins.json"), "--out", say)
    refuse_other_name(target)
    if confusion is not None:
        source = from_file(read_confusion(confusion))
    elif run is not None:
        source = _of_run(run, split, root or (), allow_leakage=allow_leakage)
    else:
        source = _of_split(folds, fine, split, root or (), config, set_ or (), allow_leakage=allow_leakage)
    for note in source.notes:
        say(note)
    numbers = choose_numbers(bins, min_bins, max_bins, source.matrix, say)
    support = choose_support(min_support, source.matrix, say)
    found = search(
        source.matrix,
        Asked(goal, numbers, dataclasses.replace(constraints, min_support=support), bins is not None, resamples, seed),
    )
    told = {**found.to_json(), **source.to_json()}
    # Files first: who reads only the head of the table closes the pipe.
    if json:
        write_json(json, told)
    if report:
        from agecls.bin_search.report_folder import write_report

        write_report(told, found, report)
        say(f"report: {report}")
    try:
        new = write_bins(target, found, source)
    finally:
        print_search(told, results())
        for note in found.notes:
            say(note)
    results().print(f"{target}: {'written' if new else 'the same bins are there already'}", soft_wrap=True)


def _of_run(run: Path, split: Path | None, root: Sequence[Path], *, allow_leakage: bool) -> "Source":
    from agecls.bin_search.source import from_run, refuse_other_task
    from agecls.evaluate import roots_of, split_of
    from agecls.learn.run import Run

    loaded = Run.load(run)
    refuse_other_task(loaded)
    frozen = split_of(loaded, split, allow_leakage=allow_leakage)
    folders = roots_of(loaded, frozen, root, lambda: default_roots((), say))
    return from_run(loaded, frozen, folders, allow_leakage=allow_leakage)


def _of_split(
    folds: int | None,
    fine: str | None,
    split: Path | None,
    root: Sequence[Path],
    config: str | None,
    set_: Sequence[str],
    *,
    allow_leakage: bool,
) -> "Source":
    """Search in the newest fitting run, or train what is missing."""
    from agecls.bin_search.fine_run import FineRequest, find_fine_run, train_fine_run
    from agecls.bin_search.folds import from_folds
    from agecls.bin_search.source import from_run
    from agecls.bins import Bins
    from agecls.config_files import load_config
    from agecls.data.split import Split

    bins = Bins.parse(fine) if fine is not None else None
    frozen = Split.load(default_split(split, say), allow_leakage=allow_leakage)
    machine = config_for_machine(config)
    request = FineRequest(
        frozen,
        frozen.roots(default_roots(root, say)),
        load_config(config or machine, "age", set_, machine=machine),
        exact=config is not None or bool(set_),
        bins=bins,
        folds=folds or 0,
        allow_leakage=allow_leakage,
        progress=sys.stderr.isatty(),
    )
    if bins is None:
        fill = f"merged until each has {request.least} training images"
        say(f"--fine not given: single years, {fill} ({len(request.wanted)} bins)")
    if folds is not None:
        return from_folds(request, say)
    run = find_fine_run(request)
    if run is not None:
        say(f"--run not given: using {run.folder}, the newest run of fine bins on {frozen.name}")
    else:
        say(f"--run not given, and runs/ holds no run of fine bins on {frozen.name}: training one")
        run = train_fine_run(request, say)
    return from_run(run, frozen, request.roots, allow_leakage=allow_leakage)


def _refuse_other_part(part: str | None) -> None:
    if part == "test":
        raise LeakageError(
            "bins are never searched on the test part: a score on it would no longer be that of unseen faces",
            remedy="leave --part out, or give --part valid",
        )
    if part not in (None, "valid"):
        raise UsageError("--part takes valid alone", got=str(part), remedy="leave it out; --folds searches on train")


def _years(flag: str, given: Sequence[str] | None) -> frozenset[int]:
    years = [year.strip() for text in given or () for year in text.split(",")]
    wrong = next((year for year in years if not (year.isascii() and year.isdigit() and len(year) <= 3)), None)
    if wrong is not None:
        raise UsageError(f"{flag} takes years", got=wrong[:40], remedy=f"such as {flag} 18,21")
    return frozenset(map(int, years))
