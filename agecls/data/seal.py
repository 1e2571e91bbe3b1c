"""A short seal of every row of a split, by which a row that was moved or edited is named.

The hash of a table says that it changed, not where. ``rows.txt`` holds, sorted, twelve hexadecimal digits for each row:
the start of the sha256 of its part and its values. A row whose seal is not among them was edited; one whose seal is
there under another part was moved.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from agecls.data.faces import Faces
from agecls.data.split import PARTS, Part

FILE: Final = "rows.txt"

_DIGITS: Final = 12
_VALUES: Final = ("path", "age_low", "age_high", "gender", "ethnicity", "source", "sha256", "group")


def seal_rows(part: Part, faces: Faces) -> list[str]:
    """The seal of each row of a part, in the order of its table."""
    columns = [faces.table[name].astype(str).tolist() for name in _VALUES]
    lines = ("\x1f".join((part, *values)) for values in zip(*columns, strict=True))
    return [hashlib.sha256(line.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS] for line in lines]


def seals(parts: Mapping[Part, Faces]) -> list[str]:
    """The content of ``rows.txt``: the seals of all rows, sorted."""
    return sorted(seal for part, faces in parts.items() for seal in seal_rows(part, faces))


def name_tampered(parts: Mapping[Part, Faces], sealed: set[str]) -> list[tuple[str, Part, str]]:
    """Rows that are not as they were sealed.

    Args:
        parts: the tables as they are now.
        sealed: what ``rows.txt`` holds.

    Returns:
        For each such row its path, its present part, and what happened: ``moved from test`` or ``edited or added``.
    """
    found: list[tuple[str, Part, str]] = []
    for part, faces in parts.items():
        elsewhere = {other: seal_rows(other, faces) for other in PARTS if other != part}
        for row, (path, seal) in enumerate(zip(faces.table["path"], seal_rows(part, faces), strict=True)):
            if seal not in sealed:
                origin = [other for other, others in elsewhere.items() if others[row] in sealed]
                found.append((path, part, f"moved from {origin[0]}" if origin else "edited or added"))
    return found
