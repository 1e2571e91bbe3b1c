"""``agecls evaluate``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from agecls.commands.options import AllowLeakage, Codes, Columns, Json, McDropout, Roots, Table, table_options
from agecls.defaults import default_roots
from agecls.errors import UsageError
from agecls.labels import Source
from agecls.screen import results, say, write_json

EXAMPLE = "Example: agecls evaluate runs/age-7-1 --part test --json score.json --report report/"


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    part: Annotated[
        Literal["valid", "test"] | None, typer.Option(metavar="valid|test", help="Part of the split to score.")
    ] = None,
    source: Annotated[Source | None, typer.Option(help="Score a labelled folder of this kind instead.")] = None,
    root: Roots = None,
    bins: Annotated[
        str | None,
        typer.Option(metavar="BINS", help="Score age in these bins: preset, list or bins.json. Default: the run's."),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            "--split",
            metavar="DIR",
            help="Split whose part to score, or whose valid to fit on. Default: that of the training.",
        ),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Fit a temperature on valid, and score at it; the run keeps none.")
    ] = False,
    conformal: Annotated[
        float | None,
        typer.Option(metavar="COVERAGE", help="Sets of classes that hold the label so often, such as 0.9, from valid."),
    ] = None,
    conformal_score: Annotated[
        Literal["aps", "lac"],
        typer.Option(metavar="aps|lac", help="aps: larger sets for harder images; lac: the smallest sets on average."),
    ] = "aps",
    conformal_by: Annotated[
        Literal["gender", "ethnicity"] | None,
        typer.Option(metavar="gender|ethnicity", help="A threshold for each group, so that each is covered so often."),
    ] = None,
    mc_dropout: McDropout = 0,
    ensemble: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Another run of the ensemble, of the same task, bins and split. Repeatable."),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN", help="Another run to lay beside it: same images, same bins, one chart. Repeatable."
        ),
    ] = None,
    allow_leakage: AllowLeakage = False,
    json: Json = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write an HTML report with pictures into this folder.")
    ] = None,
    table: Table = None,
    column: Columns = None,
    code: Codes = None,
) -> None:
    """Score a run: macro-F1 with a 95 % bootstrap interval, per class and per group, beside the majority baseline.

    Images that the run or an ancestor was fitted on, and near twins of them, are refused (exit 3). Each opening of the
    test part is counted.

    A run of several tasks gets a table, a page and an object in the JSON for each. --bins takes any bins where the run
    knows years (targets.age=distribution, coral or corn, age-regression), else unions of those it was trained on.

    Calibration error, likelihood, Brier score and risk-coverage are always said. --calibrate, --conformal, --mc-dropout
    and --ensemble go together: the mean over runs and passes is calibrated, and sets are made of what comes of that.

    --against compares runs of any network and target, such as years beside bins, with paired intervals; all are asked
    in the bins of the first one, or in --bins.
    """
    if (part is None) == (source is None):
        raise UsageError(
            "evaluate takes either --part or --source", remedy="--part valid, --part test, or --source S --root DIR"
        )

    if conformal is None and (conformal_by or conformal_score != "aps"):
        raise UsageError("--conformal-by and --conformal-score are of --conformal", remedy="add --conformal 0.9")

    from agecls.against import evaluate_against
    from agecls.evaluate import Evaluation, evaluate_part, evaluate_source, roots_of, split_of
    from agecls.learn.run import Run
    from agecls.other_bins import OtherBins
    from agecls.report.against import print_against
    from agecls.report.conformal import Conformal
    from agecls.report.page import write_page
    from agecls.report.table import print_measured
    from agecls.uncertainty import PLAIN, Asking

    loaded = Run.load(run)
    others = OtherBins.parse(bins) if bins is not None else None
    asking = Asking(
        passes=mc_dropout,
        others=tuple(map(Run.load, ensemble or ())),
        calibrate=calibrate,
        conformal=None if conformal is None else Conformal(conformal, conformal_score, conformal_by or ""),
    )
    rivals = [Run.load(folder) for folder in against or ()]
    if rivals and asking != PLAIN:
        raise UsageError(
            "--against compares runs as they answer by themselves",
            remedy="leave out --calibrate, --conformal, --mc-dropout and --ensemble",
        )
    if part is not None:
        frozen = split_of(loaded, split, allow_leakage=allow_leakage)
        folders = roots_of(loaded, frozen, root or (), lambda: default_roots((), say))

        def score(run: Run, bins: OtherBins | None) -> Evaluation:
            return evaluate_part(run, part, frozen, folders, bins=bins, asking=asking, allow_leakage=allow_leakage)
    else:
        roots = default_roots(root or (), say)
        if len(roots) != 1 or source is None:
            raise UsageError("--source takes one --root", got=f"{len(roots)} roots")
        options = table_options(table, column, code)
        held_out = None
        if asking.needs_valid:
            frozen = split_of(loaded, split, allow_leakage=allow_leakage)
            held_out = (frozen, roots_of(loaded, frozen, (), lambda: default_roots((), say)))

        def score(run: Run, bins: OtherBins | None) -> Evaluation:
            return evaluate_source(
                run,
                source,
                roots[0],
                options,
                bins=bins,
                asking=asking,
                held_out=held_out,
                allow_leakage=allow_leakage,
            )

    evaluation = evaluate_against(loaded, rivals, others, score) if rivals else score(loaded, others)
    # Files first: who reads only the head of the table closes the pipe.
    if json:
        write_json(json, evaluation.measured)
    if report:
        for name, measured in evaluation.tasks.items():
            folder = report / name if len(evaluation.reports) > 1 else report
            say(f"report: {write_page(evaluation.reports[name], measured, folder, notes=evaluation.notes)}")
    console = results()
    for number, measured in enumerate(evaluation.tasks.values()):
        if number:
            console.print()
        print_measured(measured, console)
        if "against" in measured:
            print_against(measured, console)
    for note in evaluation.notes:
        say(note)
