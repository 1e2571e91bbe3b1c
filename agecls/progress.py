"""One progress bar for everything that takes longer than a glance; silent where stderr is no terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr while the block runs and yield ``advance(steps)``.

    Args:
        description: what is going on, such as ``reading images``.
        total: number of steps, or None where it is not known.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    with bar:
        job = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(job, steps)


@contextmanager
def progress_bytes(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """As ``progress``, with bytes, their rate and the time left; ``advance`` takes fewer than none for what was lost.

    Args:
        description: what is going on, such as ``pulling faces.tar``.
        total: number of bytes, or None where it is not known.
    """
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        job = bar.add_task(escape(description), total=total)
        yield lambda count: bar.advance(job, count)
