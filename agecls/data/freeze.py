"""Freeze a split: read the sources, group what belongs together, assign parts, write everything at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agecls.bins import Bins
from agecls.data.conflicts import OnConflict, conflict_rows, find_conflicts
from agecls.data.duplicates import LARGEST_SHARE, Links, find_links, group_names, refuse_chaining
from agecls.data.embedding import require_models
from agecls.data.faces import Faces
from agecls.data.looks import keep_looks
from agecls.data.publish import Contents, refuse_existing, write_split
from agecls.data.scan import Scanned, scan
from agecls.data.sources import SourceName, TableOptions, read_source
from agecls.data.sources.listing import Rejected
from agecls.data.split import PARTS, Part, Split
from agecls.data.stratify import assign_parts, name_strata
from agecls.errors import DataError, UsageError


@dataclass(frozen=True)
class Grouping:
    """What decides which images share a part.

    Attributes:
        identity: link photographs of one adult by face embedding as well.
        on_conflict: what becomes of photographs whose labels disagree.
        largest_share: share of all images above which a group stops the split.
    """

    identity: bool = False
    on_conflict: OnConflict = "train"
    largest_share: float = LARGEST_SHARE

    def __post_init__(self) -> None:
        if not 0 < self.largest_share <= 1:
            raise UsageError(
                "--largest-group takes a share of all images above 0 and at most 1", got=str(self.largest_share)
            )


@dataclass(frozen=True)
class Frozen:
    """A split as it was just written, with what the screen shows of it.

    Attributes:
        split: the frozen split.
        rejected: what went to ``quarantine.csv``.
    """

    split: Split
    rejected: list[Rejected]


@dataclass(frozen=True)
class Gathered:
    """Every usable image of the sources, and why some belong together.

    Attributes:
        table: columns of ``Faces``, sorted by path and source, one row an image, numbered from 0.
        links: pairs of its rows.
        differs: for each row, which labels of its photograph disagree; "" where none does.
        rejected: everything that cannot be used, sorted by path.
        notes: for the manifest: how the images were grouped.
    """

    table: pd.DataFrame
    links: list[Links]
    differs: "pd.Series[str]"
    rejected: list[Rejected]
    notes: dict[str, Any] = field(default_factory=dict)


def freeze_split(
    sources: Sequence[tuple[SourceName, Path]],
    out: Path,
    *,
    fractions: tuple[float, float, float],
    seed: int,
    bins: Bins,
    options: TableOptions | None = None,
    grouping: Grouping | None = None,
) -> Frozen:
    """Read ``sources`` and write a split directory, atomically.

    Raises:
        SplitError: ``out`` exists already.
        DataError: no usable image, too few for three parts, or a group too large.
    """
    refuse_existing(out)
    grouping = grouping or Grouping()
    gathered = gather(sources, options or TableOptions(), grouping)
    table, differs = gathered.table, gathered.differs
    rejected = gathered.rejected
    usable, to_train = table, set[str]()
    if grouping.on_conflict == "train":
        to_train = set(table["group"][differs != ""])
    elif grouping.on_conflict == "drop":
        usable = table[differs == ""].reset_index(drop=True)
        rejected = sorted([*rejected, *_reject_conflicts(table, differs)])
    parts, strata = divide(Faces(usable), bins, fractions, seed, to_train)
    contents = Contents(
        parts=parts,
        bins=bins,
        sources=[name for name, _ in sources],
        fractions=fractions,
        seed=seed,
        strata=strata,
        table=table,
        links=gathered.links,
        conflicts=conflict_rows(table, differs),
        rejected=rejected,
        notes={**gathered.notes, "on_conflict": grouping.on_conflict},
    )
    return Frozen(write_split(out, contents), rejected)


def _reject_conflicts(table: pd.DataFrame, differs: "pd.Series[str]") -> list[Rejected]:
    rows = zip(table["path"], differs, strict=True)
    return [Rejected(path, f"labels of one photograph differ: {what}") for path, what in rows if what]


def gather(sources: Sequence[tuple[SourceName, Path]], options: TableOptions, grouping: Grouping) -> Gathered:
    """Read and open every image of the sources, and group them.

    Raises:
        UsageError: a source is given twice.
        DataError: no usable image, too few for three parts, or a group too large.
    """
    names = [name for name, _ in sources]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"--source {twice} is given twice", remedy="put the images of one source below one root")
    if grouping.identity:
        require_models()
    scanned = [(name, scan(name, root, read_source(name, root, options))) for name, root in sources]
    table = pd.concat([each.table for _, each in scanned], ignore_index=True)
    rejected = _gather_rejected(scanned)
    if len(table) < len(PARTS):
        reasons = "; ".join(sorted({each.reason for each in rejected})[:3]) or "none rejected either"
        raise DataError(
            f"{len(table)} usable images are too few to split", got=reasons, remedy="check --source and --root"
        )
    seen = np.concatenate([each.looks for _, each in scanned]) if len(scanned) > 1 else scanned[0][1].looks
    looks = keep_looks(table["sha256"].tolist(), seen)
    table = table.sort_values(["path", "source"], kind="stable", ignore_index=True)
    links, notes = find_links(table, looks), {"identity": None}
    if grouping.identity:
        more, notes = _link_persons(table, dict(sources))
        links.append(more)
    refuse_chaining(table, links, grouping.largest_share)
    table = table.drop(columns="keys").assign(group=group_names(table["sha256"].tolist(), links))
    return Gathered(table, links, find_conflicts(table, links), rejected, notes)


def _link_persons(table: pd.DataFrame, roots: Mapping[str, Path]) -> tuple[Links, dict[str, Any]]:
    from agecls.data.identity import PERSON, find_persons  # an extra, and slow to import

    found = find_persons(table, roots)
    without = {name: getattr(found, name) for name in ("without_face", "too_young", "unreadable")}
    return found.links, {"identity": {"threshold": PERSON, **without}}


def divide(
    faces: Faces, bins: Bins, fractions: Sequence[float], seed: int, to_train: Collection[str] = ()
) -> tuple[dict[Part, Faces], list[str]]:
    """Assign every image to a part, whatever the order of the rows.

    Args:
        faces: every image.
        bins: age bins by which they are stratified.
        fractions: share of each part.
        seed: another seed draws other parts.
        to_train: names of the groups that may go nowhere but to train.

    Returns:
        The faces of each part, and stratum and part (``stratum/part``) of each image sorted by path and source.
    """
    table = faces.table.sort_values(["path", "source"], kind="stable", ignore_index=True)
    strata = name_strata(table, bins, min(fractions))
    ages = ((table["age_low"] + table["age_high"]) / 2).to_numpy(np.float64)
    pinned = np.where(table["group"].isin(list(to_train)), PARTS.index("train"), -1).astype(np.int64)
    numbers = assign_parts(table["group"].tolist(), strata, ages, fractions, seed, pinned)
    ordered = Faces(table)
    return {part: ordered.select(numbers == number) for number, part in enumerate(PARTS)}, [
        f"{stratum}/{PARTS[number]}" for stratum, number in zip(strata, numbers, strict=True)
    ]


def _gather_rejected(scanned: Sequence[tuple[str, Scanned]]) -> list[Rejected]:
    if len(scanned) == 1:
        return scanned[0][1].rejected
    marked = [Rejected(row.path, f"{row.reason} [{name}]") for name, each in scanned for row in each.rejected]
    return sorted(marked)
