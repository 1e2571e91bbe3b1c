"""``agecls hierarchy``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

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
from agecls.screen import results, say, write_json

if TYPE_CHECKING:
    from agecls.learn.chain import By

EXAMPLE = "Example: agecls hierarchy --by gender --bins 7 --split splits/utkface --root faces/UTKFace --part valid"


def hierarchy(
    by: Annotated[
        str | None,
        typer.Option(metavar="LABEL[,LABEL]", help="Route by gender, ethnicity, or gender,ethnicity. Default: gender."),
    ] = None,
    bins: Annotated[
        str | None, typer.Option(metavar="BINS", help="Age bins: preset, list or bins.json. Default: 7.")
    ] = None,
    split: SplitFolder = None,
    root: Roots = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the hierarchy. Default: runs/hierarchy-BY-BINS-N.")
    ] = None,
    flat: Annotated[Path | None, typer.Option(metavar="RUN", help="Age model of all images.")] = None,
    router: Annotated[
        list[Path] | None, typer.Option(metavar="RUN", help="Gender or ethnicity model. Repeatable for a chain.")
    ] = None,
    experts: Annotated[
        list[str] | None,
        typer.Option(metavar="GROUP=RUN,...", help="Age models of groups, as male=RUN,female=RUN or male/white=RUN."),
    ] = None,
    routing: Annotated[
        Literal["best", "hard", "soft", "abstain"] | None,
        typer.Option(metavar="best|hard|soft|abstain", help="What it answers with. Default: the best on valid."),
    ] = None,
    warm_start: Annotated[
        bool | None, typer.Option("--warm-start/--from-scratch", help="Start experts from the flat model's weights.")
    ] = None,
    min_images: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Training images of each bin a group needs for an expert. Default: 10."),
    ] = None,
    part: Annotated[
        Literal["valid", "test"], typer.Option(metavar="valid|test", help="Part to score the routings on.")
    ] = "valid",
    config: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="YAML file or shipped name, such as hierarchy-ethnicity or agecnn."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One training setting, for every member. Repeatable."),
    ] = None,
    allow_leakage: AllowLeakage = False,
    json: Json = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write an HTML report with pictures into this folder.")
    ] = None,
) -> None:
    """Chain a router to one age expert a group, and say what routing gains and costs beside one flat model.

    Runs of the split with these settings are used again, what is missing is trained; the result is a run of its own.
    Routings: hard (the router's choice), soft (all experts, weighted), abstain (the flat model where the router is
    unsure), oracle (the true group; diagnosis only). Members of another split are refused (exit 3). With --part test
    each opening is counted.
    """
    from agecls.bins import Bins
    from agecls.config_files import load_config, load_hierarchy

    machine = config_for_machine(config)
    settings = load_hierarchy(config or machine)
    labels = settings.by if by is None else _labels(by)
    if by is None and config is None:
        say(f"--by not given: using {','.join(labels)}")
    bins_name = default(bins, "7", "--bins", say)
    chosen = Bins.parse(bins_name)

    from agecls.data.split import Split
    from agecls.hierarchy import HierarchyRequest
    from agecls.hierarchy import hierarchy as build
    from agecls.report.hierarchy_page import write_hierarchy_page
    from agecls.report.hierarchy_table import print_hierarchy

    frozen = Split.load(default_split(split, say), allow_leakage=allow_leakage)
    overrides = set_ or ()
    name = config or machine
    request = HierarchyRequest(
        by=labels,
        bins=chosen,
        bins_name=short_name(bins_name),
        split=frozen,
        roots=frozen.roots(default_roots(root or (), say)),
        flat_config=load_config(name, "age", overrides, role="flat", machine=machine),
        expert_config=load_config(name, "age", overrides, role="expert", machine=machine),
        router_configs={label: load_config(name, label, overrides, role="router", machine=machine) for label in labels},
        out=out,
        flat=flat,
        routers=tuple(router or ()),
        experts=_experts(experts or ()),
        routing=routing or settings.routing,
        warm_start=settings.warm_start if warm_start is None else warm_start,
        min_images=min_images or settings.min_images,
        part=part,
        bins_file=bins_file(bins_name),
        allow_leakage=allow_leakage,
        progress=sys.stderr.isatty(),
    )
    try:
        built = build(request, say)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where this one stopped")
        raise typer.Exit(INTERRUPTED) from None
    # Files first: who reads only the head of the table closes the pipe.
    if json:
        write_json(json, built.measured)
    if report:
        say(f"report: {write_hierarchy_page(built.report, built.measured, report, notes=built.notes)}")
    print_hierarchy(built.measured, results())
    for note in built.notes:
        say(note)
    mark = f"LEAKED ({built.run.leaked_count} images): " if built.run.leaked else ""
    results().print(f"{mark}{built.run.folder}: answers by {built.measured['routing']} routing", soft_wrap=True)


def _labels(text: str) -> "tuple[By, ...]":
    """Read ``--by``."""
    from agecls.learn.chain import By

    known: tuple[By, ...] = get_args(By)
    asked = [piece.strip() for piece in text.split(",")]
    labels = tuple(label for piece in asked for label in known if label == piece)
    if len(labels) < len(asked) or len(set(labels)) < len(labels):
        raise UsageError("--by takes each label once", got=text, remedy="gender, ethnicity, or gender,ethnicity")
    return labels


def _experts(given: Sequence[str]) -> dict[str, Path]:
    """Read ``--experts``; a piece without ``=`` belongs to the path before it, which had a comma."""
    experts: dict[str, Path] = {}
    pieces: list[str] = []
    for piece in ",".join(given).split(",") if given else []:
        if "=" in piece or not pieces:
            pieces.append(piece)
        else:
            pieces[-1] += f",{piece}"
    for piece in pieces:
        group, equals, folder = piece.partition("=")
        if not equals or not group.strip() or not folder:
            raise UsageError("--experts takes GROUP=RUN", got=piece, remedy="such as --experts male=RUN,female=RUN")
        if group.strip() in experts:
            raise UsageError(f"two experts are given for {group.strip()}", got=f"{experts[group.strip()]} and {folder}")
        experts[group.strip()] = Path(folder)
    return experts
