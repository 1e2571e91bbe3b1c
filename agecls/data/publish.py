"""Write a split directory: every file in a hidden folder first, then the folder under its name, at once."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from agecls import __version__
from agecls.bins import Bins
from agecls.data.duplicates import Links, count_links
from agecls.data.faces import Faces
from agecls.data.seal import FILE as SEALS
from agecls.data.seal import seals
from agecls.data.sources.listing import Rejected
from agecls.data.split import PARTS, SCHEMA, Part, Split, fingerprint
from agecls.errors import DataError, SplitError

LINK_COLUMNS = ("kind", "first", "second", "score")


@dataclass(frozen=True)
class Contents:
    """Everything a split directory is made of.

    Attributes:
        parts: the faces of train, valid and test.
        bins: by which it is stratified and described.
        sources: names, in the order in which their roots are given.
        fractions: share asked for each part; None for an adopted split.
        seed: None for an adopted split.
        strata: stratum and part of each image, ``stratum/part``.
        table: every linked row (columns ``path``, ``group``), in the numbering of ``links``.
        links: why rows belong together.
        conflicts: rows of ``conflicts.csv``.
        rejected: rows of ``quarantine.csv``.
        leaks: rows of ``leaks.csv``: images of an adopted split that share a group with a stronger part.
        notes: further entries of the manifest, such as what grouped the images.
    """

    parts: Mapping[Part, Faces]
    bins: Bins
    sources: Sequence[str]
    fractions: Sequence[float] | None
    seed: int | None
    strata: Sequence[str]
    table: pd.DataFrame
    links: Sequence[Links]
    conflicts: pd.DataFrame
    rejected: Sequence[Rejected]
    leaks: pd.DataFrame | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


def refuse_existing(out: Path) -> None:
    """Raise ``SplitError`` where ``out`` holds anything: a frozen split is never written over."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise SplitError(
            f"{out} exists already; a frozen split is never written over",
            remedy="name another folder with --out, or move the old one away",
        )


def write_split(out: Path, contents: Contents) -> Split:
    """Write ``out`` and load it again.

    Raises:
        SplitError: ``out`` exists already.
        DataError: a part would be empty.
    """
    for part, chosen in contents.parts.items():
        if not len(chosen):
            images = sum(map(len, contents.parts.values()))
            raise DataError(
                f"no image falls to {part}",
                got=f"{images} images in {contents.table['group'].nunique()} groups",
                remedy="give more images, or larger shares with --fractions",
            )
    write_folder(out, lambda work: _write_tables(work, contents), lambda digests: _manifest(contents, digests))
    return Split.load(out, allow_leakage=True)


def write_folder(
    out: Path, write: Callable[[Path], None], manifest: Callable[[dict[str, str]], Mapping[str, Any]]
) -> None:
    """Write a split directory, atomically.

    Args:
        out: folder of the split.
        write: writes everything but the manifest into the folder that it is given.
        manifest: its content, given the sha256 of each file that was written.

    Raises:
        SplitError: ``out`` exists already.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        write(work)
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(work.iterdir())}
        text = json.dumps(manifest(digests), indent=2, ensure_ascii=False) + "\n"
        (work / "manifest.json").write_text(text, encoding="utf-8", newline="\n")
        work.chmod(0o755)
        _publish(work, out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def write_seals(work: Path, parts: Mapping[Part, Faces]) -> None:
    """Write ``rows.txt``."""
    (work / SEALS).write_text("".join(f"{seal}\n" for seal in seals(parts)), encoding="ascii", newline="\n")


def _write_tables(work: Path, contents: Contents) -> None:
    for part, chosen in contents.parts.items():
        chosen.to_csv(work / f"{part}.csv")
    write_csv(pd.DataFrame(list(contents.rejected), columns=list(Rejected._fields)), work / "quarantine.csv")
    write_csv(contents.conflicts, work / "conflicts.csv")
    write_csv(link_rows(contents.table, contents.links), work / "links.csv")
    if contents.leaks is not None and len(contents.leaks):
        write_csv(contents.leaks, work / "leaks.csv")
    write_seals(work, contents.parts)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table, the same bytes on every machine."""
    table.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def link_rows(table: pd.DataFrame, links: Sequence[Links]) -> pd.DataFrame:
    """The rows of ``links.csv``: why each link was made, sorted, the same whatever the order of the images."""
    paths = table["path"].to_numpy(dtype=object)
    rows = []
    for link in links:
        scores = ["" if link.score is None else f"{score:.3f}" for score in _scores(link)]
        for first, second, score in zip(paths[link.first], paths[link.second], scores, strict=True):
            rows.append((link.kind, min(first, second), max(first, second), score))
    return pd.DataFrame(sorted(rows), columns=list(LINK_COLUMNS), dtype=object)


