"""Checks that need the split directory alone: its manifest, its rows, its groups, and how alike the parts are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency

from agecls.audit.findings import Check, Finding, Place, check, failed
from agecls.audit.folder import MANIFEST, TABLES, SplitFolder
from agecls.audit.spanning import spanning
from agecls.data.duplicates import equal_links
from agecls.data.faces import Faces
from agecls.data.freeze import divide
from agecls.data.publish import count_parts, describe_labels, describe_strata
from agecls.data.seal import FILE as SEALS
from agecls.data.seal import name_tampered, seals
from agecls.data.split import PARTS, fingerprint
from agecls.data.stratify import name_strata
from agecls.errors import AgeclsError, SplitError
from agecls.labels import UNKNOWN

UNLIKELY: Final = 0.001
"""Parts that differ more than one draw in so many would are not alike; a stratified split has p near 1."""

_ABSENT: Final = object()


def check_manifest(opened: SplitFolder) -> list[Finding]:
    """Every statement of the manifest that the files do not bear out."""
    if MANIFEST in opened.errors:
        return [Finding(opened.errors[MANIFEST])]
    found = [*_check_files(opened)]
    for statement in _statements(opened):
        try:
            name, told, held = statement(opened)
        except AgeclsError as error:
            found.append(Finding(f"could not be checked: {error.what}"))
        else:
            found += [Finding(text) for text in _differences(name, told, held)]
    return list(dict.fromkeys(found))


def _check_files(opened: SplitFolder) -> Iterator[Finding]:
    told = opened.manifest.get("sha256")
    if not isinstance(told, dict):
        yield Finding("sha256: the manifest tells none")
        told = {}
    for name in sorted({*opened.digests, *opened.errors, *told}):
        if name in opened.errors:
            yield Finding(opened.errors[name])
        if name in opened.digests and name not in told:
            yield Finding(f"{name} is not listed in the manifest")
        elif name in opened.digests and opened.digests[name] != told[name]:
            yield Finding(f"{name} is not the file that was frozen: sha256 {opened.digests[name][:16]}...")
    if set(TABLES) <= opened.digests.keys() and fingerprint(opened.digests) != opened.manifest.get("fingerprint"):
        yield Finding(f"fingerprint: the tables have {fingerprint(opened.digests)[:16]}..., the manifest tells another")


_Statement = tuple[str, Any, Any]


def _statements(opened: SplitFolder) -> Sequence[Callable[[SplitFolder], _Statement]]:
    """What the manifest tells beside what the tables hold; each raises ``AgeclsError`` where they cannot be read."""
    chosen: list[Callable[[SplitFolder], _Statement]] = [_sources, _counts, _labels]
    if "conflicts" in opened.manifest:
        chosen += [_conflicts, _leaks]
    if opened.drawn:
        # Of an adopted split nobody recorded which shares its strata were made for.
        chosen += [_groups, _strata]
    return chosen


def _sources(opened: SplitFolder) -> _Statement:
    try:
        told = {source["name"]: source["images"] for source in opened.manifest["sources"]}
    except (KeyError, TypeError):
        raise SplitError("the manifest tells no sources") from None
    held = opened.whole()["source"].value_counts()
    return "sources", told, {name: int(held.get(name, 0)) for name in [*told, *held.index]}


def _counts(opened: SplitFolder) -> _Statement:
    opened.whole()
    held = {**count_parts(opened.parts), "quarantine": len(opened.listed("quarantine.csv"))}
    return "counts", opened.manifest.get("counts"), held


def _labels(opened: SplitFolder) -> _Statement:
    opened.whole()
    return "labels", opened.manifest.get("labels"), describe_labels(opened.parts, opened.bins)


def _conflicts(opened: SplitFolder) -> _Statement:
    return "conflicts", opened.manifest["conflicts"], len(opened.listed("conflicts.csv"))


def _leaks(opened: SplitFolder) -> _Statement:
    there = "leaks.csv" in opened.digests or "leaks.csv" in opened.errors
    return "leaks", opened.manifest.get("leaks"), len(opened.listed("leaks.csv")) if there else 0


def _groups(opened: SplitFolder) -> _Statement:
    told = opened.manifest.get("groups")
    rows = opened.whole()
    groups = rows["group"]
    if opened.on_conflict == "drop":
        # Photographs that were dropped for their labels were grouped with the others, and counted.
        groups = pd.concat([groups, opened.listed("conflicts.csv")["group"]])
    sizes = groups.value_counts()
    largest = min(sizes.index[sizes == sizes.max()])
    held: dict[str, Any] = {
        "total": len(sizes),
        "of_several_images": int((sizes > 1).sum()),
        "largest": int(sizes.max()),
        "largest_group": largest,
    }
    if "links.csv" in opened.digests:
        links = opened.listed("links.csv")
        counts = {str(kind): int(count) for kind, count in links["kind"].value_counts().items()}
        zeros = told.get("links") if isinstance(told, dict) else None
        held["links"] = {**dict.fromkeys(zeros if isinstance(zeros, dict) else (), 0), **counts}
        if not rows["path"].duplicated().any() and opened.on_conflict != "drop":
            within = links["kind"][links["first"].isin(rows["path"][rows["group"] == largest])]
            held["largest_links"] = {str(kind): int(count) for kind, count in within.value_counts().items()}
    if opened.seals is None and isinstance(told, dict):
        held = {name: value for name, value in held.items() if name in told}  # an earlier version told less
    if isinstance(told, dict):
        told = {name: value for name, value in told.items() if name in held}
    return "groups", told, held


def _strata(opened: SplitFolder) -> _Statement:
    rows = opened.whole()
    _, fractions = opened.draw
    strata = name_strata(rows, opened.bins, min(fractions))
    placed = [f"{stratum}/{part}" for stratum, part in zip(strata, rows["part"], strict=True)]
    return "strata", opened.manifest.get("strata"), describe_strata(placed)


def _differences(name: str, told: Any, held: Any) -> Iterator[str]:
    """Say where what is told and what is held differ, leaf by leaf."""
    if isinstance(told, dict) and isinstance(held, dict):
        for key in dict.fromkeys([*held, *told]):
            yield from _differences(f"{name}.{key}", told.get(key, _ABSENT), held.get(key, _ABSENT))
    elif told != held or type(told) is bool:
        yield f"{name}: the manifest tells {_brief(told)}, the tables hold {_brief(held)}"


def _brief(value: Any) -> str:
    text = "nothing" if value is _ABSENT or value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_rows(opened: SplitFolder) -> list[Finding]:
    """Rows that are not as they were sealed, by name, and how many are gone."""
    if opened.seals is None:
        if SEALS in opened.errors:
            return [Finding(f"could not be checked: {opened.errors[SEALS]}")]
        return [Finding(f"there is no {SEALS}: frozen by an earlier version; freeze it anew")]
    sealed = set(opened.seals)
    source = opened.rows.drop_duplicates(["path", "part"]).set_index(["path", "part"])["source"]
    tampered = name_tampered(opened.parts, sealed)
    found = [Finding(what, (Place(path, str(source[path, part]), part),)) for path, part, what in tampered]
    if not opened.unread:
        edited = sum(what == "edited or added" for _, _, what in tampered)
        standing = len(sealed & set(seals(opened.parts))) + len(tampered) - edited
        gone = len(opened.seals) - standing - edited
        found += [Finding(f"{gone:,} row{'' if gone == 1 else 's'} gone")] if gone > 0 else []
    return [*opened.unread, *found]


def check_placement(opened: SplitFolder) -> list[Finding]:
    """Rows that drawing the split again, from its own table, seed and fractions, places elsewhere.

    An edited or added row may move others as well, because every stratum is shared out anew.
    """
    rows = opened.whole()
    seed, fractions = opened.draw
    to_train = set(opened.listed("conflicts.csv")["group"]) if opened.on_conflict == "train" else set[str]()
    drawn, _ = divide(Faces(rows.drop(columns=["part", "rank"])), opened.bins, fractions, seed, to_train)
    again = {
        (path, source): part
        for part, each in drawn.items()
        for path, source in zip(each.table["path"], each.table["source"], strict=True)
    }
    return [
        Finding(f"drawn again it falls to {again[path, source]}", (Place(path, source, part),))
        for path, source, part in zip(rows["path"], rows["source"], rows["part"], strict=True)
        if again[path, source] != part
    ]


def check_shared(opened: SplitFolder, name: str, column: str) -> Check:
    """Whether any group, or any content, stands in two parts."""
    try:
        rows = opened.rows
    except AgeclsError as error:
        return failed(name, error)
    link = equal_links(name, np.arange(len(rows), dtype=np.int64), rows[column].tolist())
    shared = spanning(name, rows, link)
    if opened.unread:
        return replace(shared, ok=False, findings=(*opened.unread, *shared.findings))
    return shared


def check_balance(opened: SplitFolder) -> list[Check]:
    """A chi-squared test of each label against the part, and the mean ages."""
    return [_balance(opened, name) for name in ("age", "gender", "ethnicity")]


def _balance(opened: SplitFolder, label: str) -> Check:
    name = f"balance:{label}"
    try:
        rows = opened.rows
        if label == "age":
            values = pd.Series(opened.bins.index_of_range(rows["age_low"], rows["age_high"]))
        else:
            values = rows[label].replace(UNKNOWN, "unknown").reset_index(drop=True)
    except AgeclsError as error:
        return failed(name, error)
    counts = pd.crosstab(values, rows["part"]).to_numpy()
    told = ""
    if label == "age":
        years = (rows["age_low"] + rows["age_high"]) / 2
        means = [f"{years[rows['part'] == part].mean():.2f} in {part}" for part in PARTS if part in opened.parts]
        told = f"; mean age {', '.join(means)} years"
    if min(counts.shape) < 2:
        return Check(name, not opened.unread, len(opened.unread), (*opened.unread, Finding(f"nothing to tell{told}")))
    p = float(chi2_contingency(counts).pvalue)
    meaning = f"of random splits {p:.2g} would differ as much"
    if p < UNLIKELY:
        meaning += f": {label} is not shared alike"
    outcome = Finding(f"p {p:.3g}: {meaning}{told}")
    return Check(name, p >= UNLIKELY and not opened.unread, int(p < UNLIKELY), (*opened.unread, outcome))


def check_tables(opened: SplitFolder) -> list[Check]:
    """All checks that need nothing but the directory, but for the balance of the parts."""
    checks = [check("manifest", lambda: check_manifest(opened)), check("rows", lambda: check_rows(opened))]
    if opened.drawn:
        checks.append(check("placement", lambda: check_placement(opened)))
    return [*checks, check_shared(opened, "groups", "group"), check_shared(opened, "bytes", "sha256")]
