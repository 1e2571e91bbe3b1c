"""What commands print: results to stdout, talk to stderr, colours only on a terminal."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agecls.errors import AgeclsError

if TYPE_CHECKING:
    from agecls.audit import Audit, Check
    from agecls.data.adopt import Adopted
    from agecls.data.freeze import Frozen
    from agecls.predict import Prediction

ROWS: Final = 50
"""Predictions listed on the screen at most."""

FINDINGS: Final = 20
"""Findings of one check of an audit listed on the screen at most."""


def results() -> Console:
    """Where results go; wide enough for a table when it is a file or a pipe."""
    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def say(line: str) -> None:
    """Print one line of talk; control characters of file names are made harmless."""
    print(printable(line), file=sys.stderr, flush=True)  # noqa: T201 - this is the one place that talks


def show_error(error: AgeclsError) -> None:
    """Print what was wrong, what was found, and what to do."""
    head, *rest = str(error).split("\n")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error:[/] {escape(printable(head))}")
    for line in rest:
        console.print(escape(printable(line)))


def printable(text: str) -> str:
    """Make control characters and undecodable bytes of file names harmless on a terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape", "replace").decode() for each in text)


def write_json(path: Path, content: Any) -> None:
    """Write a result as JSON, atomically."""
    from agecls.files import write_whole

    write_whole(
        path,
        (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace"),
    )


def show_frozen(frozen: "Frozen") -> None:
    """Print the parts of a new split, how alike they are, and what was quarantined."""
    manifest = frozen.split.manifest
    console = results()
    table = Table(title=f"{frozen.split.folder}  {frozen.split.fingerprint[:12]}", title_justify="left")
    labels = manifest["labels"]
    table.add_column("")
    for part in labels:
        table.add_column(part, justify="right")
    table.add_row("images", *(f"{manifest['counts'][part]:,}" for part in labels))
    table.add_row("mean age", *(f"{labels[part]['age_mean']:.2f}" for part in labels), end_section=True)
    for kind in ("age", "gender", "ethnicity"):
        names = list(dict.fromkeys(name for part in labels for name in labels[part][kind]))
        for name in names:
            shares = (labels[part][kind].get(name, 0) / manifest["counts"][part] for part in labels)
            table.add_row(f"{kind} {name}", *(f"{share:.2%}" for share in shares), end_section=name == names[-1])
    console.print(table)
    groups = manifest["groups"]
    links = _list_links(groups["links"])
    sharing = "groups" if manifest["leaks"] else "groups that share a part"
    console.print(f"{sharing}: {groups['of_several_images']:,} of several images (links: {links})")
    if groups["largest"] > 1:
        made = _list_links(groups["largest_links"])
        console.print(f"largest group: {groups['largest']} images, {groups['largest_group']} (links: {made})")
    if manifest["conflicts"]:
        fate = {"train": "kept to train", "drop": "left out", "keep": "left where they fell"}[manifest["on_conflict"]]
        console.print(
            f"conflicts: {manifest['conflicts']:,} images of photographs with different labels, {fate} (conflicts.csv)"
        )
    show_rejected([row.reason for row in frozen.rejected], console)


def show_adopted(adopted: "Adopted") -> None:
    """Print an adopted split, its leaks or what their repair dropped, and what its tables did not say."""
    show_frozen(adopted.frozen)
    console = results()
    split = adopted.frozen.split
    told = split.manifest["adopted"]
    lost = " and ".join(f"{count:,} of {part}" for part, count in adopted.dropped.items())
    if protocol := split.manifest.get("protocol"):
        users = ", ".join(f"{count:,} in {part}" for part, count in protocol["users"].items())
        shared = protocol["shared_users"]
        console.print(f"users: {users}; of fold {protocol['fold']} {shared or 'none'} in another fold")
    if told["not_named"]:
        console.print(f"left out: {told['not_named']:,} images that no table names")
    if adopted.ages is not None:
        example = f", such as {adopted.ages.example}" if adopted.ages.rows else ""
        console.print(escape(f"ages: {adopted.ages.rows:,} rows give another age than the source{example}"))
    if told["repaired"]:
        console.print(f"repaired: {lost} dropped because they belong with images of a stronger part; test is as it was")
    elif len(adopted.leaks):
        parts = Counter(adopted.leaks["part"])
        leaking = " and ".join(f"{parts[part]:,} of {part}" for part in adopted.dropped)
        kinds = Counter(kind for why in adopted.leaks["why"] for kind in why.removeprefix("chain: ").split())
        console.print(f"LEAKS: {leaking} belong with images of a stronger part (leaks.csv says which, and why)")
        console.print(f"  {_list_links(dict(kinds))}")
        console.print(
            "the split is written as it is; commands refuse it (exit 3) without --allow-leakage\n"
            f"--repair would drop {lost}, or a few more, and leave test as it is"
        )
    else:
        console.print("no leak: no image of one part belongs with an image of another")


def _list_links(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} by {kind}" for kind, count in counts.items() if count) or "none"


def show_rejected(reasons: Sequence[str], console: Console) -> None:
    """Print how many files were quarantined, by reason."""
    console.print(f"quarantined: {len(reasons):,}" + (" (quarantine.csv names each)" if reasons else ""))
    counts = Counter(reasons).most_common()
    for reason, count in counts[:10]:
        console.print(f"  {count:,}  {escape(printable(reason))}")
    if len(counts) > 10:
        console.print(f"  {sum(count for _, count in counts[10:]):,}  for {len(counts) - 10} other reasons")


def show_audit(audit: "Audit") -> None:
    """Print one line for each check of a split, then the first findings of those that are not well."""
    console = results()
    table = Table(title=f"{audit.folder}  {audit.fingerprint[:12]}", title_justify="left")
    table.add_column("check", overflow="fold")
    table.add_column("")
    table.add_column("found", overflow="fold")
    for check in audit.checks:
        outcome = "" if check.ok and not check.findings else escape(printable(check.findings[0].what))
        counted = outcome if len(check.findings) == 1 else f"{check.count:,}" if not check.ok else outcome
        table.add_row(escape(printable(check.name)), "ok" if check.ok else "[bold red]FOUND[/]", counted)
    console.print(table)
    for check in audit.checks:
        if not check.ok and check.findings:
            _show_findings(check, console)
    for each in audit.not_checked:
        console.print(escape(printable(f"not checked: {each.name}: {each.why}")))
    found = [check.name for check in audit.checks if not check.ok]
    verdict = (
        f"found something: {', '.join(found)}"
        if found
        else ("clean, as far as it was checked" if audit.not_checked else "clean")
    )
    console.print(escape(printable(f"{audit.folder}: {verdict}")))


def _show_findings(check: "Check", console: Console) -> None:
    """Print the first findings of one check, and how many more there are."""
    table = Table(title=f"{escape(printable(check.name))}: {check.count:,}", title_justify="left")
    for heading in ("image", "part", "what", "with", "part"):
        table.add_column(heading, overflow="fold")
    for finding in check.findings[:FINDINGS]:
        places = [(printable(each.path), each.part) for each in finding.images[:2]]
        (first, part), (second, other) = [*places, ("", ""), ("", "")][:2]
        what = printable(finding.what) + ("" if finding.score is None else f" {finding.score:.3f}")
        table.add_row(*map(escape, (first, part, what, second, other)))
    console.print(table)
    if len(check.findings) > FINDINGS:
        console.print(f"and {len(check.findings) - FINDINGS:,} more; --json FILE lists them")


def show_predictions(predictions: Sequence["Prediction"], *, leaked: bool) -> None:
    """Print a table of predictions, the first fifty."""
    console = results()
    tasks = next((list(each.tasks) for each in predictions if each.tasks), [])
    table = Table(title="LEAKED: a run was trained past a leakage guard" if leaked else None, title_style="bold red")
    table.add_column("image", overflow="fold")
    for task in tasks:
        table.add_column(escape(task), justify="right")
    for each in predictions[:ROWS]:
        if each.error:
            cells = [f"error: {each.error}", *[""] * (len(tasks) - 1)] if tasks else []
        else:
            cells = [_show_answer(each.tasks[task]) for task in tasks]
        name = printable(each.path) if tasks else f"{printable(each.path)}: {each.error}"
        table.add_row(escape(name), *map(escape, cells))
    console.print(table)
    if len(predictions) > ROWS:
        console.print(f"and {len(predictions) - ROWS:,} more; --csv FILE or --json FILE holds them all")


def _show_answer(answer: dict[str, Any]) -> str:
    """``15-30  71%``, with the years where they are known, or ``15-30  27 years`` for a regression."""
    sure = f"  {answer['probabilities'][answer['label']]:.0%}" if "probabilities" in answer else ""
    return f"{answer['label']}{sure}" + (f"  {answer['years']:.0f} years" if "years" in answer else "")


def show_settings(name: str, values: dict[str, dict[str, object]]) -> None:
    """Print every setting of a configuration with its value and meaning."""
    from agecls.config import describe_settings

    table = Table(title=f"settings of {name}", title_justify="left")
    for heading in ("setting", "value", "meaning"):
        table.add_column(heading, overflow="fold")
    for key, _, meaning in describe_settings():
        section, _, leaf = key.partition(".")
        table.add_row(key, str(values[section][leaf]), escape(meaning))
    results().print(table)


def show_networks(networks: Sequence[dict[str, Any]]) -> None:
    """Print every network with its size, its input, where its weights come from, and its source."""
    table = Table(title="networks, counted for 7 classes and RGB", title_justify="left")
    for heading in ("name", "parameters", "pixels", "blocks"):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "name" else "right")
    table.add_column("pretrained", overflow="fold")
    table.add_column("reference", overflow="fold")
    for each in networks:
        imagenet = f"ImageNet: {each['imagenet']}" if each["imagenet"] else ""
        table.add_row(
            each["name"],
            f"{each['parameters'] / 1e6:.1f} M",
            f"{each['image_size']}",
            f"{each['blocks']}",
            escape(imagenet or (f"--weights: {each['weights']}" if each["weights"] else "")),
            escape(each["reference"]),
        )
    console = results()
    if not console.is_terminal:
        console.width = 140
    console.print(table)
    console.print("choose one by agecls train --set network.name=NAME; grey or RGB by network.channels", soft_wrap=True)
    console.print(
        "pretrained: --set pretrained=imagenet, or --weights FILE with a state dict for any of them", soft_wrap=True
    )
