"""Adopt a split that someone else made: as it is with its leaks listed, or repaired."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agecls.bins import Bins
from agecls.data.conflicts import conflict_rows, find_conflicts
from agecls.data.duplicates import Ints, Links, find_links, group_names
from agecls.data.faces import Faces
from agecls.data.freeze import Frozen, Grouping
from agecls.data.looks import look_at
from agecls.data.publish import Contents, refuse_existing, write_split
from agecls.data.published import Disagreement, Placed, Published, read_published
from agecls.data.repair import ITSELF, KIN_COLUMNS, Kinship, find_drops, find_kin, relate, restrict, without
from agecls.data.sources import SourceName, TableOptions
from agecls.data.sources.listing import Rejected
from agecls.data.split import PARTS, Part, leaking_rows, refuse_shared_groups
from agecls.data.stratify import name_strata
from agecls.errors import DataError


@dataclass(frozen=True)
class Adopted:
    """A split as it was just adopted, with what the screen shows of it.

    Attributes:
        frozen: the split as written, and its quarantine; of an image that the repair dropped only the stronger part.
        leaks: rows of ``leaks.csv``.
        dropped: images that the repair dropped from each part, or would have dropped were it asked for.
        ages: rows that give another age than the source; None where no ages were compared.
    """

    frozen: Frozen
    leaks: pd.DataFrame
    dropped: Mapping[Part, int]
    ages: Disagreement | None


def adopt_split(
    sources: Sequence[tuple[SourceName, Path]],
    tables: Sequence[Path],
    out: Path,
    *,
    bins: Bins,
    repair: bool = False,
    options: TableOptions | None = None,
    grouping: Grouping | None = None,
) -> Adopted:
    """Freeze the split that ``tables`` describe, atomically.

    Args:
        sources: what knows the images and their labels; ``csv`` without a table takes the labels from ``tables``.
        tables: of train, valid and test.
        out: folder of the new split.
        bins: by which it is described.
        repair: drop the images that leak instead of listing them.
        options: how to read the tables.
        grouping: what groups the images; its ``on_conflict`` has no say, for no image is moved.

    Raises:
        SplitError: ``out`` exists already.
        DataError: a table cannot be read or means no image, or no image of a part is left.
    """
    refuse_existing(out)
    published = read_published(sources, tables, options or TableOptions(), grouping or Grouping())
    return freeze_published(published, out, bins=bins, repair=repair)


def freeze_published(published: Published, out: Path, *, bins: Bins, repair: bool = False) -> Adopted:
    """Write a split directory of what ``read_published`` read, as it is or repaired.

    Raises:
        SplitError: ``out`` exists already.
        DataError: no image of a part is left.
    """
    everything, placed, rejected = published.gathered.table, published.placed, published.rejected
    _refuse_empty(published)
    kinships, drops = _find_kinships(published, repair=repair)
    told = rejected
    if repair:
        placed = without(placed, drops)
        named = _name_drops(drops, everything["path"], published.tables)
        told = [*rejected, *(row._replace(reason=short) for row, short in named)]
        rejected = sorted([*rejected, *(row for row, _ in named)])
    rows = _union(placed)
    links = restrict(kinships, everything["sha256"].tolist(), rows)
    table = everything.iloc[rows].reset_index(drop=True)
    table = table.assign(group=group_names(table["sha256"].tolist(), links))
    parts = {part: Faces(table.iloc[np.searchsorted(rows, placed[part])].reset_index(drop=True)) for part in PARTS}
    if repair:
        refuse_shared_groups(parts)
    leaks = _explain(leaking_rows(parts), find_kin(kinships, placed), everything, table, links)
    dropped = {part: int(drops["row"][drops["part"] == part].nunique()) for part in PARTS[:-1]}
    adopted: dict[str, Any] = {"tables": list(published.tables), "repaired": repair}
    adopted |= {"dropped": dropped} if repair else {}
    ages = published.ages
    adopted |= {"not_named": published.not_named, "ages_differ": None if ages is None else ages.rows}
    contents = Contents(
        parts=parts,
        bins=bins,
        sources=list(published.roots),
        fractions=None,
        seed=None,
        strata=_name_strata(parts, bins),
        table=table,
        links=links,
        conflicts=conflict_rows(table, find_conflicts(table, links)),
        rejected=rejected,
        leaks=leaks,
        notes={**published.gathered.notes, "on_conflict": "keep", "adopted": adopted},
    )
    return Adopted(Frozen(write_split(out, contents), told), leaks, dropped, ages)


def _refuse_empty(published: Published) -> None:
    for (part, rows), name in zip(published.placed.items(), published.tables, strict=True):
        if not len(rows):
            reasons = Counter(row.reason for row in published.rejected if row.reason.endswith(f"[{name}]"))
            raise DataError(
                f"no image of {part} can be used",
                got="; ".join(f"{count} times: {reason}" for reason, count in reasons.most_common(3)),
                remedy="check --root, and name the column of image paths with --column path=THEIR_NAME",
            )


def _find_kinships(published: Published, *, repair: bool) -> tuple[list[Kinship], pd.DataFrame]:
    """Every reason for which images are kin, and the images that a repair drops.

    The search for near twins finds a few neighbours of each image, which is enough to hold a group together, but not to
    take it apart: of a large family, images without a link may be as near as others. So what remains is searched again
    until nothing new has to go.
    """
    everything, rows = published.gathered.table, _union(published.placed)
    hashes, links = everything["sha256"].tolist(), published.gathered.links
    # What no table names has no say in what belongs together.
    links = [
        replace(link, first=rows[link.first], second=rows[link.second])
        for link in restrict(relate(hashes, links), hashes, rows)
    ]
    searched = len(everything)
    while True:
        kinships = relate(hashes, links)
        drops = find_drops(kinships, published.placed)
        left = without(published.placed, drops) if repair else published.placed
        for part, rows in left.items():
            if not len(rows):
                raise DataError(
                    f"the repair leaves no image in {part}",
                    got=f"all {len(published.placed[part])} belong with images of a stronger part",
                    remedy="adopt it without --repair and look at leaks.csv, or freeze a new split",
                )
        rows = _union(left)
        if len(rows) == searched:
            return kinships, drops
        searched = len(rows)
        links = _search_near(links, everything, rows, published.roots)


def _search_near(
    links: Sequence[Links], table: pd.DataFrame, rows: Ints, roots: Mapping[SourceName, Path]
) -> list[Links]:
    """Add the near twins that a search among ``rows`` alone finds."""
    looks = look_at(Faces(table), {str(name): root for name, root in roots.items()})
    among = table.iloc[rows].reset_index(drop=True)
    among["keys"] = pd.Series([()] * len(among), dtype=object)  # what keys say is known already
    found = next(link for link in find_links(among, looks) if link.kind == "near")
    return [_join(link, found, rows) if link.kind == "near" else link for link in links]


def _join(known: Links, found: Links, rows: Ints) -> Links:
    score = [link.score if link.score is not None else np.empty(0, np.float32) for link in (known, found)]
    first = np.concatenate([known.first, rows[found.first]])
    return Links(known.kind, first, np.concatenate([known.second, rows[found.second]]), np.concatenate(score))


def _union(placed: Placed) -> Ints:
    return np.unique(np.concatenate(list(placed.values())))


def _name_drops(drops: pd.DataFrame, paths: "pd.Series[str]", tables: Sequence[str]) -> list[tuple[Rejected, str]]:
    """The rows of ``quarantine.csv`` for dropped images, and each reason in short.

    Each names the closest image of the strongest part that it belongs with.
    """
    table_of = {str(part): name for part, name in zip(PARTS, tables, strict=True)}
    rejected = []
    for (part, row), kin in _by_image(drops).items():
        _, other, other_part = kin[0]
        kinds = [kind for kind, *image in kin if image == [other, other_part]]
        reason = f"belongs with {paths[other]} of {other_part} by {', '.join(kinds)}"
        short = f"belongs with an image of {other_part}"
        if ITSELF in kinds:
            reason = short = f"stands in {table_of[other_part]} too"
        rejected.append((Rejected(paths[row], f"{reason} [{table_of[part]}]"), f"{short} [{table_of[part]}]"))
    return rejected


def _by_image(kin: pd.DataFrame) -> dict[tuple[str, int], list[tuple[str, int, str]]]:
    """For each part and row of ``find_kin`` its kin, strongest part first: kind, row and part."""
    found: dict[tuple[str, int], list[tuple[str, int, str]]] = {}
    for part, row, kind, other, other_part in zip(*(kin[name].tolist() for name in KIN_COLUMNS), strict=True):
        found.setdefault((part, row), []).append((kind, other, other_part))
    return found


def _explain(
    leaks: pd.DataFrame, kin: pd.DataFrame, everything: pd.DataFrame, table: pd.DataFrame, links: Sequence[Links]
) -> pd.DataFrame:
    """Add the column ``why``: the kinds by which an image is kin to images of stronger parts.

    Where it is kin to none of them itself, but to others of its own part that are, ``chain:`` and the kinds that hold
    the group together.
    """
    images = list(zip(everything["path"], everything["source"], strict=True))
    own = {
        (part, *images[row]): dict.fromkeys(kind for kind, *_ in each) for (part, row), each in _by_image(kin).items()
    }
    groups = table["group"].to_numpy()
    within: dict[str, dict[str, None]] = {}
    for link in links:
        for group in groups[link.first]:
            within.setdefault(group, {})[link.kind] = None
    why = [
        " ".join(own.get((part, path, source), ["chain:", *within.get(group, ())]))
        for part, path, source, group in zip(leaks["part"], leaks["path"], leaks["source"], leaks["group"], strict=True)
    ]
    return leaks.assign(why=pd.Series(why, index=leaks.index, dtype=object))


def _name_strata(parts: Mapping[Part, Faces], bins: Bins) -> list[str]:
    everything = pd.concat([faces.table for faces in parts.values()], ignore_index=True)
    smallest = min(map(len, parts.values())) / len(everything)
    part_of = [part for part, faces in parts.items() for _ in range(len(faces))]
    strata = name_strata(everything, bins, smallest)
    return [f"{stratum}/{part}" for stratum, part in zip(strata, part_of, strict=True)]
