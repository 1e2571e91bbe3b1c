"""Audit a split: whether it is as it was frozen, and whether anything stands on both sides of a measurement."""

from collections.abc import Sequence
from pathlib import Path

from agecls.audit.findings import Audit, Check, Finding, Place, Skipped
from agecls.audit.folder import SplitFolder, open_folder
from agecls.data.sources import TableOptions
from agecls.data.split import Split

__all__ = ["Audit", "Check", "Finding", "Place", "Skipped", "audit"]

NEED_IMAGES = ("images", "labels", "pixels", "near", "keys", "conflicts", "person")
"""Checks that cannot be made without the images."""


def audit(
    folder: Path,
    roots: Sequence[Path] | None = None,
    *,
    runs: Sequence[Path] = (),
    options: TableOptions | None = None,
) -> Audit:
    """Check a split directory, its images and the runs to be measured on it.

    Args:
        folder: of the split.
        roots: folders of its images, one for all sources or one for each; None where they are not at hand.
        runs: folders of runs.
        options: how to read the label table of source ``csv``.

    Raises:
        SplitError: there is no split.
        UsageError: a root that is not there, or a wrong number of them.
        RunError: a run that is not there or cannot be read.
    """
    from agecls.audit.tables import check_balance, check_tables

    opened = open_folder(folder)
    named = {} if roots is None or not opened.parts else _pair(opened, roots)
    checks, skipped, notes = check_tables(opened), [], []
    images = None
    if not opened.drawn:
        origin = "cut as a fold of another one" if "derived" in opened.manifest else "adopted"
        skipped.append(Skipped("placement", f"the split was {origin}, not drawn"))
    if named:
        from agecls.audit.images import check_images, check_labels, read_images
        from agecls.audit.twins import check_persons, check_twins

        images = read_images(opened, named, options)
        labels, unread = check_labels(images)
        checks += [check_images(images), *labels]
        skipped += unread
        for made, missed, said in (check_twins(images), check_persons(images)):
            checks += made
            skipped += missed
            notes += said
    else:
        why = "no images; give --root" if roots is None else "no table of the split can be read"
        skipped += [Skipped(name, why) for name in NEED_IMAGES]
    checks += check_balance(opened)
    for run in runs:
        from agecls.audit.runs import check_run  # torch

        made_of, said = check_run(run, opened, images)
        checks.append(made_of)
        notes += said
        if images is None:
            skipped.append(Skipped(f"{made_of.name}:near", "no images; give --root"))
    fingerprint = str(opened.manifest.get("fingerprint", ""))
    return Audit(folder, fingerprint, tuple(checks), tuple(skipped), tuple(notes), named)


def _pair(opened: SplitFolder, roots: Sequence[Path]) -> dict[str, Path]:
    """Folder of each source; where the manifest names other sources than the tables, one folder still serves all."""
    manifest = {"sources": [{"name": name} for name in opened.sources]}
    named = Split(opened.folder, {}, manifest, leakage_allowed=True).roots(roots)
    if len(roots) == 1:
        named |= dict.fromkeys(sorted(opened.rows["source"].unique()), roots[0])
    return named
