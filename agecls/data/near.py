"""Near twins: the same photograph re-encoded, resized, mirrored, slightly cropped, brightened or retouched.

Aligned faces all look alike, so likeness alone proves nothing. Candidates come from a nearest-neighbour index over
``spectrum`` vectors, in which a query is also asked mirrored and zoomed in. Each candidate is then confirmed on pixels:
normalised correlation of the detail of both thumbnails (what is finer than a blur of 3 pixels) at the best small scale
and shift. Two photographs of one person agree in their coarse light and shade; only one photograph agrees in detail.
``docs/duplicates.md`` has the measured curves behind the two thresholds.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import cv2
import faiss
import numpy as np
import numpy.typing as npt

from agecls.data.spectrum import LENGTH, SIDE, Floats, Thumbnails, spectrum

CONFIRMED: Final = 0.80
"""Least correlation of detail between two pictures of one photograph."""

DOUBTFUL: Final = 0.75
"""From here up to ``CONFIRMED`` half the pairs are one photograph: those whose whole thumbnails correlate as well."""

WHOLE: Final = 0.95
"""Least correlation of whole thumbnails, neither shifted nor zoomed, that settles a doubtful pair."""

CANDIDATE: Final = 0.86
"""Least cosine between two spectra of 88 numbers worth a closer look."""

SCREENED: Final = 0.60
"""Least cosine between two spectra of 320 numbers worth a look at the pixels."""

ZOOMS: Final = (1.0, 1.05, 1.1)
"""Magnifications under which a neighbour is looked for: a crop of up to 6 % at each side lies near one of them."""

NEIGHBOURS: Final = 5
"""Candidates of one query at most; larger families connect through each other."""

EXACT: Final = 40_000
"""Up to so many images the index compares all; above, it looks into the nearest cells only."""

_SCALES: Final = (1.0, 1.025, 1.05, 1.075, 1.1, 1.125, 1.15)  # tried on pixels; every other one is in ZOOMS
_MARGIN: Final = 4  # pixels a template may shift in each direction
_BLUR: Final = 3.0  # pixels
_BLANK: Final = 0.5  # grey levels; less detail than that is noise
_HOPELESS: Final = 0.4
_BLOCK: Final = 65_536
_FINE: Final = 320  # coefficients of the screening


Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NearPairs:
    """Confirmed pairs.

    Attributes:
        first: row numbers, shape (P,), each below the one in ``second``.
        second: row numbers, shape (P,).
        score: correlation of detail, shape (P,), in ``DOUBTFUL``..1.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    score: Floats