def _scores(link: Links) -> npt.NDArray[np.float32]:
    return np.zeros(len(link), np.float32) if link.score is None else link.score


def _publish(work: Path, out: Path) -> None:
    """Give the finished folder its name; a second process that was faster wins."""
    try:
        work.replace(out)
    except OSError:
        refuse_existing(out)
        raise


def _manifest(contents: Contents, digests: dict[str, str]) -> dict[str, Any]:
    parts, bins = contents.parts, contents.bins
    faces = pd.concat([each.table for each in parts.values()], ignore_index=True)
    leaks = 0 if contents.leaks is None else len(contents.leaks)
    return {
        "schema": SCHEMA,
        "fingerprint": fingerprint(digests),
        "seed": contents.seed,
        "fractions": None if contents.fractions is None else list(contents.fractions),
        "bins": bins.to_json(),
        "sources": [{"name": name, "images": int((faces["source"] == name).sum())} for name in contents.sources],
        "counts": {**count_parts(parts), "quarantine": len(contents.rejected)},
        "labels": describe_labels(parts, bins),
        "conflicts": len(contents.conflicts),
        "leaks": leaks,
        **contents.notes,
        "groups": _describe_groups(contents),
        "strata": describe_strata(contents.strata),
        "sha256": digests,
        "software": software(),
    }


def software() -> dict[str, str]:
    """Versions of what a split is made with."""
    return {"agecls": __version__, **{name: version(name) for name in ("numpy", "pandas", "pillow")}}


def count_parts(parts: Mapping[Part, Faces]) -> dict[str, int]:
    """Number of images of each part."""
    return {part: len(faces) for part, faces in parts.items()}


def describe_labels(parts: Mapping[Part, Faces], bins: Bins) -> dict[str, dict[str, Any]]:
    """Mean age and tallies of each label, part by part, as the manifest tells them."""
    return {part: _describe_labels(faces, bins) for part, faces in parts.items()}


def _describe_groups(contents: Contents) -> dict[str, Any]:
    sizes = contents.table["group"].value_counts()
    # Of several equally large groups the first by name, on every machine.
    largest = min(sizes.index[sizes == sizes.max()])
    members = (contents.table["group"] == largest).to_numpy(dtype=np.bool_)
    return {
        "total": len(sizes),
        "of_several_images": int((sizes > 1).sum()),
        "largest": int(sizes.max()),
        "largest_group": largest,
        "largest_links": count_links(contents.links, members),
        "links": {link.kind: len(link) for link in contents.links},
    }


def _describe_labels(faces: Faces, bins: Bins) -> dict[str, Any]:
    index = faces.targets("age", bins)
    ages = {name: int((index == number).sum()) for number, name in enumerate(bins.names)}
    years = (faces.table["age_low"] + faces.table["age_high"]) / 2
    return {
        "age_mean": round(float(years.mean()), 4),
        "age": {**ages, **({"unlabelled": int((index < 0).sum())} if (index < 0).any() else {})},
        **{name: _tally(faces.table[name].replace("", "unknown")) for name in ("gender", "ethnicity")},
    }


def _tally(values: "pd.Series[str]") -> dict[str, int]:
    return {str(name): int(count) for name, count in values.value_counts().sort_index().items()}


def describe_strata(placed: Sequence[str]) -> dict[str, list[int]]:
    """Images of each stratum in train, valid and test."""
    strata: dict[str, list[int]] = {}
    for name, count in sorted(_tally(pd.Series(placed, dtype=object)).items()):
        stratum, _, part = name.rpartition("/")
        strata.setdefault(stratum, [0, 0, 0])[[str(each) for each in PARTS].index(part)] = count
    return strata
