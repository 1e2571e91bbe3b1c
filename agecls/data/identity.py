"""Photographs of one person: links between rows whose faces lie close together (see ``embedding``).

``docs/identity.md`` has what was measured on UTKFace, the choice of the threshold, and what this cannot see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import faiss
import numpy as np
import numpy.typing as npt
import pandas as pd

from agecls.data.duplicates import Links
from agecls.data.embedded import FACE, NO_FACE, UNREADABLE, Embedded, embed_files
from agecls.data.embedding import LENGTH, Floats
from agecls.progress import progress

PERSON: Final = 0.33
"""Faces closer than that are taken for one person's. dlib's own 0.6 is meant for comparing two photographs; where all
are compared with all, strangers chain from 0.35 on."""

ADULT: Final = 15
"""Years. To this network children look alike."""

EXACT: Final = 40_000
"""Up to so many contents all are compared with all; above, each with the nearest cells of an index only."""

_SLACK: Final = 1e-3  # rounding of the search, which the exact distances afterwards take back
_BLOCK: Final = 4096
_PROBES: Final = 16

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Persons:
    """What was found among the rows of a table.

    Attributes:
        links: pairs of rows of one person, kind ``person``; ``score`` is the distance of each, shape (L,), float32.
        too_young: rows that were left alone because the person may be younger than ``ADULT``.
        without_face: older rows in which no face was found.
        unreadable: older rows whose file cannot be read, or is another one than the table says.
    """

    links: Links
    too_young: int
    without_face: int
    unreadable: int

    @property
    def distances(self) -> Floats:
        """Distance of each linked pair, shape (L,)."""
        return np.empty(0, np.float32) if self.links.score is None else self.links.score


def find_persons(table: pd.DataFrame, roots: Mapping[str, Path], threshold: float = PERSON) -> Persons:
    """Embed the adults of ``table`` and link those who lie closer together than ``threshold``.

    Args:
        table: columns ``path``, ``source``, ``sha256``, ``age_low``; one row an image.
        roots: folder of each source.
        threshold: Euclidean distance.

    Raises:
        UsageError: the extra ``identity`` is not installed, or the cache folder cannot be written.
        DataError: a worker process was ended from outside.
    """
    adults = _contents(table)
    files = {
        sha256: roots[source] / path
        for sha256, source, path in zip(adults["sha256"], adults["source"], adults["path"], strict=True)
    }
    return link_persons(table, embed_files(files), threshold)


def link_persons(table: pd.DataFrame, embedded: Embedded, threshold: float = PERSON) -> Persons:
    """Link rows whose embeddings are known already.

    Each content stands for itself once, in the row of its smallest source and path: rows of equal content are linked by
    ``duplicates.find_links``. So the pairs are the same whatever the order of the rows.

    Args:
        table: as for ``find_persons``.
        embedded: of each adult content of ``table``, sorted by sha256.
        threshold: Euclidean distance.
    """
    adults = _contents(table)
    faces = np.flatnonzero(embedded.state == FACE)
    first, second, distance = close_pairs(embedded.vectors[faces], threshold)
    rows = adults["row"].to_numpy(dtype=np.int64)[faces]
    links = Links("person", rows[first], rows[second], distance)
    old = table["age_low"].to_numpy() >= ADULT
    state = embedded.state[np.searchsorted(adults["sha256"].to_numpy(dtype="U64"), table["sha256"][old].to_list())]
    return Persons(links, int((~old).sum()), int((state == NO_FACE).sum()), int((state == UNREADABLE).sum()))


def close_pairs(vectors: Floats, threshold: float, exact: int = EXACT) -> tuple[Ints, Ints, Floats]:
    """All pairs of vectors closer than ``threshold``; above ``exact`` vectors a few near the threshold may be missed.

    Args:
        vectors: float32, shape (N, 128).
        threshold: Euclidean distance.
        exact: number of vectors up to which all are compared with all.

    Returns:
        Row numbers, each below its partner, and the distance: shape (P,) each, in order of the rows.
    """
    vectors = np.ascontiguousarray(vectors)
    index = _build_index(vectors, exact)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    with progress("comparing faces", len(vectors)) as advance:
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK]
            limits, _, others = index.range_search(block, (threshold + _SLACK) ** 2)
            own = np.repeat(np.arange(start, start + len(block)), np.diff(limits.astype(np.int64)).astype(np.int64))
            different = own != others
            pairs.append(np.sort(np.column_stack([own[different], others[different]]), axis=1))
            advance(len(block))
    # An index finds a pair from either side, or from one alone.
    first, second = np.unique(np.concatenate(pairs), axis=0).T
    distance = np.empty(len(first), dtype=np.float64)
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        apart = vectors[first[part]].astype(np.float64) - vectors[second[part]]
        distance[part] = np.sqrt((apart**2).sum(axis=1))
    close = distance < threshold
    return first[close], second[close], distance[close].astype(np.float32)


def _build_index(vectors: Floats, exact: int) -> faiss.Index:
    if len(vectors) <= exact:
        index: faiss.Index = faiss.IndexFlatL2(LENGTH)
    else:
        cells = int(2 * np.sqrt(len(vectors)))
        index = cells_index = faiss.IndexIVFFlat(faiss.IndexFlatL2(LENGTH), LENGTH, cells)
        cells_index.cp.niter, cells_index.nprobe = 6, _PROBES
        index.train(vectors[:: max(1, len(vectors) // (40 * cells))])
    index.add(vectors)
    return index


def _contents(table: pd.DataFrame) -> pd.DataFrame:
    """One row a content of an adult, sorted by ``sha256``; ``row`` is its row number in ``table``."""
    numbered = table[["path", "source", "sha256", "age_low"]].assign(row=np.arange(len(table)))
    adults = numbered[numbered["age_low"] >= ADULT].sort_values(["sha256", "source", "path"])
    return adults.drop_duplicates("sha256")
