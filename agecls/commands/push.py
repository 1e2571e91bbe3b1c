"""``agecls push``."""

from pathlib import Path
from typing import Annotated

import typer

from agecls.commands.options import INTERRUPTED
from agecls.screen import results, say

EXAMPLE = "Example: agecls push runs/age b2://my-bucket/runs --watch"


def push(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A run, a split, a sweep, any folder, or one file.")],
    to: Annotated[str, typer.Argument(metavar="TO", help="b2://BUCKET/PREFIX, or a folder.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on pushing what changes, until Ctrl-C or until the run is finished.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=86400, help="Seconds between two looks of --watch.")
    ] = 60.0,
) -> None:
    """Push to a Backblaze B2 bucket, or to a folder, what is not there yet or has changed.

    PATH keeps its name below TO: agecls push runs/age b2://my-bucket/runs writes b2://my-bucket/runs/age/run.json and
    so on. agecls pull b2://my-bucket/runs/age/ --to runs/age brings it back, and agecls train --resume --out runs/age
    goes on with it, with --split and --root as they are on the new machine.

    Files are compared by size and SHA-1. Weights and lineage arrive before the record of a run, so that a lost machine
    leaves a run that can be gone on with. Hidden files and *.part, *.lock, *.tmp stay here; what is only there stays
    there. Keys: B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY in the environment, and B2_REALM for another address.

    With --watch a push that fails is said and tried again at the next look.
    """
    from agecls.push import PushRequest, describe
    from agecls.push import push as push_path

    try:
        target, sent = push_path(PushRequest(path, to, watch, every), say)
    except KeyboardInterrupt:
        say("stopped; give the same command again for the rest")
        raise typer.Exit(INTERRUPTED) from None
    results().print(f"{path} -> {target}: {describe(sent)}", soft_wrap=True, markup=False)
