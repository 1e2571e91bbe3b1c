"""Checks of what the images show: one photograph, one shot or one person in two parts, and labels that disagree."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from agecls.audit.findings import Check, Finding, Skipped, failed
from agecls.audit.folder import SplitFolder, places
from agecls.audit.images import Images
from agecls.audit.spanning import spanning
from agecls.data.conflicts import find_conflicts
from agecls.data.duplicates import Links, equal_links, find_links
from agecls.errors import AgeclsError, UsageError

Outcome = tuple[list[Check], list[Skipped], list[str]]
"""Checks, what was not checked, and notes."""


def check_twins(images: Images) -> Outcome:
    """Compare all images of the split with each other, as they are on disk now.

    Images that are missing or changed stay out of it: the check ``images`` names them.
    """
    try:
        links = find_links(images.there, images.looks)
    except AgeclsError as error:
        return [failed(name, error) for name in ("pixels", "near", "conflicts")], [], []
    equal = [link for link in links if link.kind in ("bytes", "pixels")]
    # Equal bytes are told by the tables alone. A near twin is found once for all images of equal pixels.
    checks = [
        spanning(link.kind, images.there, link, equal if link.kind == "near" else ())
        for link in links
        if link.kind != "bytes"
    ]
    conflicts, notes = _check_conflicts(images.opened, images.there, links)
    return [*checks, *conflicts], _keyless(images), notes


def _keyless(images: Images) -> list[Skipped]:
    """Sources whose keys, such as persons, cannot be told because their labels cannot be read."""
    return [
        Skipped(f"keys:{source}", "its labels cannot be read, and with them what its images share")
        for source in images.unread
    ]


def _check_conflicts(opened: SplitFolder, there: pd.DataFrame, links: Sequence[Links]) -> tuple[list[Check], list[str]]:
    differs = find_conflicts(there, links)
    chosen = (differs != "").to_numpy(dtype=np.bool_) & (there["rank"] > 0).to_numpy(dtype=np.bool_)
    count = int(chosen.sum())
    if opened.on_conflict == "keep":
        images = f"{count:,} image{'' if count == 1 else 's'}"
        said = f"{images} of valid and test are photographs that stand in the split with other labels as well"
        return [Check("conflicts", True, 0)], [said] if count else []
    found = [
        Finding(f"labels of one photograph differ: {what}", (place,))
        for place, what in zip(places(there[chosen]), differs[chosen], strict=True)
    ]
    return [Check("conflicts", not found, count, tuple(found))], []


def check_persons(images: Images) -> Outcome:
    """Look for one person in two parts, where the split was frozen with that in mind."""
    told: Any = images.opened.manifest.get("identity")
    if not told:
        return [], [Skipped("person", "the split was frozen without --identity")], []
    from agecls.data.identity import find_persons  # an extra, and slow to import

    try:
        found = find_persons(images.there, images.roots)
    except UsageError as error:
        return [], [Skipped("person", f"{error.what}; {error.remedy}")], []
    except AgeclsError as error:
        return [failed("person", error)], [], []
    unseen = f"persons: {found.without_face:,} images without a face that can be found, {found.too_young:,} too young"
    # Of images of equal content one alone is compared.
    hashes = images.there["sha256"].tolist()
    equal = equal_links("bytes", np.arange(len(hashes), dtype=np.int64), hashes)
    return [spanning("person", images.there, found.links, [equal])], [], [unseen]
