"""Searched bins that a finished run is scored in: what they were chosen on must not judge them."""

from collections.abc import Callable, Sequence

import numpy as np

from agecls.data.spectrum import Thumbnails
from agecls.errors import LeakageError
from agecls.learn.bins_origin import BinsOrigin
from agecls.learn.meeting import count_images

_GO_ON = "--allow-leakage goes on, and marks the scores as LEAKED"


def guard_scores(
    origin: BinsOrigin,
    paths: Sequence[str],
    hashes: Sequence[str],
    thumbnails: Thumbnails,
    part: str,
    split: str,
    *,
    allow_leakage: bool,
    note: Callable[[str], None],
) -> int:
    """Refuse to score in bins whose search has seen the scored images; on valid, as any choice made there, it is said.

    Args:
        origin: of the bins.
        paths: of the images.
        hashes: of their contents.
        thumbnails: of them.
        part: of the split they are, or ``all``.
        split: its fingerprint; "" for a folder.
        allow_leakage: whether to go on all the same.
        note: told what the search has seen.

    Returns:
        How many of the images leak.

    Raises:
        LeakageError: there are such images, or none can be excluded, and that is not allowed.
    """
    told = origin.derived
    if not told["fingerprint"]:
        note(f"{origin.path} was searched in a confusion matrix of unknown images: it must not have counted these")
        return 0
    if origin.lineage is None:
        if told["fingerprint"] == split:  # whose test part is never searched on
            return 0
        what = f"the bins {origin.path} were searched on another split, and their lineage does not lie beside them"
        if not allow_leakage:
            raise LeakageError(what, got=f"{told['split']} {told['fingerprint'][:12]}", remedy=_GO_ON)
        note(f"LEAKED: {what}")
        return len(paths)
    meeting = origin.lineage.meet(hashes, thumbnails, split)
    fitted = meeting.settle(
        list(paths),
        "score in bins that were not searched with them",
        allow_leakage=allow_leakage,
        note=lambda line: None,
    )
    chosen = np.flatnonzero(meeting.selected)
    if not len(chosen):
        return fitted
    what = f"{count_images(len(chosen))} to be scored helped to select the bins {origin.path} or a run behind them"
    if part == "valid":
        note(f"{what}: --part test gives the scores to publish")
        return fitted
    if not allow_leakage:
        raise LeakageError(what, got=", ".join(paths[row] for row in chosen[:3]), remedy=f"use other bins; {_GO_ON}")
    note(f"LEAKED: {what}")
    return max(fitted, len(chosen))
