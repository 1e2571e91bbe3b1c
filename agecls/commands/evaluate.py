"""``agecls evaluate``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from agecls.commands.options import AllowLeakage, Codes, Columns, Json, Roots, Table, table_options
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
    split: Annotated[
        Path | None,
        typer.Option("--split", metavar="DIR", help="Split whose part to score. Default: that of the training."),
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
    """
    if (part is None) == (source is None):
        raise UsageError(
            "evaluate takes either --part or --source", remedy="--part valid, --part test, or --source S --root DIR"
        )

    from agecls.evaluate import evaluate_part, evaluate_source, roots_of, split_of
    from agecls.learn.run import Run
    from agecls.report.page import write_page
    from agecls.report.table import print_measured

    loaded = Run.load(run)
    if part is not None:
        frozen = split_of(loaded, split, allow_leakage=allow_leakage)
        folders = roots_of(loaded, frozen, root or (), lambda: default_roots((), say))
        evaluation = evaluate_part(loaded, part, frozen, folders, allow_leakage=allow_leakage)
    else:
        roots = default_roots(root or (), say)
        if len(roots) != 1 or source is None:
            raise UsageError("--source takes one --root", got=f"{len(roots)} roots")
        options = table_options(table, column, code)
        evaluation = evaluate_source(loaded, source, roots[0], options, allow_leakage=allow_leakage)
    print_measured(evaluation.measured, results())
    for note in evaluation.notes:
        say(note)
    if json:
        write_json(json, evaluation.measured)
    if report:
        say(f"report: {write_page(evaluation.report, evaluation.measured, report, notes=evaluation.notes)}")
