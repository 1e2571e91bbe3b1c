"""Options that several commands share, and how their text is read."""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, get_args

import typer

from agecls.errors import UsageError
from agecls.labels import Source
from agecls.screen import say

if TYPE_CHECKING:
    from agecls.data.sources import TableOptions

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells have it."""

SOURCES: Final[tuple[Source, ...]] = get_args(Source)
Roots = Annotated[
    list[Path] | None,
    typer.Option(
        "--root", metavar="DIR", help="Folder of the images; once for each source. Default: $AGECLS_ROOT, else data/."
    ),
]
Table = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Label table of source csv. Default: ROOT/labels.csv.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="OURS=THEIRS", help="Column of source csv, as OURS=THEIRS, such as age=years. Repeatable."
    ),
]
Codes = Annotated[
    list[str] | None,
    typer.Option(
        "--code", metavar="CODE=WORD", help="Code of source csv, as gender:0=female or ethnicity:w=white. Repeatable."
    ),
]
AllowLeakage = Annotated[
    bool,
    typer.Option("--allow-leakage", help="Go on where a leak is refused, and mark all that comes of it as LEAKED."),
]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result to this file as JSON.")]
McDropout = Annotated[
    int,
    typer.Option(
        "--mc-dropout",
        min=0,
        max=1000,
        metavar="N",
        help="Mean of N passes with dropout on, and with uncertain weights drawn (network.bayesian).",
    ),
]
SplitFolder = Annotated[
    Path | None, typer.Option("--split", metavar="DIR", help="Frozen split. Default: splits/utkface.")
]


def check_source(name: str) -> Source:
    """Return ``name`` as a source; the nearest one is said where there is none."""
    for known in SOURCES:
        if name == known:
            return known
    near = difflib.get_close_matches(name, SOURCES, n=1)
    raise UsageError(
        f"there is no source {name!r}", remedy=f"did you mean {near[0]}?" if near else f"one of {', '.join(SOURCES)}"
    )


def table_options(table: Path | None, columns: list[str] | None, codes: list[str] | None) -> "TableOptions":
    """How source csv reads its table."""
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


def config_for_machine(given: str | None) -> str:
    """The configuration made for this machine; said where the user has given none."""
    import torch

    name = "agecnn" if torch.cuda.is_available() else "agecnn-cpu"
    if given is None:
        say(f"--config not given: using {name}, made for {'a GPU' if name == 'agecnn' else 'a machine without a GPU'}")
    return name


def short_name(bins: str) -> str:
    """What a run's default folder calls the bins: a preset's own name, ``own`` for a list or a file."""
    return bins if bins.replace("-", "").isalnum() and len(bins) < 10 else "own"


def bins_file(bins: str) -> Path | None:
    """The ``bins.json`` that the bins are read from; None for a preset or a list."""
    return Path(bins) if bins.strip().endswith(".json") else None
