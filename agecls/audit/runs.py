"""Whether a run, or one it descends from, was fitted on what a split keeps for measuring."""

from pathlib import Path

import numpy as np

from agecls.audit.findings import Check, Finding
from agecls.audit.folder import TABLES, SplitFolder, places
from agecls.audit.images import Images
from agecls.data.spectrum import SIDE
from agecls.data.split import fingerprint
from agecls.errors import AgeclsError
from agecls.learn.lineage import Lineage
from agecls.learn.run import Run


def check_run(folder: Path, opened: SplitFolder, images: Images | None) -> tuple[Check, list[str]]:
    """Show valid and test to the lineage of a run.

    Args:
        folder: of the run.
        opened: the split.
        images: its images; without them only equal content is found, and no near twin.

    Returns:
        The check, and notes on what the run was selected on.

    Raises:
        RunError: there is no run, or its lineage cannot be read.
    """
    run, lineage = Run.load(folder), Lineage.load(folder)
    found: list[Finding] = [*opened.unread]
    notes: list[str] = []
    name = f"lineage:{folder.as_posix()}"
    count = 0
    if run.leaked:
        count = run.leaked_count
        found.append(Finding(f"the run is LEAKED: {run.leaked_count:,} images leaked when it or an ancestor was made"))
    measured = opened.rows[(opened.rows["rank"] > 0) & opened.rows["sha256"].str.fullmatch("[0-9a-f]{64}")]
    if len(measured):
        hashes = measured["sha256"].tolist()
        # Tables that were edited are another split: only what was compared on pixels when frozen needs no comparing.
        actual = fingerprint(opened.digests) if set(TABLES) <= opened.digests.keys() else ""
        meeting = lineage.meet(hashes, _thumbnails(hashes, images), actual)
        fitters = ", ".join(share.run for share in meeting.fitters)
        for row, place in enumerate(places(measured)):
            if meeting.leaked[row]:
                what = "a near twin of it" if meeting.near[row] else "it"
                found.append(Finding(f"{fitters} was fitted on {what}", (place,)))
        count = max(count, meeting.count)
        notes = [
            f"{share.count:,} images of valid and test helped to select run {share.run} ({share.reason})"
            for share in meeting.selectors
        ]
    return Check(name, not found, count, tuple(found)), notes


def _thumbnails(hashes: list[str], images: Images | None) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Thumbnails of the images that are there, blank ones (which are like nothing) for the others."""
    blank = np.zeros((len(hashes), SIDE, SIDE), dtype=np.uint8)
    if images is None:
        return blank
    try:
        looks = images.looks
    except AgeclsError:
        return blank
    known = np.isin(np.asarray(hashes), looks.hashes)
    blank[known] = looks.thumbnails[looks.rows([each for each, seen in zip(hashes, known, strict=True) if seen])]
    return blank
