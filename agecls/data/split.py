"""A frozen split: three tables, a manifest, and the refusal to exist when one group stands in two parts."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import pandas as pd

from agecls.data.faces import Faces
from agecls.errors import LeakageError, SplitError, UsageError

Part = Literal["train", "valid", "test"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
SCHEMA: Final = 1


@dataclass(frozen=True)
class Split:
    """Images of a frozen split.

    Attributes:
        folder: where it lies.
        parts: the faces of train, valid and test.
        manifest: content of ``manifest.json``.
        leakage_allowed: whether groups may stand in two parts, as they do in a split adopted with its leaks.

    Raises:
        LeakageError: a group stands in two parts.
    """

    folder: Path
    parts: Mapping[Part, Faces]
    manifest: Mapping[str, Any]
    leakage_allowed: bool = False

    def __post_init__(self) -> None:
        if not self.leakage_allowed:
            refuse_shared_groups(self.parts)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that change with any byte of the three tables."""
        return str(self.manifest["fingerprint"])

    @property
    def leaks(self) -> int:
        """Images that share a group with a stronger part; 0 unless the split was adopted with its leaks."""
        return len(leaking_rows(self.parts)) if self.leakage_allowed else 0

    @property
    def everything(self) -> Faces:
        """Every image of the split once, even one that an adopted split names in two parts."""
        table = pd.concat([faces.table for faces in self.parts.values()], ignore_index=True)
        return Faces(table.drop_duplicates(["source", "path"], ignore_index=True))

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, in the order in which their roots are given."""
        return tuple(source["name"] for source in self.manifest["sources"])

    def roots(self, given: Sequence[Path]) -> dict[str, Path]:
        """Pair the sources with their folders: one folder for all, or one for each in the order of the manifest.

        Raises:
            UsageError: another number of folders, or a folder that is not there.
        """
        if len(given) not in (1, len(self.sources)):
            raise UsageError(
                f"split {self.folder} has {len(self.sources)} sources, so it takes one --root or {len(self.sources)}",
                got=", ".join(map(str, given)) or "none",
                remedy="give --root once for each of " + ", ".join(self.sources) + ", in this order",
            )
        for root in given:
            if not root.is_dir():
                raise UsageError(
                    f"there is no folder {root}",
                    remedy=f"put the {self.sources[0]} images there, or name their folder with --root or AGECLS_ROOT",
                )
        return dict(zip(self.sources, given if len(given) > 1 else list(given) * len(self.sources), strict=True))

    @classmethod
    def load(cls, folder: Path, *, allow_leakage: bool = False) -> "Split":
        """Read a split and check every file against the manifest.

        Args:
            folder: where it lies.
            allow_leakage: load it even where groups stand in two parts; ``leaks`` then counts them.

        Raises:
            SplitError: a file is missing, or is not the one that was frozen.
            LeakageError: a group stands in two parts.
        """
        manifest = _read_manifest(folder)
        for name in sorted({*(f"{part}.csv" for part in PARTS), "quarantine.csv", *manifest["sha256"]}):
            path = folder / name
            try:
                content = path.read_bytes()
            except OSError as error:
                raise SplitError(f"split {folder} lacks {name}", got=error.strerror or "", remedy=_RESTORE) from None
            digest = hashlib.sha256(content).hexdigest()
            if digest != manifest["sha256"].get(name):
                raise SplitError(
                    f"{path} is not the file that was frozen", got=f"sha256 {digest[:16]}...", remedy=_RESTORE
                )
        if fingerprint(manifest["sha256"]) != manifest["fingerprint"]:
            raise SplitError(f"the manifest of {folder} was edited", got="another fingerprint", remedy=_RESTORE)
        parts = {part: Faces.from_csv(folder / f"{part}.csv") for part in PARTS}
        split = cls(folder, parts, manifest, leakage_allowed=allow_leakage)
        if _images_by_source(split.parts) != _told_by_source(manifest):
            raise SplitError(f"the manifest of {folder} was edited", got="other sources", remedy=_RESTORE)
        return split


_RESTORE: Final = "restore the folder from version control or its backup; a frozen split is never edited"


def refuse_shared_groups(parts: Mapping[Part, Faces]) -> None:
    """Raise ``LeakageError`` when any group, or any content under two groups, stands in more than one part."""
    tables = [faces.table[["group", "sha256", "path"]].assign(part=part) for part, faces in parts.items()]
    table = pd.concat(tables, ignore_index=True)
    for column, what in (("group", "group"), ("sha256", "image content")):
        shared = table.groupby(column)["part"].transform("nunique") > 1
        if shared.any():
            rows = table[shared].sort_values([column, "path"])
            count = rows[column].nunique()
            first = rows[rows[column] == rows[column].iloc[0]]
            raise LeakageError(
                f"{count} {what}{' stands' if count == 1 else 's stand'} in more than one part",
                got=", ".join(f"{path} in {part}" for path, part in zip(first["path"], first["part"], strict=True)),
                remedy="freeze it anew with `agecls split`, or adopt its tables with --adopt and --repair; "
                "--allow-leakage goes on, and marks all that comes of it as LEAKED",
            )


def leaking_rows(parts: Mapping[Part, Faces]) -> pd.DataFrame:
    """Images that share a group or their content with a stronger part; test is stronger than valid, valid than train.

    Returns:
        Columns ``part``, ``path``, ``source``, ``group``, ``with`` (a path of the strongest part that shares it) and
        ``with_part``, in the order of the parts.
    """
    order = {part: number for number, part in enumerate(PARTS)}
    table = pd.concat([faces.table.assign(part=part) for part, faces in parts.items()], ignore_index=True)
    rank = table["part"].map(order)
    found: list[pd.DataFrame] = []
    for column in ("group", "sha256"):
        strongest = rank.groupby(table[column]).transform("max")
        first = table[rank == strongest].drop_duplicates(column).set_index(column)
        weak = table[rank < strongest]
        other = first.loc[weak[column]]
        found.append(weak.assign(**{"with": other["path"].to_numpy(), "with_part": other["part"].to_numpy()}))
    rows = pd.concat(found).drop_duplicates(["part", "path", "source"])
    rows = rows.assign(rank=rows["part"].map(order)).sort_values(["rank", "path", "source"], kind="stable")
    return rows[["part", "path", "source", "group", "with", "with_part"]].reset_index(drop=True)


def _images_by_source(parts: Mapping[Part, Faces]) -> dict[str, int]:
    sources = pd.concat([faces.table["source"] for faces in parts.values()])
    return {str(name): int(count) for name, count in sources.value_counts().items()}


def _told_by_source(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Images of each source that has any, as the manifest tells; nothing where it does not tell properly."""
    try:
        return {source["name"]: source["images"] for source in manifest["sources"] if source["images"]}
    except (KeyError, TypeError):
        return {}


