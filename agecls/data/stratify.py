"""Assign groups of images to parts so that every label is shared out alike.

Deterministic and independent of row order: chance enters only through sha256 of the seed and the group's name, so the
same table gives the same parts on any machine and with any version of the libraries.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from agecls.bins import UNLABELLED, Bins
from agecls.labels import UNKNOWN

ANY: Final = "*"
"""Stands in a stratum's name for a label over which small strata were merged."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def name_strata(table: pd.DataFrame, bins: Bins, smallest_fraction: float) -> list[str]:
    """Name the stratum of each row: ``bin|gender|ethnicity``, small ones merged.

    A stratum with fewer images than ``2 / smallest_fraction`` cannot be shared out. Such strata merge with the other
    small ones of their bin and gender (``15-30|male|*``); what is still small merges over the genders of its bin
    (``15-30|*|*``), and what is small even then over the bins (``*|*|*``).
    """
    index = bins.index_of_range(table["age_low"], table["age_high"])
    names = [*bins.names, "unlabelled"]
    ages = pd.Series([names[i] if i != UNLABELLED else names[-1] for i in index], dtype=object)
    labels = [table[name].replace(UNKNOWN, "unknown").reset_index(drop=True) for name in ("gender", "ethnicity")]
    columns = pd.concat([ages, *labels], axis=1, keys=["age", "gender", "ethnicity"]).astype(object)
    least = math.ceil(2 / smallest_fraction)
    strata = columns["age"] + "|" + columns["gender"] + "|" + columns["ethnicity"]
    for merged in ("ethnicity", "gender", "age"):
        small = strata.map(strata.value_counts()) < least
        columns[merged] = ANY
        strata = strata.where(~small, columns["age"] + "|" + columns["gender"] + "|" + columns["ethnicity"])
    return [str(stratum) for stratum in strata]


def assign_parts(
    groups: Sequence[str],
    strata: Sequence[str],
    ages: Floats,
    fractions: Sequence[float],
    seed: int,
    pinned: Ints | None = None,
) -> Ints:
    """Assign each row to a part; rows of one group always to the same.

    Groups of several images are placed first, largest first, each where its strata lack most. Single images then fill
    every stratum up to its share, systematically along age, so that the parts agree in age within a bin as well.

    Args:
        groups: group name of each row, length N.
        strata: stratum name of each row (``a|b|c``), length N.
        ages: age in years for ordering within a stratum, shape (N,).
        fractions: share of each part, above 0, summing to 1.
        seed: any whole number.
        pinned: part number of each row that may go nowhere else, -1 elsewhere, shape (N,); equal within a group. The
            others make up for them.

    Returns:
        Part number of each row, shape (N,). The size of each part is within the largest group's size of its share,
        unless more rows are pinned to a part than it has room for.
    """
    share = np.asarray(fractions, dtype=np.float64)
    code, names = pd.factorize(np.asarray(groups, dtype=object), sort=True)
    sizes = np.bincount(code, minlength=len(names))
    chance = _chances(seed, names)
    stratum, stratum_names = pd.factorize(np.asarray(strata, dtype=object), sort=True)
    parts = np.full(len(code), -1, dtype=np.int64)

    forced = np.full(len(code), -1, dtype=np.int64) if pinned is None else pinned
    placed = (sizes[code] > 1) | (forced >= 0)
    several = np.flatnonzero(placed)
    if len(several):
        cells = _cells(stratum[several], stratum_names)
        parts[several] = _place_groups(code[several], sizes, chance, cells, share, forced[several])
    single = np.flatnonzero(~placed)
    taken = np.zeros((len(stratum_names), len(share)), dtype=np.int64)
    np.add.at(taken, (stratum[several], parts[several]), 1)
    quota = _quotas(np.bincount(stratum[single], minlength=len(stratum_names)), taken, share)
    order = np.lexsort((chance[code[single]], ages[single], stratum[single]))
    parts[single[order]] = _interleave(quota, _chances(seed, stratum_names))
    return parts


def _chances(seed: int, names: Iterable[str]) -> Floats:
    """A number in 0..1 for each name, from sha256: the same on every machine."""
    digests = b"".join(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8] for name in names)
    return np.frombuffer(digests, dtype=">u8").astype(np.float64) / 2.0**64


