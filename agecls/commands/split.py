"""``agecls split``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from agecls.commands.options import SOURCES, Codes, Columns, Roots, Table, check_source, table_options
from agecls.defaults import default, default_roots
from agecls.errors import UsageError
from agecls.screen import say, show_adopted, show_frozen

EXAMPLE = "Example: agecls split --source utkface --root faces/UTKFace --out splits/utkface"


def split(
    context: typer.Context,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE", help=f"What the images are: {', '.join(SOURCES)}. Repeatable. Default: utkface."
        ),
    ] = None,
    root: Roots = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the split. Default: splits/SOURCE.")
    ] = None,
    fractions: Annotated[str, typer.Option(metavar="A,B,C", help="Shares of train, valid and test.")] = "0.6,0.2,0.2",
    seed: Annotated[int, typer.Option(help="Another seed draws another split.")] = 42,
    bins: Annotated[
        str | None, typer.Option(metavar="BINS", help="Age bins to stratify by: preset, list or bins.json. Default: 7.")
    ] = None,
    identity: Annotated[
        bool, typer.Option("--identity", help="Group photographs of one adult too, by face embedding; an extra.")
    ] = False,
    conflicts: Annotated[
        Literal["train", "drop", "keep"],
        typer.Option(help="Photographs whose labels disagree: to train alone, out of the split, or anywhere."),
    ] = "train",
    largest_group: Annotated[
        float, typer.Option(metavar="SHARE", help="Stop where a group holds more than this share of all images.")
    ] = 0.01,
    adopt: Annotated[
        str | None,
        typer.Option(
            metavar="TRAIN.csv,VALID.csv,TEST.csv", help="Take the parts from these tables instead of drawing them."
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop from an adopted split what leaks; test stays, train gives way first.")
    ] = False,
    fold: Annotated[
        str | None,
        typer.Option(metavar="0..4|all", help="Of source adience: this published fold is test, the others the rest."),
    ] = None,
    count: Annotated[int, typer.Option(help="Faces that source synthetic draws into an empty root.", min=1)] = 3000,
    table: Table = None,
    column: Columns = None,
    code: Codes = None,
) -> None:
    """Freeze train, valid and test as CSV files, once.

    Every image is opened, hashed, checked and compared with all others. Images that are the same photograph (byte for
    byte, pixel for pixel, or re-encoded, resized, mirrored, cropped, brightened), that share a millisecond stamp of
    UTKFace or an identity always share a part; links.csv says why. Age bin, gender and ethnicity are shared out alike.
    What cannot be used goes to quarantine.csv, photographs with two different labels to conflicts.csv. An existing
    split is never written over.

    --adopt takes a split that someone else made: images are matched by file name, rows without one go to
    quarantine.csv, and images that share a photograph, a stamp or an identity with a stronger part are listed in
    leaks.csv (exit 1), or dropped with --repair. Source csv then reads its labels from these tables, unless --table
    names another one.

    --fold K takes Adience's protocol: test is its published fold K, train and valid are the other four, shared out by
    users in the ratio of the first two --fractions. all writes the five splits DIR-0 to DIR-4. Bins are then adience.
    Images that belong with one of test are listed, or dropped with --repair, as for --adopt.
    """
    from agecls.bins import Bins
    from agecls.data.freeze import Grouping, freeze_split
    from agecls.data.split import parse_fractions

    if repair and adopt is None and fold is None:
        raise UsageError(
            "--repair mends an adopted split", remedy="name its tables: --adopt TRAIN.csv,VALID.csv,TEST.csv"
        )
    if fold is not None:
        if adopt is not None or source != ["adience"]:
            raise UsageError(
                "--fold takes the published folds of Adience", remedy="give it with --source adience alone"
            )
        _refuse_flags(context, ("conflicts",), conflicts, "the tables of the folds say the parts")
    tables = None if adopt is None else _adopted_tables(adopt, context, conflicts)
    sources = [check_source(name) for name in source or [default(None, "utkface", "--source", say)]]
    roots = default_roots(root or (), say)
    if len(roots) != len(sources):
        raise UsageError(
            "each --source takes its own --root",
            got=f"{len(sources)} sources, {len(roots)} roots",
            remedy="give them in pairs",
        )
    chosen = Bins.parse(default(bins, "7" if fold is None else "adience", "--bins", say))
    shares = parse_fractions(fractions)
    grouping = Grouping(identity=identity, on_conflict=conflicts, largest_share=largest_group)
    if fold is not None:
        from agecls.data.adience_folds import freeze_folds

        outs = _fold_folders(fold, out)
        valid_share = shares[1] / (shares[0] + shares[1])
        leaks = 0
        for adopted in freeze_folds(
            roots[0], outs, valid_share=valid_share, seed=seed, bins=chosen, repair=repair, grouping=grouping
        ):
            show_adopted(adopted)
            leaks += len(adopted.leaks)
        if leaks:
            raise typer.Exit(1)
        return
    folder = default(out, Path("splits") / "+".join(sources), "--out", say)
    if "synthetic" in sources:
        _draw_if_empty(roots[sources.index("synthetic")], count)
    options = table_options(table, column, code)
    pairs = list(zip(sources, roots, strict=True))
    if tables is not None:
        from agecls.data.adopt import adopt_split

        adopted = adopt_split(pairs, tables, folder, bins=chosen, repair=repair, options=options, grouping=grouping)
        show_adopted(adopted)
        if len(adopted.leaks):
            raise typer.Exit(1)
        return
    frozen = freeze_split(pairs, folder, fractions=shares, seed=seed, bins=chosen, options=options, grouping=grouping)
    show_frozen(frozen)


def _adopted_tables(adopt: str, context: typer.Context, conflicts: str) -> tuple[Path, Path, Path]:
    """The tables of --adopt, once no flag is given that only a drawn split can follow."""
    from agecls.data.adopted_tables import parse_tables

    _refuse_flags(context, ("fractions", "seed", "conflicts"), conflicts, "the tables of --adopt say the parts")
    return parse_tables(adopt)


def _refuse_flags(context: typer.Context, names: Sequence[str], conflicts: str, why: str) -> None:
    """Refuse flags that have no say where somebody else has made the parts."""
    for name in names:
        origin = context.get_parameter_source(name)
        if origin is not None and origin.name == "COMMANDLINE" and not (name == "conflicts" and conflicts == "keep"):
            raise UsageError(f"--{name} has no say in an adopted split", remedy=f"leave it out: {why}")


def _fold_folders(fold: str, out: Path | None) -> dict[int, Path]:
    """Folder of the split of each fold that ``--fold`` names."""
    from agecls.data.sources.adience import FOLDS

    stem = Path("splits/adience")
    if fold == "all":
        folder = default(out, stem, "--out", say)
        return {number: folder.with_name(f"{folder.name}-{number}") for number in FOLDS}
    numbers = {str(number): number for number in FOLDS}
    if fold not in numbers:
        raise UsageError("--fold takes a published fold of Adience", got=fold, remedy=f"{', '.join(numbers)} or all")
    return {numbers[fold]: default(out, stem.with_name(f"{stem.name}-{fold}"), "--out", say)}


def _draw_if_empty(root: Path, count: int) -> None:
    """Draw faces for source synthetic where its root is absent or empty."""
    if root.is_dir() and any(root.iterdir()):
        return
    from agecls.data.synthetic import draw_faces
    from agecls.progress import progress

    say(f"drawing {count} faces into {root}")
    with progress("drawing faces", count) as advance:
        draw_faces(root, count, on_face=lambda: advance(1))
