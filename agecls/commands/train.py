"""``agecls train``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

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
from agecls.errors import UsageError
from agecls.labels import TrainTask
from agecls.screen import results, say, show_settings, write_json

if TYPE_CHECKING:
    from agecls.cross_validate import Plan
    from agecls.push import Courier
    from agecls.train import TrainRequest

NOT_PUSHED: Final = 2
"""Exit code where the training ended and --push did not."""

EXAMPLE = "Example: agecls train --task age --bins 7 --split splits/utkface --root faces/UTKFace --out runs/age"


def train(
    task: Annotated[TrainTask, typer.Option(help="What to learn.")] = "age",
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
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", metavar="FILE", help="Start the backbone from a state dict: safetensors or PyTorch's."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="LABEL=VALUE", help="Train on such images alone, as gender=male or ethnicity=black."
        ),
    ] = None,
    max_samples: Annotated[
        int | None, typer.Option("--max-samples", metavar="N", help="Train on at most N images, drawn once.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(metavar="N", help="Processes on each machine, one a GPU where there are any.")
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(metavar="M", help="Machines; run this on each, with MASTER_ADDR, MASTER_PORT and NODE_RANK set."),
    ] = None,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Suggest optimizer.lr, draw the test as PNG (at --out), and stop.")
    ] = False,
    folds: Annotated[
        str | None,
        typer.Option(
            metavar="K|SPLIT,SPLIT,...",
            help="Cross-validate: K runs, each judged on a fold of train and valid; or one per split, on its test.",
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="TO", help="Push the run to b2://BUCKET/PREFIX, or a folder, while it is trained."),
    ] = None,
    push_every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=86400, help="Seconds between two looks of --push.")
    ] = 60.0,
    allow_leakage: AllowLeakage = False,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting with its value and stop.")] = False,
    json: Json = None,
) -> None:
    """Train on a frozen split, one task or several by one network, and keep the best epoch on valid.

    Images are decoded once into a cache. Ctrl-C leaves a usable run that --resume goes on with. A run to start from
    that was fitted on images of valid or test is refused (exit 3).

    Tasks: --task multitask learns age, gender and ethnicity, or those of age, gender, ethnicity and years that --set
    tasks names, weighted by task_weights=learned or numbers; --task age-regression learns years, by --set
    years=l1|l2|smooth-l1. Age is learnt by --set targets.age=bins|distribution|coral|corn: all but bins know years, so
    that agecls evaluate --bins scores them in any. --set monitor=mean|years|TASK chooses the best epoch.

    Networks: --set network.name=NAME; agecls models lists them. Transfer: --set pretrained=imagenet, --weights FILE or
    --init-from RUN, with --set freeze=backbone|backbone+hidden|all-but-last|gradual, backbone_lr and layer_decay.

    Loss: --set loss.name=cross-entropy|focal, class_weights, label_smoothing, mixup, cutmix. Rate: --set
    schedule.name=constant|onecycle|cosine|step|plateau. Images: --set sampler=weighted|uniform, sampler_power,
    balance=none|class|gender. Weights: --set average.name=none|ema|swa. Steps: --set clip_norm, accumulate, compile.
    Prediction: --set mirror=true. --settings says what each does.

    --folds K cuts train and valid into K folds of whole groups and trains K runs, each judged on the fold it was not
    fitted on: scores of each, mean, standard deviation, and one report of all. Test is not opened. Of published folds,
    such as the splits of agecls split --fold all, name the splits instead: each run is judged on test of its split.
    Ctrl-C and --resume work on the whole; finished folds are kept.

    --push b2://BUCKET/PREFIX writes PREFIX/NAME/run.json and so on for a run at --out runs/NAME, at the end of epochs
    and at the end of all. On a new machine agecls pull b2://BUCKET/PREFIX/NAME/ --to runs/NAME brings it back, and the
    same command with --resume --out runs/NAME goes on, with --split and --root as they are there. Keys come from
    B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY. Wrong keys are refused at once; a push that fails later is said and
    tried again, never ends the training, and gives exit status 2 at its end if the last one fails too.
    """
    from agecls.bins import Bins
    from agecls.config_files import load_config, with_weights

    machine = config_for_machine(config)
    name = config or machine
    flags = {"max_samples": max_samples, "devices": devices, "nodes": nodes}
    given = [*(set_ or ()), *(f"train.{key}={value}" for key, value in flags.items() if value is not None)]
    loaded = with_weights(load_config(name, task, given, machine=machine), weights)
    if weights and init_from:
        raise UsageError("--weights and --init-from both say where to start", remedy="give one of them")
    if settings:
        show_settings(name, loaded.model_dump(mode="json"))
        return
    bins_name = default(bins, "7", "--bins", say)
    chosen = Bins.parse(bins_name)

    from agecls.data.split import Split
    from agecls.learn.only import parse_only
    from agecls.learn.processes import find_place
    from agecls.learn.watch import describe_scores
    from agecls.push import Courier
    from agecls.train import TrainRequest
    from agecls.train import train as train_run

    limits = parse_only(only or ())
    named = _fold_folders(folds, split)
    published = [Split.load(folder, allow_leakage=allow_leakage) for folder in named]
    frozen = published[0] if named else Split.load(default_split(split, say), allow_leakage=allow_leakage)
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
    if push and (find_lr or folds is not None):
        raise UsageError(
            "--push is for a single run",
            remedy="push the folder of the folds by agecls push --watch beside the training",
        )
    if find_lr and folds is not None:
        raise UsageError("--find-lr and --folds are two things to do", remedy="give one of them")
    if find_lr:
        from agecls.find_lr import find_rate

        picture = out or Path(f"find-lr-{task}-{request.bins_name}.png")
        rate = find_rate(request, picture, say)
        say(f"the loss against the rate: {picture}")
        results().print(f"optimizer.lr={rate:.2g}")
        return
    if folds is not None:
        from agecls.cross_validate import plan_folds, plan_splits

        _cross_validate(request, plan_splits(published) if published else plan_folds(frozen, int(folds)), json)
        return
    leads = find_place(loaded.train.devices, loaded.train.nodes).leads
    courier = Courier(push, push_every, out, resume, say) if push and leads else None
    try:
        run = train_run(request, say, courier.start if courier else None)
    finally:
        pushed = _finish(courier)
    if json:
        marks = {"leaked": run.leaked, "leaked_count": run.leaked_count}
        told = {"schema": 1, "run": str(run.folder), "task": run.task, "status": run.status, **marks, **run.metrics}
        write_json(json, told)
    epoch = run.metrics.get("best_epoch")
    best = (
        f"valid {describe_scores(run.metrics)} in epoch {epoch}"
        if epoch is not None
        else "stopped before the first epoch ended"
    )
    mark = f"LEAKED ({run.leaked_count} images): " if run.leaked else ""
    results().print(f"{mark}{run.folder}: {best}; status {run.status}", soft_wrap=True)
    if run.status == "interrupted":
        say(f"go on with the same command and --resume --out {run.folder}")
    if not pushed:
        say(f"not all of {run.folder} is at {push}: agecls push {run.folder} {push}")
        raise typer.Exit(NOT_PUSHED)
    if run.status == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _finish(courier: "Courier | None") -> bool:
    """Push what is left; whether that went well."""
    try:
        return courier is None or courier.finish()
    except KeyboardInterrupt:
        return False


def _fold_folders(folds: str | None, split: Path | None) -> list[Path]:
    """The splits that ``--folds`` names; none where it gives a number."""
    if folds is None or folds.lstrip("-").isdigit():
        return []
    if split is not None:
        raise UsageError("--split and the splits of --folds both say where to train", remedy="leave --split out")
    return [Path(piece) for piece in folds.split(",")]


def _cross_validate(request: "TrainRequest", plan: "Plan", json: Path | None) -> None:
    """What ``--folds`` does."""
    from agecls.cross_validate import cross_validate
    from agecls.report.folds import print_folds

    try:
        done = cross_validate(request, plan, say)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    print_folds(done.told, results())
    for note in done.told["notes"]:
        say(note)
    say(f"report: {done.folder / 'report'}")
    if json:
        write_json(json, done.told)
    mark = f"LEAKED ({done.told['leaked_count']} images): " if done.told["leaked"] else ""
    results().print(f"{mark}{done.folder}: {done.told['folds']} folds", soft_wrap=True)
