"""``agecls audit``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from agecls.commands.options import Codes, Columns, Json, Roots, Table, table_options
from agecls.defaults import ROOT_VARIABLE, default_roots
from agecls.screen import say, show_audit, write_json

EXAMPLE = "Example: agecls audit splits/utkface --root faces/UTKFace --run runs/age-7-1"

LEAKY = 1
"""Exit code where a check found something."""


def audit(
    split: Annotated[Path, typer.Argument(metavar="SPLIT", help="Folder of a frozen split.")],
    root: Roots = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Run to be measured on the split: was it fitted on any of it? Repeatable."),
    ] = None,
    json: Json = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the pairs found, side by side, to this PNG.")
    ] = None,
    table: Table = None,
    column: Columns = None,
    code: Codes = None,
) -> None:
    """Check that a split is as it was frozen and that nothing stands in two of its parts (exit 1 where it does).

    The tables are compared with the manifest, with the seals of their rows and with the draw itself; the images with
    the tables and with each other: byte for byte, pixel for pixel, re-encoded, resized, mirrored, cropped, brightened.
    Without images the tables alone are checked. Runs are looked at only where named with --run.
    """
    from agecls.audit import audit as check

    at_hand = bool(root or os.environ.get(ROOT_VARIABLE)) or Path("data").is_dir()
    roots = default_roots(root or (), say) if at_hand else None
    found = check(split, roots, runs=run or (), options=table_options(table, column, code) if table or column else None)
    show_audit(found)
    for note in found.notes:
        say(note)
    if json:
        write_json(json, found.to_json())
    if pictures:
        from agecls.audit.pictures import write_pairs

        drawn = write_pairs(found, pictures)
        say(f"pictures: {pictures}" if drawn else f"no pair to show: {pictures} is not written")
    if not found.clean:
        raise typer.Exit(LEAKY)
