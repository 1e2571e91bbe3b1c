"""The command line: parse, call one verb, print.

Verbs are imported inside their commands, so that ``agecls --help`` imports neither torch nor pandas.
"""

import difflib
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args

import typer

from agecls import __version__
from agecls.defaults import default, default_roots, default_split
from agecls.errors import AgeclsError, UsageError
from agecls.labels import Source, Task
from agecls.screen import results, say, show_error, show_frozen, show_predictions, write_json

if TYPE_CHECKING:
    from agecls.data.sources import TableOptions

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

app = typer.Typer(
    help="Hierarchical age-bin classification of faces with leakage-safe splits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SOURCES: Final[tuple[Source, ...]] = get_args(Source)
Roots = Annotated[
    list[Path] | None,
    typer.Option("--root", help="Folder of the images; once for each source. Default: $AGECLS_ROOT, else data/."),
]
Table = Annotated[Path | None, typer.Option(help="Label table of source csv. Default: ROOT/labels.csv.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="Column of source csv, as OURS=THEIRS, such as age=years. Repeatable."),
]
Codes = Annotated[
    list[str] | None,
    typer.Option("--code", help="Code of source csv, as gender:0=female or ethnicity:w=white. Repeatable."),
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the result to this file as JSON.")]
SplitFolder = Annotated[Path | None, typer.Option("--split", help="Frozen split. Default: splits/utkface.")]


def _print_version(asked: bool) -> None:
    if asked:
        results().print(f"agecls {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; allowed anywhere.")] = False,
) -> None:
    """Hierarchical age-bin classification of faces with leakage-safe splits."""


@app.command(epilog="Example: agecls split --source utkface --root faces/UTKFace --out splits/utkface")
def split(
    source: Annotated[
        list[str] | None, typer.Option(help=f"What the images are: {', '.join(SOURCES)}. Repeatable. Default: utkface.")
    ] = None,
    root: Roots = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the split. Default: splits/SOURCE.")] = None,
    fractions: Annotated[str, typer.Option(help="Shares of train, valid and test.")] = "0.6,0.2,0.2",
    seed: Annotated[int, typer.Option(help="Another seed draws another split.")] = 42,
    bins: Annotated[
        str | None, typer.Option(help="Age bins to stratify by: preset, list or bins.json. Default: 7.")
    ] = None,
    count: Annotated[int, typer.Option(help="Faces that source synthetic draws into an empty root.", min=1)] = 3000,
    table: Table = None,
    column: Columns = None,
    code: Codes = None,
) -> None:
    """Freeze train, valid and test as CSV files, once.

    Every image is opened, hashed and checked. Byte-identical images and images of one UTKFace millisecond stamp always
    share a part. Age bin, gender and ethnicity are shared out alike. What cannot be used goes to quarantine.csv with
    its reason. An existing split is never written over.
    """
    from agecls.bins import Bins
    from agecls.data.freeze import freeze_split
    from agecls.data.split import parse_fractions

    sources = [_check_source(name) for name in source or [default(None, "utkface", "--source", say)]]
    roots = default_roots(root or (), say)
    if len(roots) != len(sources):
        raise UsageError(
            "each --source takes its own --root",
            got=f"{len(sources)} sources, {len(roots)} roots",
            remedy="give them in pairs",
        )
    chosen = Bins.parse(default(bins, "7", "--bins", say))
    shares = parse_fractions(fractions)
    folder = default(out, Path("splits") / "+".join(sources), "--out", say)
    if "synthetic" in sources:
        _draw_if_empty(roots[sources.index("synthetic")], count)
    options = _table_options(table, column, code)
    pairs = list(zip(sources, roots, strict=True))
    show_frozen(freeze_split(pairs, folder, fractions=shares, seed=seed, bins=chosen, options=options))


@app.command(
    epilog="Example: agecls train --task age --bins 7 --split splits/utkface --root faces/UTKFace --out runs/age"
)
def train(
    task: Annotated[Task, typer.Option(help="What to learn.")] = "age",
    bins: Annotated[str | None, typer.Option(help="Age bins: preset, list or bins.json. Default: 7.")] = None,
    split: SplitFolder = None,
    root: Roots = None,
    config: Annotated[
        str | None, typer.Option(help="YAML file or shipped name. Default: agecnn on a GPU, agecnn-cpu without.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, as key=value; see --settings. Repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/TASK-BINS-N.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run at --out from its last epoch.")] = False,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting with its value and stop.")] = False,
    json: Json = None,
) -> None:
    """Train one classifier on a frozen split and keep its best epoch on valid.

    Images are decoded once into a cache. Ctrl-C leaves a usable run that --resume goes on with.
    """
    from agecls.bins import Bins
    from agecls.config import load_config

    name = config or _config_for_machine()
    loaded = load_config(name, task, set_ or ())
    if settings:
        _show_settings(name, loaded.model_dump(mode="json"))
        return
    bins_name = default(bins, "7", "--bins", say)
    chosen = Bins.parse(bins_name)

    from agecls.data.split import Split
    from agecls.train import TrainRequest
    from agecls.train import train as train_run

    frozen = Split.load(default_split(split, say))
    request = TrainRequest(
        task=task,
        bins=chosen,
        bins_name=bins_name if bins_name.replace("-", "").isalnum() and len(bins_name) < 10 else "own",
        split=frozen,
        roots=frozen.roots(default_roots(root or (), say)),
        config=loaded,
        out=out,
        resume=resume,
        progress=sys.stderr.isatty(),
    )
    run = train_run(request, say)
    if json:
        write_json(json, {"schema": 1, "run": str(run.folder), "task": run.task, "status": run.status, **run.metrics})
    score, epoch = run.metrics.get("valid_macro_f1"), run.metrics.get("best_epoch")
    best = (
        f"valid macro-F1 {score:.4f} in epoch {epoch}" if score is not None else "stopped before the first epoch ended"
    )
    results().print(f"{run.folder}: {best}; status {run.status}", soft_wrap=True)
    if run.status == "interrupted":
        say(f"go on with the same command and --resume --out {run.folder}")
        raise typer.Exit(INTERRUPTED)


@app.command(epilog="Example: agecls evaluate runs/age-7-1 --part test --json score.json --report report/")
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    part: Annotated[Literal["valid", "test"] | None, typer.Option(help="Part of the run's split.")] = None,
    source: Annotated[Source | None, typer.Option(help="Score a labelled folder of this kind instead.")] = None,
    root: Roots = None,
    split: Annotated[Path | None, typer.Option("--split", help="The run's split, where it has moved.")] = None,
    json: Json = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report with pictures into this folder.")] = None,
    table: Table = None,
    column: Columns = None,
    code: Codes = None,
) -> None:
    """Score a run: macro-F1 with a 95 % bootstrap interval, per class and per group, beside the majority baseline.

    Images that the run was fitted on are refused (exit 3). Each opening of the test part is counted.
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
        frozen = split_of(loaded, split)
        evaluation = evaluate_part(
            loaded, part, frozen, roots_of(loaded, frozen, root or (), lambda: default_roots((), say))
        )
    else:
        roots = default_roots(root or (), say)
        if len(roots) != 1 or source is None:
            raise UsageError("--source takes one --root", got=f"{len(roots)} roots")
        evaluation = evaluate_source(loaded, source, roots[0], _table_options(table, column, code))
    print_measured(evaluation.measured, results())
    for note in evaluation.notes:
        say(note)
    if json:
        write_json(json, evaluation.measured)
    if report:
        say(f"report: {write_page(evaluation.report, evaluation.measured, report, notes=evaluation.notes)}")


@app.command(
    epilog="Example: agecls predict runs/age-7-1 runs/gender-7-1 photo.jpg faces/ --csv out.csv --plot out.png"
)
def predict(
    arguments: Annotated[
        list[str], typer.Argument(metavar="RUN... IMAGE|DIR...", help="Runs, then images, folders or globs.")
    ],
    csv: Annotated[Path | None, typer.Option(help="Write one row an image.")] = None,
    json: Json = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a contact sheet with labels and probabilities, as PNG.")
    ] = None,
) -> None:
    """Predict images with one or more runs; each image is decoded once.

    A bad image among good ones gets a row with its error, and the exit code is 1.
    """
    from agecls.predict import predict_images, sort_arguments, write_csv, write_picture

    asked = sort_arguments(arguments)
    if asked.left_out:
        say(f"{asked.left_out} files in the folders are no images and are left out")
    leaked = any(run.leaked for run in asked.runs)
    predictions = predict_images(asked.runs, asked.images)
    show_predictions(predictions, leaked=leaked)
    if json:
        write_json(json, [prediction.to_json() for prediction in predictions])
    if csv:
        write_csv(predictions, csv)
    failed = sum(bool(prediction.error) for prediction in predictions)
    if plot and failed < len(predictions):
        write_picture(predictions, plot, leaked=leaked)
    if failed:
        say(f"{failed} of {len(predictions)} images could not be predicted")
        raise typer.Exit(1)


@app.command(epilog="Example: agecls cache --clear")
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete every entry.")] = False,
    json: Json = None,
) -> None:
    """List the decoded images kept on this machine (AGECLS_CACHE, at most AGECLS_CACHE_GB), or delete them."""
    """List the decoded images kept on this machine (AGECLS_CACHE, at most AGECLS_CACHE_GB), or delete them."""
    from agecls.data.cache import cache_folder, cache_limit, clear_cache, describe_entries

    if clear:
        results().print(f"{clear_cache() / 1e6:.1f} MB freed in {cache_folder()}", soft_wrap=True)
        return
    entries = describe_entries()
    for entry in entries:
        line = f"{entry['folder']}  {entry['count']:,} images of {entry['size']} px, {entry['bytes'] / 1e6:.1f} MB"
        results().print(line, soft_wrap=True)
    total = sum(entry["bytes"] for entry in entries) / 1e9
    results().print(
        f"{len(entries)} entries, {total:.2f} of {cache_limit() / 1e9:.0f} GB in {cache_folder()}", soft_wrap=True
    )
    if json:
        write_json(json, {"schema": 1, "folder": str(cache_folder()), "entries": entries})


def _check_source(name: str) -> Source:
    for known in SOURCES:
        if name == known:
            return known
    near = difflib.get_close_matches(name, SOURCES, n=1)
    raise UsageError(
        f"there is no source {name!r}", remedy=f"did you mean {near[0]}?" if near else f"one of {', '.join(SOURCES)}"
    )


def _draw_if_empty(root: Path, count: int) -> None:
    """Draw faces for source synthetic where its root is absent or empty."""
    if root.is_dir() and any(root.iterdir()):
        return
    from agecls.data.synthetic import draw_faces
    from agecls.progress import progress

    say(f"drawing {count} faces into {root}")
    with progress("drawing faces", count) as advance:
        draw_faces(root, count, on_face=lambda: advance(1))


def _table_options(table: Path | None, columns: list[str] | None, codes: list[str] | None) -> "TableOptions":
    from agecls.data.sources import TableOptions

    return TableOptions(table, _pairs("--column", columns), _pairs("--code", codes))


def _pairs(flag: str, values: list[str] | None) -> dict[str, str]:
    pairs = {}
    for value in values or ():
        name, equals, target = value.partition("=")
        if not equals or not name or not target:
            raise UsageError(f"{flag} takes NAME=VALUE", got=value)
        pairs[name] = target
    return pairs


def _config_for_machine() -> str:
    import torch

    name = "agecnn" if torch.cuda.is_available() else "agecnn-cpu"
    say(f"--config not given: using {name}, made for {'a GPU' if name == 'agecnn' else 'a machine without a GPU'}")
    return name


def _show_settings(name: str, values: dict[str, dict[str, object]]) -> None:
    from rich.markup import escape
    from rich.table import Table as RichTable

    from agecls.config import describe_settings

    table = RichTable(title=f"settings of {name}", title_justify="left")
    for heading in ("setting", "value", "meaning"):
        table.add_column(heading, overflow="fold")
    for key, _, meaning in describe_settings():
        section, _, leaf = key.partition(".")
        table.add_row(key, str(values[section][leaf]), escape(meaning))
    results().print(table)


def main() -> None:
    """Run a command and turn every error a user can cause into a message and an exit code."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    if not debug:
        warnings.simplefilter("ignore")
    try:
        app([each for each in arguments if each != "--debug"], prog_name="agecls")
    except (AgeclsError, OSError) as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):
            # Whoever read our output has gone; nothing is left to say, not even on exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        known = (
            error
            if isinstance(error, AgeclsError)
            else AgeclsError(error.strerror or str(error), got=str(error.filename or ""))
        )
        show_error(known)
        sys.exit(known.exit_code)
