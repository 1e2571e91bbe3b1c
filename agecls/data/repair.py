"""Which images must leave their part so that nothing stands in two: kinship of rows, and the fewest drops.

Test stays as it was published, so that scores stay comparable; valid gives way to test, and train to both. An image
goes only where it is itself kin to an image of a stronger part that stays. One that was in the same group merely
through images that went stays, so groups are named anew from what remains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from agecls.data.duplicates import Ints, Links, components, equal_links
from agecls.data.split import PARTS, Part

KIN_COLUMNS: Final = ("part", "row", "kind", "other", "other_part")
ITSELF: Final = "file"
"""The kind of kinship of an image that is named in two parts."""

_EQUAL_CONTENT: Final = ("bytes", "pixels")
_DISTANCES: Final = ("person",)  # kinds whose score is smaller the closer two images are


@dataclass(frozen=True)
class Kinship:
    """One reason for which rows are kin, as a relation between any two rows instead of a chain through them.

    Attributes:
        kind: as in ``Links``.
        value: what was found equal of each row, or its content where links have a score, shape (N,); -1 for none.
        key: what is compared of each row, shape (N,); -1 where a row has no kin.
        pairs: keys that are kin though they differ, shape (P, 2); None where only equal keys are kin.
        score: of each pair, shape (P,).
    """

    kind: str
    value: Ints
    key: Ints
    pairs: Ints | None = None
    score: npt.NDArray[np.float32] | None = None

    @property
    def farthest_first(self) -> Ints:
        """Numbers of the pairs, the closest last."""
        score = np.empty(0, np.float32) if self.score is None else self.score
        return np.argsort(-score if self.kind in _DISTANCES else score, kind="stable")


def relate(hashes: Sequence[str], links: Sequence[Links]) -> list[Kinship]:
    """Turn links into kinships.

    Links by an equal value chain the rows that have it, each to the one before; all of them are kin. Links with a score
    were found between one image of each content. Images of equal content have the same kin, whatever made the link:
    where a crop of a photograph has to go for its stamp, so has a copy of the crop under another stamp.

    Args:
        hashes: sha256 of each row, length N.
        links: pairs of row numbers below N, at most one of each kind.
    """
    count = len(hashes)
    copies = [link for link in links if link.kind in _EQUAL_CONTENT]
    content = components(count, copies)
    return [
        _relate_one(link, content, [] if link.kind == "bytes" else copies, np.asarray(hashes, dtype=object))
        for link in links
    ]


def _relate_one(link: Links, content: Ints, copies: Sequence[Links], hashes: npt.NDArray[np.object_]) -> Kinship:
    if link.kind == "pixels":
        several = pd.Series(hashes).groupby(content).transform("nunique").to_numpy() > 1
        value = np.where(several, content, -1).astype(np.int64)
        return Kinship(link.kind, value, value)
    if link.score is None:
        value = _of_linked(components(len(content), [link]), link)
        return Kinship(link.kind, value, _of_linked(components(len(content), [link, *copies]), link))
    ends = np.sort(np.stack([content[link.first], content[link.second]], axis=1), axis=1).reshape(-1, 2)
    order = np.lexsort((link.score if link.kind in _DISTANCES else -link.score, ends[:, 1], ends[:, 0]))
    pairs, best = np.unique(ends[order], axis=0, return_index=True)
    return Kinship(link.kind, content, content, pairs.reshape(-1, 2), link.score[order][best])


def _of_linked(component: Ints, link: Links) -> Ints:
    """The component of each row, -1 where the link touches none of its rows."""
    return np.where(np.isin(component, component[link.first]), component, -1).astype(np.int64)


def restrict(kinships: Sequence[Kinship], hashes: Sequence[str], rows: Ints) -> list[Links]:
    """The links among some rows alone: two that were chained through a row left out are linked to each other.

    Args:
        kinships: of N rows.
        hashes: sha256 of each of the N rows.
        rows: the rows that remain, ascending, shape (M,).

    Returns:
        Links whose row numbers count the rows that remain, below M.
    """
    kept = np.asarray(hashes, dtype="U64")[rows]
    _, first = np.unique(kept, return_index=True)  # one row of each content, in the order of the hashes
    links = []
    for each in kinships:
        value = each.value[rows]
        if each.pairs is None or each.score is None:
            chosen = first if each.kind == "pixels" else np.arange(len(rows))
            chosen = chosen[value[chosen] >= 0].astype(np.int64)
            links.append(equal_links(each.kind, chosen, value[chosen].tolist()))
        else:
            bearer = np.full(int(each.value.max(initial=-1)) + 1, -1, dtype=np.int64)
            bearer[value[first[::-1]]] = first[::-1]
            ends = bearer[each.pairs].reshape(-1, 2)
            there = (ends >= 0).all(axis=1) & (ends[:, 0] != ends[:, 1])
            ends = np.sort(ends[there], axis=1)
            links.append(Links(each.kind, ends[:, 0], ends[:, 1], each.score[there]))
    return links


def find_kin(kinships: Sequence[Kinship], placed: Mapping[Part, Ints]) -> pd.DataFrame:
    """Every image of a part that is kin to an image of a stronger one.

    Args:
        kinships: of N rows.
        placed: rows of each part, each ascending; a row may stand in several.

    Returns:
        Columns ``KIN_COLUMNS``, one row an image, stronger part and kind: ``other`` is the row of the closest kin
        there, the first of several equally close ones. Strongest parts first, then in the order of the kinships.
    """
    found = [
        _find_between(kinships, (part, placed[part]), (stronger, placed[stronger]))
        for number, part in enumerate(PARTS)
        for stronger in reversed(PARTS[number + 1 :])
    ]
    return pd.concat(found, ignore_index=True)


def find_drops(kinships: Sequence[Kinship], placed: Mapping[Part, Ints]) -> pd.DataFrame:
    """The fewest images whose leaving makes a split clean, if test keeps all its images and valid all that it can.

    Args:
        kinships: of N rows.
        placed: rows of each part, each ascending; a row may stand in several.

    Returns:
        As of ``find_kin``, for the images to be dropped from ``part``.
    """
    staying: dict[Part, Ints] = {}
    found: list[pd.DataFrame] = []
    for part in reversed(PARTS):
        kin = [_find_between(kinships, (part, placed[part]), stronger) for stronger in staying.items()]
        found = [*kin, *found]
        gone = np.concatenate([each["row"].to_numpy(np.int64) for each in kin]) if kin else np.empty(0, np.int64)
        staying[part] = np.setdiff1d(placed[part], gone)
    return pd.concat(found, ignore_index=True)


def without(placed: Mapping[Part, Ints], drops: pd.DataFrame) -> dict[Part, Ints]:
    """The rows of each part that ``find_drops`` leaves there, ascending."""
    gone = {part: drops["row"][drops["part"] == part].to_numpy(np.int64) for part in PARTS}
    return {part: np.setdiff1d(placed[part], gone[part]) for part in PARTS}


def _find_between(kinships: Sequence[Kinship], weak: tuple[Part, Ints], strong: tuple[Part, Ints]) -> pd.DataFrame:
    (part, rows), (other_part, others) = weak, strong
    both = np.intersect1d(rows, others)
    found = [pd.DataFrame({"row": both, "kind": ITSELF, "other": both})]
    for each in kinships:
        closest = _closest(each, others)
        kin = np.where(each.key[rows] >= 0, closest[each.key[rows]], -1)
        there = (kin >= 0) & (kin != rows)
        found.append(pd.DataFrame({"row": rows[there], "kind": each.kind, "other": kin[there]}))
    table = pd.concat(found, ignore_index=True).assign(part=part, other_part=other_part)
    return table[list(KIN_COLUMNS)].astype({"row": np.int64, "other": np.int64})


def _closest(kinship: Kinship, others: Ints) -> Ints:
    """For each key the closest of ``others`` whose key is kin to it, -1 where none is; the last entry stays -1."""
    bearer = np.full(int(kinship.key.max(initial=-1)) + 2, -1, dtype=np.int64)
    keyed = others[kinship.key[others] >= 0][::-1]
    bearer[kinship.key[keyed]] = keyed
    if kinship.pairs is None or kinship.score is None:
        return bearer
    closest = np.full_like(bearer, -1)
    for number in kinship.farthest_first:  # so that the closest stays
        first, second = kinship.pairs[number]
        for key, other in ((first, second), (second, first)):
            if bearer[other] >= 0:
                closest[key] = bearer[other]
    return closest