def fingerprint(digests: Mapping[str, str]) -> str:
    """One sha256 for the three tables, from the sha256 of each."""
    content = {name: digests[name] for name in (f"{part}.csv" for part in PARTS)}
    return hashlib.sha256(json.dumps({"schema": SCHEMA, **content}, sort_keys=True).encode()).hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SplitError(
            f"there is no split at {folder}",
            got="a folder without manifest.json" if folder.is_dir() else "no such folder",
            remedy=f"freeze one: agecls split --out {folder}",
        ) from None
    except (OSError, ValueError) as error:
        raise SplitError(f"cannot read {path}", got=str(error).splitlines()[0], remedy=_RESTORE) from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise SplitError(f"{path} is no manifest of schema {SCHEMA}", remedy="use the version of agecls that froze it")
    lacking = {"sha256", "fingerprint", "sources", "bins"} - set(manifest)
    if lacking:
        raise SplitError(f"{path} lacks {min(lacking)!r}", remedy=_RESTORE)
    if not isinstance(manifest["sha256"], dict):
        raise SplitError(f"the manifest of {folder} was edited", got="no table of sha256", remedy=_RESTORE)
    return manifest


def parse_fractions(text: str) -> tuple[float, float, float]:
    """Read ``0.6,0.2,0.2``.

    Raises:
        UsageError: not three numbers above 0 that sum to 1.
    """
    try:
        fractions = tuple(float(piece) for piece in text.split(","))
    except ValueError:
        fractions = ()
    if len(fractions) != 3 or not all(np.isfinite(f) and f > 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise UsageError(
            "--fractions takes the shares of train, valid and test",
            got=text,
            remedy="three numbers above 0 that sum to 1, such as 0.6,0.2,0.2",
        )
    return fractions[0], fractions[1], fractions[2]
