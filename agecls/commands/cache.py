"""``agecls cache``."""

from typing import Annotated

import typer

from agecls.commands.options import Json
from agecls.screen import results, write_json

EXAMPLE = "Example: agecls cache --clear"


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete every entry.")] = False,
    json: Json = None,
) -> None:
    """List the decoded images kept on this machine (AGECLS_CACHE, at most AGECLS_CACHE_GB), or delete them."""
    from agecls.data.cache_folder import cache_folder, cache_limit, clear_cache, describe_entries

    if clear:
        results().print(f"{clear_cache() / 1e6:.1f} MB freed in {cache_folder()}", soft_wrap=True)
        return
    entries = describe_entries()
    for entry in entries:
        line = f"{entry['folder']}  {entry['count']:,} images as {entry['kind']}, {entry['bytes'] / 1e6:.1f} MB"
        results().print(line, soft_wrap=True)
    total = sum(entry["bytes"] for entry in entries) / 1e9
    results().print(
        f"{len(entries)} entries, {total:.2f} of {cache_limit() / 1e9:.0f} GB in {cache_folder()}", soft_wrap=True
    )
    if json:
        write_json(json, {"schema": 1, "folder": str(cache_folder()), "entries": entries})
