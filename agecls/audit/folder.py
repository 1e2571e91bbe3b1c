"""A split directory as it lies there: whatever can be read of it, and why the rest cannot.

``Split.load`` stops at the first thing that is wrong; an audit has to name them all.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from agecls.audit.findings import Finding, Place
from agecls.bins import Bins
from agecls.data.faces import Faces
from agecls.data.seal import FILE as SEALS
from agecls.data.split import PARTS, SCHEMA, Part
from agecls.errors import AgeclsError, DataError, SplitError

TABLES: Final = tuple(f"{part}.csv" for part in PARTS)
LISTS: Final = ("quarantine.csv", "conflicts.csv", "links.csv", "leaks.csv")
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True)
class SplitFolder:
    """What can be read of a split directory.

    Attributes:
        folder: where it lies.
        manifest: content of ``manifest.json``; empty where it cannot be read.
        digests: sha256 of each file there.
        parts: the tables that can be read.
        lists: the other tables that can be read, all columns text.
        seals: the lines of ``rows.txt``; None where there is none.
        errors: why a file cannot be read, by its name.
    """

    folder: Path
    manifest: Mapping[str, Any]
    digests: Mapping[str, str]
    parts: Mapping[Part, Faces]
    lists: Mapping[str, pd.DataFrame]
    seals: tuple[str, ...] | None
    errors: Mapping[str, str]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Every row of the tables that can be read, sorted by path and source, with its ``part`` and its ``rank``.

        The rank is 0 for train, 1 for valid, 2 for test: of two parts that share an image the weaker gives way.
        """
        tables = [faces.table.assign(part=part, rank=np.int64(PARTS.index(part))) for part, faces in self.parts.items()]
        if not tables:
            raise DataError("no table of the split can be read")
        table = pd.concat(tables, ignore_index=True)
        return table.sort_values(["path", "source", "rank"], kind="stable", ignore_index=True)

    @cached_property
    def unread(self) -> list[Finding]:
        """The tables that cannot be read, each as a finding."""
        return [Finding(f"could not be checked: {self.errors[name]}") for name in TABLES if name in self.errors]

    def whole(self) -> pd.DataFrame:
        """Like ``rows``.

        Raises:
            DataError: a table cannot be read.
        """
        for name in TABLES:
            if name in self.errors:
                raise DataError(self.errors[name])
        return self.rows

    def listed(self, name: str) -> pd.DataFrame:
        """One of the other tables.

        Raises:
            DataError: it cannot be read.
        """
        if name not in self.lists:
            raise DataError(self.errors.get(name, f"there is no {name}"))
        return self.lists[name]

    @property
    def bins(self) -> Bins:
        """Age bins by which the split was stratified.

        Raises:
            SplitError: the manifest does not tell them.
        """
        try:
            told = self.manifest["bins"]
            return Bins.from_names(told["names"], gaps=told["gaps"] is True)
        except (KeyError, TypeError, AttributeError, AgeclsError):
            raise SplitError("the manifest tells no age bins") from None

    @property
    def drawn(self) -> bool:
        """Whether chance placed the images of every part, and not someone else's tables or the folds of a split."""
        return self.manifest.get("seed") is not None or not {"adopted", "derived"} & self.manifest.keys()

    @property
    def draw(self) -> tuple[int, tuple[float, ...]]:
        """Seed and fractions of a drawn split.

        Raises:
            SplitError: the manifest does not tell them.
        """
        seed, fractions = self.manifest.get("seed"), self.manifest.get("fractions")
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise SplitError("the manifest tells no seed")
        if (
            not isinstance(fractions, list)
            or len(fractions) != len(PARTS)
            or not all(isinstance(each, int | float) and 0 < each < 1 for each in fractions)
            or abs(sum(fractions) - 1) > 1e-6
        ):
            raise SplitError("the manifest tells no three fractions that sum to 1")
        return seed, tuple(fractions)

    @property
    def on_conflict(self) -> str:
        """What became of photographs whose labels disagree; ``keep`` where the manifest does not tell."""
        return str(self.manifest.get("on_conflict", "keep"))

    @property
    def sources(self) -> list[str]:
        """Names of the sources in the order of their roots; those of the tables where the manifest tells none."""
        try:
            names = [str(source["name"]) for source in self.manifest["sources"]]
        except (KeyError, TypeError):
            names = []
        return names or sorted(self.rows["source"].unique())


def open_folder(folder: Path) -> SplitFolder:
    """Read what can be read.

    Raises:
        SplitError: there is no split at all, or one of another schema.
    """
    if not (folder / MANIFEST).is_file():
        raise SplitError(
            f"there is no split at {folder}",
            got=f"a folder without {MANIFEST}" if folder.is_dir() else "no such folder",
            remedy=f"freeze one: agecls split --out {folder}",
        )
    errors: dict[str, str] = {}
    manifest = _read_manifest(folder / MANIFEST, errors)
    contents: dict[str, bytes] = {}
    told = manifest.get("sha256")
    for name in sorted({*TABLES, *LISTS, SEALS, *(told if isinstance(told, dict) else ())}):
        try:
            if name != Path(name).name:
                errors[name] = f"{name!r} is no file of the folder"
            elif name in TABLES or name in (told or ()) or (folder / name).exists():
                contents[name] = (folder / name).read_bytes()
        except (OSError, ValueError) as error:
            errors[name] = f"{name} cannot be read: {getattr(error, 'strerror', None) or error}"
    parts: dict[Part, Faces] = {}
    for part in PARTS:
        if (name := f"{part}.csv") in contents:
            try:
                parts[part] = Faces.from_csv(folder / name)
            except AgeclsError as error:
                errors[name] = f"{name} cannot be read: {error.what}" + (error.got and f" ({error.got})")
    lists = {}
    for name in LISTS:
        if name in contents:
            try:
                lists[name] = pd.read_csv(io.BytesIO(contents[name]), dtype=str, keep_default_na=False)
            except ValueError as error:
                errors[name] = f"{name} cannot be read: {str(error).splitlines()[0]}"
    sealed = contents.get(SEALS)
    return SplitFolder(
        folder=folder,
        manifest=manifest,
        digests={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        parts=parts,
        lists=lists,
        seals=None if sealed is None else tuple(sealed.decode("ascii", "replace").split()),
        errors=errors,
    )


def _read_manifest(path: Path, errors: dict[str, str]) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        errors[MANIFEST] = f"{MANIFEST} cannot be read: {str(error).splitlines()[0]}"
        return {}
    if not isinstance(manifest, dict):
        errors[MANIFEST] = f"{MANIFEST} holds no table"
        return {}
    if manifest.get("schema") != SCHEMA:
        raise SplitError(f"{path} is no manifest of schema {SCHEMA}", remedy="use the version of agecls that froze it")
    return manifest


def places(rows: pd.DataFrame) -> list[Place]:
    """Where each row of ``SplitFolder.rows`` stands."""
    columns = (rows["path"], rows["source"], rows["part"])
    return [Place(str(path), str(source), str(part)) for path, source, part in zip(*columns, strict=True)]
