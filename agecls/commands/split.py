"""``agecls split``."""

from pathlib import Path
from typing import Annotated

import typer

from agecls.commands.options import SOURCES, Codes, Columns, Roots, Table, check_source, table_options
from agecls.defaults import default, default_roots
from agecls.errors import UsageError
from agecls.screen import say, show_frozen

EXAMPLE = "Example: agecls split --source utkface --root faces/UTKFace --out splits/utkface"


def split(
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

    sources = [check_source(name) for name in source or [default(None, "utkface", "--source", say)]]
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
    options = table_options(table, column, code)
    pairs = list(zip(sources, roots, strict=True))
    show_frozen(freeze_split(pairs, folder, fractions=shares, seed=seed, bins=chosen, options=options))


def _draw_if_empty(root: Path, count: int) -> None:
    """Draw faces for source synthetic where its root is absent or empty."""
    if root.is_dir() and any(root.iterdir()):
        return
    from agecls.data.synthetic import draw_faces
    from agecls.progress import progress

    say(f"drawing {count} faces into {root}")
    with progress("drawing faces", count) as advance:
        draw_faces(root, count, on_face=lambda: advance(1))
