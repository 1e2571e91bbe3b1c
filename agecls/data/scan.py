"""Open every listed image once: hash it, decode it, and quarantine what cannot be used."""

import errno
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from agecls.data.pixels import open_image
from agecls.data.sources.listing import Label, Listing, Rejected
from agecls.errors import DataError
from agecls.progress import progress


@dataclass(frozen=True)
class Scanned:
    """What one source yields.

    Attributes:
        table: columns of ``Faces`` but ``group``, and ``keys`` (tuple of group keys); one row a usable image.
        rejected: everything else, sorted by path.
    """

    table: pd.DataFrame
    rejected: list[Rejected]


def read_whole(path: Path) -> bytes:
    """Read a file.

    Raises:
        DataError: it cannot be read; the reason is the error's symbol (such as EACCES), the same on every machine.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({errno.errorcode.get(error.errno or 0, 'OSError')})") from None


def scan(source: str, root: Path, listing: Listing, workers: int | None = None) -> Scanned:
    """Hash and decode every image of ``listing`` below ``root``, with a progress bar on stderr."""
    labels = sorted(listing.labels)
    rejected = list(listing.rejected)
    hashes: list[str] = []
    usable: list[Label] = []
    with (
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        progress(f"reading {source} images", len(labels)) as advance,
    ):
        for label, outcome in zip(labels, pool.map(lambda label: _inspect(root / label.path), labels), strict=True):
            if outcome.startswith("!"):
                rejected.append(Rejected(label.path, outcome[1:]))
            else:
                usable.append(label)
                hashes.append(outcome)
            advance(1)
    return Scanned(_table(source, usable, hashes), sorted(rejected))


def _inspect(path: Path) -> str:
    """The sha256 of a usable image, or ``!`` and the reason why it is none."""
    try:
        content = read_whole(path)
        open_image(content)
    except DataError as error:
        return f"!{error.what}"
    return hashlib.sha256(content).hexdigest()


def _table(source: str, labels: Sequence[Label], hashes: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(list(labels), columns=list(Label._fields))
    table = table.astype({"age_low": "int64", "age_high": "int64"})
    return table.assign(source=source, sha256=list(hashes))