def _cells(stratum: Ints, names: Iterable[str]) -> Ints:
    """Number the cells in which a row is balanced: its stratum, each of its labels, and the whole; shape (N, 5)."""
    pieces = [[name, *(f"{level}:{piece}" for level, piece in enumerate(name.split("|"))), ""] for name in names]
    labels = pd.DataFrame(pieces).fillna("").to_numpy()
    flat, _ = pd.factorize(labels.ravel())
    return flat.reshape(labels.shape)[stratum].astype(np.int64)


def _place_groups(code: Ints, sizes: Ints, chance: Floats, cells: Ints, share: Floats, forced: Ints) -> Ints:
    """Place groups, pinned ones first, then the largest first, each in the part that lacks most of what it holds."""
    order = np.lexsort((cells[:, 0], code, chance[code], -sizes[code], forced < 0))
    bounds = np.flatnonzero(np.diff(code[order], prepend=-1))
    want = np.bincount(cells.ravel())[:, None] * share
    have = np.zeros_like(want)
    lacking = len(code) * share
    largest = int(sizes[code].max())
    parts = np.empty(len(code), dtype=np.int64)
    for start, end in zip(bounds, [*bounds[1:], len(order)], strict=True):
        rows = order[start:end]
        touched = cells[rows].ravel()
        need = (1 - have[touched] / want[touched]).sum(axis=0)
        # Only near the neediest part: of three parts, none then ends more than `largest` away from its share.
        near = lacking >= lacking.max() - largest / 2
        part = int(forced[rows[0]]) if forced[rows[0]] >= 0 else int(np.argmax(np.where(near, need, -np.inf)))
        np.add.at(have[:, part], touched, 1)
        lacking[part] -= len(rows)
        parts[rows] = part
    return parts


def _quotas(free: Ints, taken: Ints, share: Floats) -> Ints:
    """How many single images of each stratum go to each part, shape (strata, parts); rows sum to ``free``.

    Args:
        free: single images of each stratum, shape (strata,).
        taken: images already placed, shape (strata, parts).
        share: fraction of each part.
    """
    want = (free + taken.sum(axis=1))[:, None] * share
    open_ = np.clip(want - taken, 0, None)
    total = open_.sum(axis=1, keepdims=True)
    exact = np.divide(open_, total, out=np.tile(share, (len(free), 1)), where=total > 0) * free[:, None]
    quota = np.floor(exact + 1e-9).astype(np.int64)
    lacking = want.sum(axis=0) - taken.sum(axis=0) - quota.sum(axis=0)
    rest = exact - quota
    for stratum in np.flatnonzero(free > quota.sum(axis=1)):
        for _ in range(int(free[stratum] - quota[stratum].sum())):
            part = int(np.argmax(rest[stratum] + lacking / max(1.0, np.abs(lacking).max())))
            quota[stratum, part] += 1
            rest[stratum, part] -= 1
            lacking[part] -= 1
    return _level(quota, taken - want, lacking)


def _level(quota: Ints, over: Floats, lacking: Floats) -> Ints:
    """Move single images from a part with too many to one with too few, where their strata suffer least."""
    while quota.any():
        # A part made of groups alone has nothing to give, however full it is.
        giving = np.where(quota.any(axis=0), lacking, np.inf)
        full, empty = int(np.argmin(giving)), int(np.argmax(lacking))
        if lacking[empty] - lacking[full] <= 1.5:
            break
        surplus = (quota + over)[:, full] - (quota + over)[:, empty]
        surplus[quota[:, full] == 0] = -np.inf
        stratum = int(np.argmax(surplus))
        quota[stratum, full] -= 1
        quota[stratum, empty] += 1
        lacking[full] += 1
        lacking[empty] -= 1
    return quota


def _interleave(quota: Ints, chance: Floats) -> Ints:
    """Spread the parts evenly along each stratum's rows: systematic sampling with a random start for each part."""
    strata, parts = quota.shape
    stratum = np.repeat(np.repeat(np.arange(strata), parts), quota.ravel())
    part = np.repeat(np.tile(np.arange(parts), strata), quota.ravel())
    within = np.arange(len(part)) - np.repeat(np.cumsum(quota.ravel()) - quota.ravel(), quota.ravel())
    start = (chance[:, None] + np.arange(parts) / parts) % 1.0
    place = (within + start[stratum, part]) / quota[stratum, part]
    return part[np.lexsort((part, place, stratum))]
