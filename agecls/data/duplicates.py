"""Which images must share a part: links between rows, and the groups they form."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from agecls.data.looks import Looks
from agecls.data.near import near_pairs
from agecls.errors import DataError
from agecls.progress import progress

TWINS: Final = ("bytes", "pixels", "near")
"""Reasons that make two rows one photograph; their labels should agree."""

DECLARED: Final = "identity"
"""A group that the labels themselves name, such as a person; however large, it is no accident of chaining."""

LARGEST_SHARE: Final = 0.01
"""Share of all images above which a group is taken for an accident of chaining."""

ALWAYS_ALLOWED: Final = 10
"""A group of so many images is never too large, however few images there are."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Links:
    """Pairs of rows that belong together for one reason.

    Attributes:
        kind: why: ``bytes``, ``pixels``, ``near``, ``person``, or the kind of a source's keys, such as ``stamp``.
        first: row numbers, shape (L,).
        second: row numbers, shape (L,).
        score: how much they agree, shape (L,): correlation of detail for ``near``, distance for ``person``; else None.
    """

    kind: str
    first: Ints
    second: Ints
    score: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.first)


def equal_links(kind: str, rows: Ints, values: Sequence[str]) -> Links:
    """Link rows whose values are equal, each to the one before it in sorted order.

    Args:
        kind: name of the reason.
        rows: row numbers, shape (M,).
        values: one value for each, length M; equal values mean one group.
    """
    codes, _ = pd.factorize(np.asarray(values, dtype=object))
    order = np.argsort(codes, kind="stable")
    same = codes[order][1:] == codes[order][:-1]
    return Links(kind, rows[order][:-1][same], rows[order][1:][same])


def find_links(table: pd.DataFrame, looks: Looks) -> list[Links]:
    """All reasons seen in the files and their labels for which rows of ``table`` belong together.

    Byte-identical files are linked, files that decode to the same pixels, near twins (see ``near``), and rows that
    share a key such as UTKFace's millisecond stamp: images with one stamp are often crops of one photograph.

    Args:
        table: columns ``sha256`` and ``keys``, one row an image, N rows.
        looks: of every image of the table.
    """
    hashes = table["sha256"].tolist()
    links = [equal_links("bytes", np.arange(len(table), dtype=np.int64), hashes), *_look_alikes(hashes, looks)]
    keys = [(row, key) for row, keys in enumerate(table["keys"]) for key in keys]
    for kind in sorted({key.partition(":")[0] for _, key in keys}):
        chosen = [(row, key) for row, key in keys if key.partition(":")[0] == kind]
        rows = np.array([row for row, _ in chosen], dtype=np.int64)
        links.append(equal_links(kind, rows, [key for _, key in chosen]))
    return links


def _look_alikes(hashes: Sequence[str], looks: Looks) -> list[Links]:
    """Links by equal pixels and by near identity; each content is compared once, whatever the order of the rows."""
    unique, first_row = np.unique(np.asarray(hashes, dtype="U64"), return_index=True)
    taken = looks.rows(unique.tolist())
    pixels = np.asarray(looks.pixels, dtype=object)[taken]
    same = equal_links("pixels", first_row.astype(np.int64), pixels.tolist())
    _, once = np.unique(pixels.astype("U64"), return_index=True)
    with progress("comparing images", len(once)) as advance:
        found = near_pairs(looks.thumbnails[taken[once]], advance)
    rows = first_row[once].astype(np.int64)
    return [same, Links("near", rows[found.first], rows[found.second], found.score)]


def components(count: int, links: Sequence[Links]) -> Ints:
    """Number of the connected component of each of ``count`` rows, shape (count,)."""
    first = np.concatenate([link.first for link in links]) if links else np.empty(0, np.int64)
    second = np.concatenate([link.second for link in links]) if links else np.empty(0, np.int64)
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def group_names(hashes: Sequence[str], links: Sequence[Links]) -> list[str]:
    """Name the connected component of each row after the smallest content hash in it.

    Args:
        hashes: sha256 of each image, length N.
        links: pairs of row numbers below N.

    Returns:
        ``g`` and sixteen hexadecimal digits for each row: the same whatever the order of the rows.
    """
    component = components(len(hashes), links)
    smallest = pd.Series(list(hashes), dtype=object).groupby(component).min()
    return [f"g{smallest[number][:16]}" for number in component]


def refuse_chaining(table: pd.DataFrame, links: Sequence[Links], largest_share: float) -> None:
    """Stop where links have chained images into one group above ``largest_share`` of all.

    Groups that the labels declare (an identity column, Adience's users) may be larger.

    Raises:
        DataError: with the size of the group, what made it, and three of its images.
    """
    by_accident = [link for link in links if link.kind != DECLARED]
    component = components(len(table), by_accident)
    sizes = np.bincount(component)
    limit = max(ALWAYS_ALLOWED, int(largest_share * len(table)))
    if sizes.max(initial=0) <= limit:
        return
    members, share = component == int(sizes.argmax()), sizes.max() / len(table)
    made = ", ".join(f"{number} {kind}" for kind, number in count_links(links, members).items())
    paths = ", ".join(sorted(table["path"][members])[:3])
    raise DataError(
        f"{int(sizes.max()):,} of {len(table):,} images chain into one group, and more than {limit:,} are no accident",
        got=f"links by {made}; among them {paths}",
        remedy=f"look at them; if they belong together, allow it with --largest-group {ceil(1000 * share) / 1000:.3f}",
    )


def count_links(links: Sequence[Links], members: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Number of links of each kind among some rows, kinds without any left out."""
    counts = {link.kind: int(members[link.first].sum()) for link in links}
    return {kind: count for kind, count in counts.items() if count}
