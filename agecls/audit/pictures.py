"""A sheet of the pairs that an audit found, side by side."""

import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from PIL import Image

from agecls.audit.findings import Audit, Finding, Place
from agecls.data.pixels import open_image, read_whole
from agecls.errors import AgeclsError
from agecls.files import write_whole
from agecls.report.contact_sheet import CAPTION, contact_sheet

SHOWN: Final = 32
"""Pairs on a sheet at most."""


def write_pairs(audit: Audit, path: Path) -> int:
    """Write the first pairs found as PNG, most telling kinds first; nothing where there is none.

    Returns:
        How many pairs were drawn.
    """
    pairs = _pairs(audit)
    images: list[Image.Image] = []
    captions: list[list[CAPTION]] = []
    for kind, finding in pairs:
        try:
            both = [_read(audit, place) for place in finding.images]
        except (AgeclsError, ValueError):
            continue
        score = "" if finding.score is None else f" {finding.score:.2f}"
        images += both
        captions += [[f"{kind}{score}", place.path.rpartition("/")[2], place.part] for place in finding.images]
        if len(images) == 2 * SHOWN:
            break
    if not images:
        return 0
    drawn, more = len(images) // 2, len(pairs) - len(images) // 2
    title = f"{drawn} pair{'' if drawn == 1 else 's'} across parts" + (f", {more:,} more not shown" if more else "")
    buffer = io.BytesIO()
    contact_sheet(images, captions, title=title, columns=2 * min(4, drawn)).save(buffer, format="PNG")
    write_whole(path, buffer.getvalue())
    return drawn


def _pairs(audit: Audit) -> list[tuple[str, Finding]]:
    """Every pair once, under the first kind that tells it; the tables' own groups, which say least, come last."""
    found: dict[tuple[Place, ...], tuple[str, Finding]] = {}
    for kind, finding in _told(audit):
        found.setdefault(tuple(sorted(finding.images, key=lambda each: (each.path, each.part))), (kind, finding))
    return list(found.values())


def _told(audit: Audit) -> Iterator[tuple[str, Finding]]:
    for check in sorted(audit.checks, key=lambda each: each.name == "groups"):
        for finding in check.findings:
            if len(finding.images) == 2:
                yield check.name, finding


def _read(audit: Audit, place: Place) -> Image.Image:
    root = audit.roots.get(place.source)
    path = PurePosixPath(place.path)
    if root is None or path.is_absolute() or ".." in path.parts:
        raise ValueError(place.path)
    return open_image(read_whole(root / path))
