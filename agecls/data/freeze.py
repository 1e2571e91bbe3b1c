"""Freeze a split: read the sources, group what belongs together, assign parts, write everything at once."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agecls import __version__
from agecls.bins import Bins
from agecls.data.duplicates import Links, find_links, group_names
from agecls.data.faces import Faces
from agecls.data.scan import Scanned, scan
from agecls.data.sources import SourceName, TableOptions, read_source
from agecls.data.sources.listing import Rejected
from agecls.data.split import PARTS, SCHEMA, Part, Split, fingerprint
from agecls.data.stratify import assign_parts, name_strata
from agecls.errors import DataError, SplitError, UsageError


@dataclass(frozen=True)
class Frozen:
    """A split as it was just written, with what the screen shows of it.

    Attributes:
        split: the frozen split.
        links: number of pairs linked, by reason.
        rejected: what went to ``quarantine.csv``.
    """

    split: Split
    links: dict[str, int]
    rejected: list[Rejected]


def freeze_split(
    sources: Sequence[tuple[SourceName, Path]],
    out: Path,
    *,
    fractions: tuple[float, float, float],
    seed: int,
    bins: Bins,
    options: TableOptions | None = None,
) -> Frozen:
    """Read ``sources`` and write a split directory, atomically.

    Raises:
        SplitError: ``out`` exists already.
        DataError: no usable image, or too few for three parts.
    """
    refuse_existing(out)
    names = [name for name, _ in sources]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"--source {twice} is given twice", remedy="put the images of one source below one root")
    scanned = [(name, scan(name, root, read_source(name, root, options or TableOptions()))) for name, root in sources]
    table = pd.concat([each.table for _, each in scanned], ignore_index=True)
    rejected = _gather_rejected(scanned)
    if len(table) < len(PARTS):
        reasons = "; ".join(sorted({each.reason for each in rejected})[:3]) or "none rejected either"
        raise DataError(
            f"{len(table)} usable images are too few to split", got=reasons, remedy="check --source and --root"
        )
    links = find_links(table)
    faces = Faces(table.drop(columns="keys").assign(group=group_names(table["sha256"].tolist(), links)))
    return _write(faces, names, links, rejected, out, fractions, seed, bins)


def refuse_existing(out: Path) -> None:
    """Raise ``SplitError`` where ``out`` holds anything: a frozen split is never written over."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise SplitError(
            f"{out} exists already; a frozen split is never written over",
            remedy="name another folder with --out, or move the old one away",
        )


def divide(faces: Faces, bins: Bins, fractions: Sequence[float], seed: int) -> tuple[dict[Part, Faces], list[str]]:
    """Assign every image to a part.

    Returns:
        The faces of each part, and the stratum of each row of ``faces``.
    """
    table = faces.table.sort_values(["path", "source"], kind="stable", ignore_index=True)
    strata = name_strata(table, bins, min(fractions))
    ages = ((table["age_low"] + table["age_high"]) / 2).to_numpy(np.float64)
    numbers = assign_parts(table["group"].tolist(), strata, ages, fractions, seed)
    ordered = Faces(table)
    return {part: ordered.select(numbers == number) for number, part in enumerate(PARTS)}, [
        f"{stratum}/{PARTS[number]}" for stratum, number in zip(strata, numbers, strict=True)
    ]


def _gather_rejected(scanned: Sequence[tuple[str, Scanned]]) -> list[Rejected]:
    if len(scanned) == 1:
        return scanned[0][1].rejected
    marked = [Rejected(row.path, f"{row.reason} [{name}]") for name, each in scanned for row in each.rejected]
    return sorted(marked)


def _write(
    faces: Faces,
    names: Sequence[str],
    links: Sequence[Links],
    rejected: Sequence[Rejected],
    out: Path,
    fractions: tuple[float, float, float],
    seed: int,
    bins: Bins,
) -> Frozen:
    parts, strata = divide(faces, bins, fractions, seed)
    for part, chosen in parts.items():
        if not len(chosen):
            raise DataError(
                f"no image falls to {part}",
                got=f"{len(faces)} images in {faces.table['group'].nunique()} groups",
                remedy="give more images, or larger shares with --fractions",
            )
    linked = {link.kind: len(link) for link in links}
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for part, chosen in parts.items():
            chosen.to_csv(work / f"{part}.csv")
        quarantine = pd.DataFrame(list(rejected), columns=list(Rejected._fields))
        quarantine.to_csv(work / "quarantine.csv", index=False, lineterminator="\n", encoding="utf-8")
        digests = {f"{part}.csv": hashlib.sha256((work / f"{part}.csv").read_bytes()).hexdigest() for part in PARTS}
        digests["quarantine.csv"] = hashlib.sha256((work / "quarantine.csv").read_bytes()).hexdigest()
        manifest = {
            "schema": SCHEMA,
            "fingerprint": fingerprint(digests),
            "seed": seed,
            "fractions": list(fractions),
            "bins": bins.to_json(),
            "sources": [{"name": name, "images": int((faces.table["source"] == name).sum())} for name in names],
            "counts": _counts(parts, len(rejected)),
            "groups": _describe_groups(faces, linked),
            "labels": {part: _describe_labels(chosen, bins) for part, chosen in parts.items()},
            "strata": _describe_strata(strata),
            "sha256": digests,
            "software": {"agecls": __version__, **{name: version(name) for name in ("numpy", "pandas", "pillow")}},
        }
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (work / "manifest.json").write_text(text, encoding="utf-8", newline="\n")
        work.chmod(0o755)
        _publish(work, out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return Frozen(Split.load(out), linked, list(rejected))


def _publish(work: Path, out: Path) -> None:
    """Give the finished folder its name; a second process that was faster wins."""
    try:
        work.replace(out)
    except OSError:
        refuse_existing(out)
        raise


def _counts(parts: dict[Part, Faces], rejected: int) -> dict[str, int]:
    return {**{part: len(faces) for part, faces in parts.items()}, "quarantine": rejected}


def _describe_groups(faces: Faces, linked: dict[str, int]) -> dict[str, Any]:
    sizes = faces.table["group"].value_counts()
    return {
        "total": len(sizes),
        "of_several_images": int((sizes > 1).sum()),
        "largest": int(sizes.max()),
        "links": linked,
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


def _describe_strata(placed: Sequence[str]) -> dict[str, list[int]]:
    """Images of each stratum in train, valid and test."""
    strata: dict[str, list[int]] = {}
    for name, count in sorted(_tally(pd.Series(placed)).items()):
        stratum, _, part = name.rpartition("/")
        strata.setdefault(stratum, [0, 0, 0])[[str(each) for each in PARTS].index(part)] = count
    return strata
