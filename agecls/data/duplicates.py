"""Which images must share a part: links between rows, and the groups they form."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class Links:
    """Pairs of rows that belong together for one reason.

    Attributes:
        kind: why, such as ``bytes`` or ``stamp``.
        first: row numbers, shape (L,).
        second: row numbers, shape (L,).
    """

    kind: str
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)


def equal_links(kind: str, rows: npt.NDArray[np.int64], values: Sequence[str]) -> Links:
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


def find_links(table: pd.DataFrame) -> list[Links]:
    """All reasons for which rows of ``table`` (columns ``sha256``, ``keys``) belong together.

    Byte-identical files are linked, and rows that share a key such as UTKFace's millisecond stamp: images with one
    stamp are often crops of one photograph.
    """
    links = [equal_links("bytes", np.arange(len(table), dtype=np.int64), table["sha256"].tolist())]
    keys = [(row, key) for row, keys in enumerate(table["keys"]) for key in keys]
    for kind in sorted({key.partition(":")[0] for _, key in keys}):
        chosen = [(row, key) for row, key in keys if key.partition(":")[0] == kind]
        rows = np.array([row for row, _ in chosen], dtype=np.int64)
        links.append(equal_links(kind, rows, [key for _, key in chosen]))
    return links


def group_names(hashes: Sequence[str], links: Sequence[Links]) -> list[str]:
    """Name the connected component of each row after the smallest content hash in it.

    Args:
        hashes: sha256 of each image, length N.
        links: pairs of row numbers below N.

    Returns:
        ``g`` and sixteen hexadecimal digits for each row: the same whatever the order of the rows.
    """
    count = len(hashes)
    first = np.concatenate([link.first for link in links]) if links else np.empty(0, np.int64)
    second = np.concatenate([link.second for link in links]) if links else np.empty(0, np.int64)
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    smallest = pd.Series(list(hashes), dtype=object).groupby(component).min()
    return [f"g{smallest[number][:16]}" for number in component]
