"""Open every listed image once: hash it, decode it, look at it, and quarantine what cannot be used."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from agecls.data.looks import LOOK_BYTES, look
from agecls.data.pixels import read_whole
from agecls.data.sources.listing import Label, Listing, Rejected
from agecls.errors import DataError
from agecls.progress import progress


@dataclass(frozen=True)
class Scanned:
    """What one source yields.

    Attributes:
        table: columns of ``Faces`` but ``group``, and ``keys`` (tuple of group keys); one row a usable image.
        looks: what each row looks like, uint8, shape (N, 4128); see ``looks.look``.
        rejected: everything else, sorted by path.
    """

    table: pd.DataFrame
    looks: npt.NDArray[np.uint8]
    rejected: list[Rejected]


def scan(source: str, root: Path, listing: Listing, workers: int | None = None) -> Scanned:
    """Hash and decode every image of ``listing`` below ``root``, with a progress bar on stderr."""
    labels = sorted(listing.labels)
    rejected = list(listing.rejected)
    hashes: list[str] = []
    usable: list[Label] = []
    looks = np.empty((len(labels), LOOK_BYTES), dtype=np.uint8)
    with (
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        progress(f"reading {source} images", len(labels)) as advance,
    ):
        for label, seen in zip(labels, pool.map(lambda label: _inspect(root / label.path), labels), strict=True):
            if isinstance(seen, str):
                rejected.append(Rejected(label.path, seen))
            else:
                looks[len(usable)] = seen[1]
                hashes.append(seen[0])
                usable.append(label)
            advance(1)
    return Scanned(_table(source, usable, hashes), looks[: len(usable)], sorted(rejected))


def _inspect(path: Path) -> tuple[str, npt.NDArray[np.uint8]] | str:
    """The sha256 and the look of a usable image, or the reason why it is none."""
    try:
        content = read_whole(path)
        return hashlib.sha256(content).hexdigest(), look(content)
    except DataError as error:
        return error.what


def _table(source: str, labels: Sequence[Label], hashes: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(list(labels), columns=list(Label._fields))
    table = table.astype({"age_low": "int64", "age_high": "int64"})
    return table.assign(source=source, sha256=list(hashes))
