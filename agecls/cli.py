"""The command line: which commands there are, and what becomes of an error."""

import os
import sys
import warnings
from typing import Annotated

import typer

from agecls import __version__
from agecls.commands import (
    audit,
    cache,
    doctor,
    evaluate,
    hierarchy,
    models,
    predict,
    pull,
    push,
    search_bins,
    split,
    train,
)
from agecls.errors import AgeclsError
from agecls.screen import results, show_error

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=split.EXAMPLE)(split.split)
app.command(epilog=audit.EXAMPLE)(audit.audit)
app.command(epilog=train.EXAMPLE)(train.train)
app.command(epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command(epilog=hierarchy.EXAMPLE)(hierarchy.hierarchy)
app.command("search-bins", epilog=search_bins.EXAMPLE)(search_bins.search_bins)
app.command(epilog=predict.EXAMPLE)(predict.predict)
app.command(epilog=pull.EXAMPLE)(pull.pull)
app.command(epilog=push.EXAMPLE)(push.push)
app.command(epilog=models.EXAMPLE)(models.models)
app.command(epilog=cache.EXAMPLE)(cache.cache)
app.command(epilog=doctor.EXAMPLE)(doctor.doctor)


def _print_version(asked: bool) -> None:
    if asked:
        results().print(f"agecls {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; allowed anywhere.")] = False,
) -> None:
    """Hierarchical age-bin classification of faces with leakage-safe splits."""


def main() -> None:
    """Run a command and turn every error a user can cause into a message and an exit code."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    if not debug:
        warnings.simplefilter("ignore")
    try:
        app([each for each in arguments if each != "--debug"], prog_name="agecls")
    except (AgeclsError, OSError) as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):
            # Whoever read our output has gone; nothing is left to say, not even on exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        known = (
            error
            if isinstance(error, AgeclsError)
            else AgeclsError(error.strerror or str(error), got=str(error.filename or ""))
        )
        show_error(known)
        sys.exit(known.exit_code)
