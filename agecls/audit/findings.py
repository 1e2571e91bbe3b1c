"""What an audit says: checks, what each found, and what could not be looked at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agecls.errors import AgeclsError

SCHEMA: Final = 1

LISTED: Final = 1000
"""Examples of one check in the JSON at most; ``count`` tells all."""


@dataclass(frozen=True)
class Place:
    """One image of a split: its path, its source and the part it stands in."""

    path: str
    source: str
    part: str


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        what: in words, such as ``moved from test``.
        images: those concerned; of a pair the one in the weaker part first.
        score: of a pair that is alike: correlation of detail for ``near``, distance for ``person``.
    """

    what: str
    images: tuple[Place, ...] = ()
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As an example of ``audit --json``."""
        images = [{"path": each.path, "source": each.source, "part": each.part} for each in self.images]
        return {"what": self.what, "images": images, "score": None if self.score is None else round(self.score, 4)}


@dataclass(frozen=True)
class Check:
    """One question asked of a split.

    Attributes:
        name: such as ``rows`` or ``lineage:runs/age-7-1``.
        ok: whether all is well.
        count: how many images (for ``manifest`` statements, for ``balance`` tests) are not.
        findings: those, and for a pair of images each pair; of ``balance`` the outcome, well or not.
    """

    name: str
    ok: bool
    count: int
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """A check that was not made, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Audit:
    """Everything an audit says.

    Attributes:
        folder: of the split.
        fingerprint: that the manifest tells.
        checks: in the order in which they were made.
        not_checked: what was not looked at.
        notes: what has to be said beside the checks.
        roots: folder of each source, as far as given.
    """

    folder: Path
    fingerprint: str
    checks: tuple[Check, ...]
    not_checked: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    roots: Mapping[str, Path] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether all that was checked is well."""
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """As ``audit --json`` has it."""
        return {
            "schema": SCHEMA,
            "split": self.folder.name,
            "fingerprint": self.fingerprint,
            "clean": self.clean,
            "checks": [
                {
                    "name": check.name,
                    "ok": check.ok,
                    "count": check.count,
                    "examples": [finding.to_json() for finding in check.findings[:LISTED]],
                }
                for check in self.checks
            ],
            "not_checked": [{"name": each.name, "why": each.why} for each in self.not_checked],
            "notes": list(self.notes),
        }


def failed(name: str, error: AgeclsError) -> Check:
    """A check that could not be made, which is no check passed."""
    return Check(name, False, 1, (Finding(f"could not be checked: {error.what}" + (error.got and f" ({error.got})")),))


def check(name: str, find: Callable[[], Sequence[Finding]]) -> Check:
    """A check that is well where nothing is found; one that cannot be made is not."""
    try:
        findings = tuple(find())
    except AgeclsError as error:
        return failed(name, error)
    return Check(name, not findings, len(findings), findings)
