"""The images of a split as they lie on disk: their content, and what their sources say of them."""

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import get_args

import numpy as np
import pandas as pd

from agecls.audit.findings import Check, Finding, Skipped, check
from agecls.audit.folder import SplitFolder, places
from agecls.data.faces import Faces
from agecls.data.looks import Looks, look_at
from agecls.data.pixels import read_whole
from agecls.data.sources import Label, SourceName, TableOptions, read_source
from agecls.errors import AgeclsError, DataError
from agecls.progress import progress


@dataclass(frozen=True)
class Images:
    """The images of a split as they are now.

    Attributes:
        opened: the split.
        roots: folder of each source.
        problems: of each row of ``opened.rows`` what is wrong with its image, "" where nothing is.
        labels: what the sources say, by source and path; a source whose labels cannot be read is not in it.
        rejected: what the sources reject, and why, by source and path.
        unread: why the labels of a source cannot be read.
    """

    opened: SplitFolder
    roots: Mapping[str, Path]
    problems: tuple[str, ...]
    labels: Mapping[str, Mapping[str, Label]]
    rejected: Mapping[str, Mapping[str, str]]
    unread: Mapping[str, AgeclsError]

    @cached_property
    def there(self) -> pd.DataFrame:
        """The rows whose image is the one that was split, numbered from 0, with their ``keys``."""
        rows = self.opened.rows
        sound = rows[np.array([not problem for problem in self.problems], dtype=np.bool_)].reset_index(drop=True)
        known = [
            self.labels.get(source, {}).get(path) for path, source in zip(sound["path"], sound["source"], strict=True)
        ]
        keys = pd.Series([() if label is None else label.keys for label in known], dtype=object)
        return sound.assign(keys=keys)

    @cached_property
    def looks(self) -> Looks:
        """What they look like.

        Raises:
            DataError: there is none, or one cannot be decoded.
        """
        if self.there.empty:
            raise DataError("no image of the split is there")
        once = self.there.drop(columns=["keys", "part", "rank"]).drop_duplicates(["source", "path"])
        return look_at(Faces(once.reset_index(drop=True)), self.roots)


def read_images(opened: SplitFolder, roots: Mapping[str, Path], options: TableOptions | None) -> Images:
    """Hash every image of the tables, and read the labels of every source again.

    Args:
        opened: the split.
        roots: folder of each source; a source that is not among them has no image.
        options: how to read the label table of source ``csv``.
    """
    rows = opened.rows
    files = list(zip(rows["source"], rows["path"], rows["sha256"], strict=True))
    owner = dict(zip(rows["sha256"], rows["path"], strict=True))

    def inspect(row: tuple[str, str, str]) -> str:
        source, path, digest = row
        return _inspect(roots.get(source), path, digest, owner)

    with ThreadPoolExecutor(os.cpu_count()) as pool, progress("checking images", len(files)) as advance:
        problems = []
        for problem in pool.map(inspect, files):
            problems.append(problem)
            advance(1)
    labels: dict[str, dict[str, Label]] = {}
    rejected: dict[str, dict[str, str]] = {}
    unread: dict[str, AgeclsError] = {}
    for source in sorted(rows["source"].unique()):
        try:
            listing = _read_labels(source, roots, options)
        except AgeclsError as error:
            unread[source] = error
        else:
            labels[source] = {label.path: label for label in listing[0]}
            rejected[source] = listing[1]
    return Images(opened, roots, tuple(problems), labels, rejected, unread)


def _inspect(root: Path | None, path: str, digest: str, owner: Mapping[str, str]) -> str:
    if root is None:
        return "no folder was given for its source"
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        return "its path leaves the folder of its source"
    try:
        found = hashlib.sha256(read_whole(root / path)).hexdigest()
    except DataError as error:
        return "is missing" if "ENOENT" in error.what else error.what
    except ValueError:  # a NUL in the path
        return "is missing"
    if found == digest:
        return ""
    return "is not the image that was split" + (f" but that of {owner[found]}" if found in owner else "")


def _read_labels(
    source: str, roots: Mapping[str, Path], options: TableOptions | None
) -> tuple[list[Label], dict[str, str]]:
    if source not in get_args(SourceName) or source not in roots:
        raise DataError(f"there is no source {source!r}" if source in roots else f"no folder was given for {source}")
    name: SourceName = source  # type: ignore[assignment]
    listing = read_source(name, roots[source], options or TableOptions())
    return listing.labels, {row.path: row.reason for row in listing.rejected}


def check_images(images: Images) -> Check:
    """Whether every image is there and the one that was split."""
    where = places(images.opened.rows)
    found = [Finding(problem, (place,)) for place, problem in zip(where, images.problems, strict=True) if problem]
    return check("images", lambda: [*images.opened.unread, *found])


def check_labels(images: Images) -> tuple[list[Check], list[Skipped]]:
    """Whether the labels of the tables are still those of the sources."""
    rows = images.opened.rows
    found = [*images.opened.unread]
    columns = ("path", "source", "age_low", "age_high", "gender", "ethnicity")
    values = zip(*(rows[name] for name in columns), strict=True)
    for place, problem, (path, source, *told) in zip(places(rows), images.problems, values, strict=True):
        if source not in images.labels or (problem and "not the image" not in problem):
            continue
        label = images.labels[source].get(path)
        if label is None:
            why = images.rejected[source].get(path, "no such label")
            found.append(Finding(f"the source does not name it: {why}", (place,)))
            continue
        ages, said = _ages(*told[:2]), _ages(label.age_low, label.age_high)
        pairs = (("age", ages, said), ("gender", told[2], label.gender), ("ethnicity", told[3], label.ethnicity))
        differs = [
            f"{name} {ours or 'unknown'}, the source says {theirs or 'unknown'}"
            for name, ours, theirs in pairs
            if ours != theirs
        ]
        if differs:
            found.append(Finding("; ".join(differs), (place,)))
    skipped = []
    for source, error in images.unread.items():
        if source == "csv":
            # Only whoever froze it knows its table; without it the labels cannot be compared, which proves nothing.
            skipped.append(Skipped(f"labels:{source}", f"{error.what}; name its table with --table"))
        else:
            found.append(Finding(f"could not be checked: {error.what}"))
    return ([check("labels", lambda: found)] if images.labels or found else []), skipped


def _ages(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"
