"""Part of a split: the images of one gender or one ethnicity alone."""

from collections.abc import Mapping, Sequence

from agecls.data.faces import Faces
from agecls.errors import DataError, UsageError
from agecls.labels import GROUPINGS


def parse_only(given: Sequence[str]) -> dict[str, str]:
    """Read values of ``--only``, such as ``gender=male``.

    Raises:
        UsageError: not a label and one of its values, or one label twice.
    """
    only: dict[str, str] = {}
    for text in given:
        label, _, value = text.partition("=")
        if value not in GROUPINGS.get(label, ()):
            known = "; ".join(f"{name}={'|'.join(values)}" for name, values in GROUPINGS.items())
            raise UsageError("--only takes a label and its value", got=text, remedy=f"one of {known}")
        if label in only:
            raise UsageError(f"--only takes one {label}", got=f"{only[label]} and {value}")
        only[label] = value
    return only


def write_only(only: Mapping[str, str]) -> str:
    """``gender=male``, or ``gender=male and ethnicity=black``; "" for all images."""
    return " and ".join(f"{label}={only[label]}" for label in GROUPINGS if label in only)


def keep_only(faces: Faces, only: Mapping[str, str], where: str, *, needed: bool = True) -> Faces:
    """The faces that have every label of ``only``.

    Args:
        faces: of a part.
        only: see ``parse_only``.
        where: the part, in words.
        needed: whether there must be one.

    Raises:
        DataError: there is none, and one is needed.
    """
    for label, value in only.items():
        chosen = (faces.table[label] == value).to_numpy()
        if needed and not chosen.any():
            raise DataError(f"no image of {where} is {label}={value}", remedy="choose another --only or another split")
        faces = faces.select(chosen)
    return faces