@dataclass(frozen=True)
class Candidates:
    """Pairs that may be one photograph: image ``first``, zoomed and perhaps mirrored, looks like ``second``.

    Attributes:
        first: row numbers, shape (C,).
        second: row numbers, shape (C,).
        zoom: index into ``ZOOMS``, shape (C,).
        mirrored: shape (C,).
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    zoom: npt.NDArray[np.int64]
    mirrored: npt.NDArray[np.bool_]


def near_pairs(thumbnails: Thumbnails, advance: Callable[[int], None] = lambda _: None) -> NearPairs:
    """Find every pair of thumbnails that show one photograph.

    Args:
        thumbnails: uint8, shape (N, 64, 64), no two with equal content.
        advance: called with numbers that add up to N.
    """
    found = find_candidates(thumbnails, advance)
    score = confirm(thumbnails, found)
    score[(score < CONFIRMED) & ~_settled(thumbnails, found, score)] = 0
    low, high = np.minimum(found.first, found.second), np.maximum(found.first, found.second)
    order = np.lexsort((-score, high, low))
    low, high, score = low[order], high[order], score[order]
    best = (np.diff(low, prepend=-1) != 0) | (np.diff(high, prepend=-1) != 0)
    chosen = best & (score > 0)
    return NearPairs(low[chosen], high[chosen], score[chosen])


def find_candidates(thumbnails: Thumbnails, advance: Callable[[int], None] = lambda _: None) -> Candidates:
    """Nearest neighbours of every thumbnail, as it is, mirrored and zoomed in, that a finer spectrum bears out."""
    index = _build_index(spectrum(thumbnails))
    found: list[Candidates] = []
    for start in range(0, len(thumbnails), _BLOCK):
        block = thumbnails[start : start + _BLOCK]
        for zoom in range(len(ZOOMS)):
            for mirrored in (False, True):
                rows, others = _search(index, spectrum(block, zoom=ZOOMS[zoom], mirrored=mirrored))
                keep = rows + start != others
                pairs = _screen(thumbnails, rows[keep] + start, others[keep], ZOOMS[zoom], mirrored=mirrored)
                found.append(Candidates(*pairs, np.full(len(pairs[0]), zoom), np.full(len(pairs[0]), mirrored)))
        advance(len(block))
    if not found:
        none = np.empty(0, np.int64)
        return Candidates(none, none, none, none.astype(np.bool_))
    return Candidates(
        first=np.concatenate([each.first for each in found]),
        second=np.concatenate([each.second for each in found]),
        zoom=np.concatenate([each.zoom for each in found]),
        mirrored=np.concatenate([each.mirrored for each in found]),
    )


def _build_index(vectors: Floats) -> Any:  # faiss has no complete types
    if len(vectors) <= EXACT:
        index: Any = faiss.IndexFlatIP(LENGTH)
    else:
        cells = int(4 * np.sqrt(len(vectors)))
        kind = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(LENGTH), LENGTH, cells, kind, faiss.METRIC_INNER_PRODUCT, False
        )
        index.cp.niter, index.cp.spherical, index.nprobe = 6, True, 4
        index.train(vectors[:: max(1, len(vectors) // (40 * cells))])
    index.add(vectors)
    return index


def _search(index: Any, queries: Floats) -> tuple[Rows, Rows]:
    """Rows of the queries and of their neighbours."""
    if isinstance(index, faiss.IndexFlat):
        cosine, neighbours = index.search(queries, NEIGHBOURS)
        row, column = np.nonzero((cosine >= CANDIDATE) & (neighbours >= 0))
        return row, neighbours[row, column].astype(np.int64)
    closeness, cells = index.quantizer.search(queries, index.nprobe)
    # One cell after another: its vectors are then read from memory once.
    order = np.argsort(cells[:, 0], kind="stable")
    cosine, neighbours = index.search_preassigned(queries[order], NEIGHBOURS, cells[order], closeness[order])
    row, column = np.nonzero((cosine >= CANDIDATE) & (neighbours >= 0))
    return order[row], neighbours[row, column].astype(np.int64)


def _screen(thumbnails: Thumbnails, first: Rows, second: Rows, zoom: float, *, mirrored: bool) -> tuple[Rows, Rows]:
    """Keep the pairs whose finer spectra agree as well: nearly all that remain are one photograph."""
    keep = np.zeros(len(first), dtype=np.bool_)
    for start in range(0, len(first), 16_384):
        chosen = slice(start, start + 16_384)
        ours = spectrum(thumbnails[first[chosen]], length=_FINE, zoom=zoom, mirrored=mirrored)
        keep[chosen] = (ours * spectrum(thumbnails[second[chosen]], length=_FINE)).sum(axis=1) >= SCREENED
    return first[keep], second[keep]


def confirm(thumbnails: Thumbnails, candidates: Candidates) -> Floats:
    """Correlation of detail of each candidate pair at its best scale and shift, shape (C,), -1..1."""
    cv2.setNumThreads(1)

    def score(number: int) -> float:
        first, second = thumbnails[candidates.first[number]], thumbnails[candidates.second[number]]
        zoom = int(candidates.zoom[number])
        return likeness(first[:, ::-1] if candidates.mirrored[number] else first, second, zoom)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.fromiter(pool.map(score, range(len(candidates.first)), chunksize=1024), np.float32)


def _settled(thumbnails: Thumbnails, candidates: Candidates, score: Floats) -> npt.NDArray[np.bool_]:
    """Which doubtful pairs agree as a whole, shape (C,)."""
    settled = np.zeros(len(score), dtype=np.bool_)
    for number in np.flatnonzero((score >= DOUBTFUL) & (score < CONFIRMED)):
        first, second = thumbnails[candidates.first[number]], thumbnails[candidates.second[number]]
        first = first[:, ::-1] if candidates.mirrored[number] else first
        settled[number] = np.corrcoef(first.ravel(), second.ravel())[0, 1] >= WHOLE
    return settled


def likeness(first: Thumbnails, second: Thumbnails, zoom: int = 0) -> float:
    """Correlation of detail where ``first``, magnified about ``ZOOMS[zoom]``, best fits ``second``; 0 for a blank one.

    Args:
        first: uint8, shape (64, 64).
        second: uint8, shape (64, 64).
        zoom: index into ``ZOOMS``; the scales beside it are tried as well.
    """
    fine, ground = _detail(first), _detail(second)
    if fine.std() < _BLANK or ground.std() < _BLANK:
        return 0.0
    best = _fit(fine, ground, _SCALES[2 * zoom])
    # What does not agree at all at the nearest scale agrees at none.
    if best > _HOPELESS:
        beside = _SCALES[max(0, 2 * zoom - 2) : 2 * zoom + 3]
        best = max(best, *(_fit(fine, ground, scale) for scale in beside if scale != _SCALES[2 * zoom]))
    return best


def _fit(fine: Floats, ground: Floats, scale: float) -> float:
    side = round(SIDE * scale)
    whole = fine if side == SIDE else cv2.resize(fine, (side, side), interpolation=cv2.INTER_LINEAR)
    edge, kept = (side - SIDE) // 2 + _MARGIN, SIDE - 2 * _MARGIN
    inner = whole[edge : edge + kept, edge : edge + kept]
    return float(cv2.matchTemplate(ground, inner, cv2.TM_CCOEFF_NORMED).max())


def _detail(thumbnail: Thumbnails) -> Floats:
    plain = thumbnail.astype(np.float32)
    return plain - np.asarray(cv2.GaussianBlur(plain, (0, 0), _BLUR), dtype=np.float32)
