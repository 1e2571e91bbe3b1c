"""``agecls pull``."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agecls.commands.options import INTERRUPTED, Json
from agecls.screen import printable, results, say, write_json

if TYPE_CHECKING:
    from agecls.pull import Pulled

EXAMPLE = "Example: agecls pull b2://faces/utkface.tar --to data"


def pull(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="b2://BUCKET/KEY, b2://BUCKET/PREFIX/, https://HOST/FILE or a path.")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder that the files go to; made where it is missing.")],
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="What the file must hash to, as sha256sum prints it.")
    ] = None,
    unpack: Annotated[
        bool, typer.Option("--unpack/--no-unpack", help="Whether archives are unpacked where they land.")
    ] = True,
    keep: Annotated[bool, typer.Option("--keep", help="Keep an archive once it is unpacked.")] = False,
    connections: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Connections at a time.")] = 4,
    json: Json = None,
) -> None:
    """Fetch a file, an archive, or all below a prefix; verify it, and unpack what is an archive.

    Broken connections are gone on with, and so is a pull that was killed: give the same command again. A file gets its
    name only once it is verified: by --sha256, by what the store knows (B2's SHA-1), by a file FILE.sha256 beside it,
    and by its length. What is there and right is not fetched again.

    Keys of Backblaze B2 come from B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY alone. AGECLS_RETRY_SECONDS sets the
    first wait after a failure (0.5). Leave signed addresses and passwords out of what others can read.
    """
    from agecls.data.storage.retry import patience_of_environment
    from agecls.data.storage.transfer import Manner
    from agecls.pull import PullRequest
    from agecls.pull import pull as do_pull

    manner = Manner(connections=connections, patience=patience_of_environment())
    request = PullRequest(source, to, sha256=sha256, unpack=unpack, keep=keep, manner=manner)
    try:
        pulled = do_pull(request, say)
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        raise typer.Exit(INTERRUPTED) from None
    _show(pulled)
    if json:
        write_json(json, _as_json(pulled))


def _show(pulled: "Pulled") -> None:
    """Print what is there now, how it was verified, and what to do next."""
    out = results()

    def line(text: str) -> None:
        out.print(printable(text), soft_wrap=True, markup=False)

    fresh = [each for each in pulled.files if each.fresh]
    here = len(pulled.files) - len(fresh)
    moved = pulled.bytes_fetched
    if fresh:
        rate = moved / 1e6 / max(pulled.seconds_fetching, 1e-3)
        name = fresh[0].path.name if len(fresh) == 1 else f"{len(fresh):,} files"
        line(f"fetched {name}: {moved / 1e6:,.1f} MB in {pulled.seconds_fetching:.1f} s, {rate:,.1f} MB/s")
    if here:
        line(f"there and right already: {here:,} {'file' if here == 1 else 'files'}")
    if len(pulled.files) == 1:
        [only] = pulled.files
        known = f"as {' and '.join(only.verified_by)} says" if only.verified_by else "nobody says what it must be"
        line("\n".join(f"{algorithm} {value}, {known}" for algorithm, value in only.values.items()))
    else:
        unknown = sum(1 for each in pulled.files if not each.verified_by)
        if unknown:
            line(f"of {unknown:,} files nobody says what they must hash to; their lengths are right")
    for each in pulled.unpacked:
        line(f"{each.archive}: {each.files:,} files {'unpacked' if each.fresh else 'are there already'}")
    line(f"next: agecls {_next(pulled.folder)}")


def _next(folder: Path) -> str:
    """The command that what was pulled is for."""
    if (folder / "run.json").is_file():
        return f"evaluate {quote(str(folder))} --part valid --root DIR"
    if (folder / "manifest.json").is_file():
        return f"audit {quote(str(folder))}"
    return f"split --root {quote(str(folder))}"


def _as_json(pulled: "Pulled") -> dict[str, Any]:
    return {
        "schema": 1,
        "source": pulled.source,
        "folder": str(pulled.folder),
        "seconds": round(pulled.seconds, 3),
        "bytes_fetched": pulled.bytes_fetched,
        "files": [
            {
                "path": each.path.relative_to(pulled.folder).as_posix(),
                "bytes": each.size,
                "fetched": each.fresh,
                "verified_by": list(each.verified_by),
                **each.values,
            }
            for each in sorted(pulled.files, key=lambda file: file.path)
        ],
        "unpacked": [
            {"archive": each.archive, "files": each.files, "fresh": each.fresh}
            for each in sorted(pulled.unpacked, key=lambda unpacking: unpacking.archive)
        ],
    }
