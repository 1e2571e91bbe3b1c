"""``agecls train``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from agecls.commands.options import (
    INTERRUPTED,
    AllowLeakage,
    Json,
    Roots,
    SplitFolder,
    bins_file,
    config_for_machine,
    short_name,
)
from agecls.defaults import default, default_roots, default_split
from agecls.labels import Task
from agecls.screen import results, say, show_settings, write_json

EXAMPLE = "Example: agecls train --task age --bins 7 --split splits/utkface --root faces/UTKFace --out runs/age"


def train(
    task: Annotated[Task, typer.Option(help="What to learn.")] = "age",
    bins: Annotated[
        str | None, typer.Option(metavar="BINS", help="Age bins: preset, list or bins.json. Default: 7.")
    ] = None,
    split: SplitFolder = None,
    root: Roots = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="YAML file or shipped name. Default: agecnn on a GPU, agecnn-cpu without."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting, as key=value; see --settings. Repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run. Default: runs/TASK-BINS-N.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run at --out from its last epoch.")] = False,
    init_from: Annotated[
        Path | None, typer.Option("--init-from", metavar="RUN", help="Start from the weights of this run.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="LABEL=VALUE", help="Train on such images alone, as gender=male or ethnicity=black."
        ),
    ] = None,
    allow_leakage: AllowLeakage = False,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting with its value and stop.")] = False,
    json: Json = None,
) -> None:
    """Train one classifier on a frozen split and keep its best epoch on valid.

    Images are decoded once into a cache. Ctrl-C leaves a usable run that --resume goes on with. A run to start from
    that was fitted on images of valid or test is refused (exit 3).
    """
    from agecls.bins import Bins
    from agecls.config_files import load_config

    machine = config_for_machine(config)
    name = config or machine
    loaded = load_config(name, task, set_ or (), machine=machine)
    if settings:
        show_settings(name, loaded.model_dump(mode="json"))
        return
    bins_name = default(bins, "7", "--bins", say)
    chosen = Bins.parse(bins_name)

    from agecls.data.split import Split
    from agecls.learn.only import parse_only
    from agecls.train import TrainRequest
    from agecls.train import train as train_run

    limits = parse_only(only or ())
    frozen = Split.load(default_split(split, say), allow_leakage=allow_leakage)
    request = TrainRequest(
        task=task,
        bins=chosen,
        bins_name=short_name(bins_name),
        split=frozen,
        roots=frozen.roots(default_roots(root or (), say)),
        config=loaded,
        out=out,
        resume=resume,
        init_from=init_from,
        only=limits,
        bins_file=bins_file(bins_name),
        allow_leakage=allow_leakage,
        progress=sys.stderr.isatty(),
    )
    run = train_run(request, say)
    if json:
        marks = {"leaked": run.leaked, "leaked_count": run.leaked_count}
        told = {"schema": 1, "run": str(run.folder), "task": run.task, "status": run.status, **marks, **run.metrics}
        write_json(json, told)
    score, epoch = run.metrics.get("valid_macro_f1"), run.metrics.get("best_epoch")
    best = (
        f"valid macro-F1 {score:.4f} in epoch {epoch}" if score is not None else "stopped before the first epoch ended"
    )
    mark = f"LEAKED ({run.leaked_count} images): " if run.leaked else ""
    results().print(f"{mark}{run.folder}: {best}; status {run.status}", soft_wrap=True)
    if run.status == "interrupted":
        say(f"go on with the same command and --resume --out {run.folder}")
        raise typer.Exit(INTERRUPTED)
