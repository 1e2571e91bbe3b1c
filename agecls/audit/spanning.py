"""Images that belong together and yet stand in different parts."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from agecls.audit.findings import Check, Finding
from agecls.audit.folder import places
from agecls.data.duplicates import Links, components


def spanning(name: str, rows: pd.DataFrame, link: Links, equal: Sequence[Links] = ()) -> Check:
    """Check that no two linked rows stand in different parts.

    Every linked pair across parts is named. A row that leaks through others alone (linked to an image of its own part,
    which is linked to one of another) is named beside an image of the part it shares with.

    Args:
        name: of the check.
        rows: with ``rank``, N rows numbered from 0; see ``SplitFolder.rows``.
        link: what belongs together.
        equal: further links to rows that are the same image as one of ``link``; alone they count for nothing here.

    Returns:
        Its ``count`` is the number of images that share with one of a stronger part.
    """
    rank = rows["rank"].to_numpy(np.int64)
    component = components(len(rows), [link, *equal])
    strongest = np.full(len(rows), -1, dtype=np.int64)
    np.maximum.at(strongest, component, rank)
    linked = np.isin(component, component[link.first])
    weaker = linked & (rank < strongest[component])
    across = np.flatnonzero(rank[link.first] != rank[link.second])
    pairs = [(int(link.first[n]), int(link.second[n]), None if link.score is None else link.score[n]) for n in across]
    found = {(min(a, b), max(a, b)): score for a, b, score in pairs}
    named = {row for pair in found for row in pair}
    for row, other in _unnamed(component, rank, weaker, named):
        found[min(row, other), max(row, other)] = None
    where = places(rows)
    findings = []
    for (first, second), score in found.items():
        low, high = (first, second) if rank[first] <= rank[second] else (second, first)
        what = name if score is not None or link.score is None else f"{name}, through others"
        findings.append(Finding(what, (where[low], where[high]), None if score is None else float(score)))
    # The most alike first; a distance is the smaller the more alike.
    sign = 1 if link.kind == "person" else -1
    findings.sort(key=lambda each: (each.score is None, sign * (each.score or 0), each.images[0].path))
    return Check(name, not weaker.any(), int(weaker.sum()), tuple(findings))


def _unnamed(
    component: npt.NDArray[np.int64], rank: npt.NDArray[np.int64], weaker: npt.NDArray[np.bool_], named: set[int]
) -> list[tuple[int, int]]:
    """A partner in another part for each row of a spanning component that no pair names yet."""
    members = np.flatnonzero(np.isin(component, component[weaker]))
    strong: dict[int, int] = {}
    weak: dict[int, int] = {}
    for row in members[np.lexsort((members, -rank[members]))]:
        strong.setdefault(int(component[row]), int(row))
        if weaker[row]:
            weak.setdefault(int(component[row]), int(row))
    return [
        (int(row), (strong if weaker[row] else weak)[int(component[row])]) for row in members if int(row) not in named
    ]
