"""Chain a router to experts of age, score every routing beside the flat model, and keep the result as a run."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agecls.data.looks import look_at
from agecls.errors import AgeclsError, RunError
from agecls.files import write_whole
from agecls.hierarchy.answers import Answers, ask_members, count_parameters, time_members
from agecls.hierarchy.choose import Choice, choose
from agecls.hierarchy.gather import Gathered, gather
from agecls.hierarchy.guard import guard
from agecls.hierarchy.request import HierarchyRequest
from agecls.hierarchy_config import ROUTINGS, Routing
from agecls.learn.chain import Chain, expert_folder, flat_folder, group_names, router_folder
from agecls.learn.hierarchy import Loaded, Members
from agecls.learn.ledger import note_opening
from agecls.learn.lineage import FILE as LINEAGE
from agecls.learn.lineage import Lineage
from agecls.learn.run import Run
from agecls.learn.run_folder import free_folder
from agecls.learn.run_record import RECORD, WEIGHTS, Parent, TrainedOn
from agecls.report.hierarchy_metrics import measure_hierarchy
from agecls.report.report import Origin
from agecls.report.routed_report import RoutedReport

__all__ = ["Built", "HierarchyRequest", "hierarchy"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """A hierarchy, its scores, and what has to be said with them."""

    run: Run
    report: RoutedReport
    measured: dict[str, Any]
    notes: tuple[str, ...]


def hierarchy(request: HierarchyRequest, say: Say) -> Built:
    """Gather the members, choose the routing on valid, keep the whole as a run, and score every routing.

    Args:
        request: what to assemble and from what.
        say: called with each line of talk.

    Raises:
        RunError: ``out`` exists already, or a member does not fit.
        LeakageError: a member is of another split, or was fitted on images of valid or test.
        DataError: images are missing, or no group has enough of them.
        KeyboardInterrupt: a training was interrupted; the same command goes on with it.
    """
    if request.out and request.out.exists() and (not request.out.is_dir() or any(request.out.iterdir())):
        raise RunError(f"{request.out} exists already", remedy="name another folder with --out")
    gathered = gather(request, say)
    members = gathered.members
    leaks = guard(request, members, say)
    loaded = members.load()
    prepared = members.flat.preprocessing
    where = (request.by, request.bins, request.split)
    valid = ask_members(loaded, *where, "valid", request.roots, prepared)
    chosen = choose(valid, request.routing)
    groups = group_names(request.by)
    chain = Chain(
        request.by,
        chosen.routing,
        chosen.threshold,
        tuple(group for group in groups if group in members.experts),
        gathered.fallback,
    )
    say("valid      " + ", ".join(f"{routing} {100 * score:.2f}" for routing, score in chosen.scores.items()))
    why = "asked for" if request.routing != "best" else "the best on valid"
    sure = f", which trusts the router from {chosen.threshold:.2f} on" if chosen.routing == "abstain" else ""
    say(f"routing    {chosen.routing}{sure}: {why}")
    run = _keep(request, members, chain, chosen, leaks)
    scored = valid if request.part == "valid" else ask_members(loaded, *where, request.part, request.roots, prepared)
    report = _report(request, run, scored, chosen)
    about = _about(request, gathered, loaded, chain, chosen, scored)
    notes = _note_opening(request, run, members, len(scored.faces))
    return Built(run, report, measure_hierarchy(report, about), tuple(notes))


def _keep(request: HierarchyRequest, members: Members, chain: Chain, chosen: Choice, leaks: int) -> Run:
    """Write the folder, whole or not at all: copies of the members, the lineage of them all, and the record."""
    stem = "-".join(["hierarchy", *request.by, request.bins_name])
    folder = request.out or free_folder(request.folder, stem)
    flat, split = members.flat, request.split
    runs = [run for _, _, run in members]
    strangers = any(run.split.fingerprint != split.fingerprint for run in runs)  # let in by force alone
    run = Run(
        folder=folder,
        task="age",
        classes=request.bins.names,
        bins=request.bins,
        config=flat.config,
        preprocessing=flat.preprocessing,
        precision="fp32",  # the members know their own
        split=TrainedOn(
            split.name,
            split.fingerprint,
            str(split.folder.absolute()),
            tuple(str(request.roots[source].absolute()) for source in split.sources),
        ),
        metrics={
            "valid_macro_f1": round(chosen.scores[chosen.routing], 6),
            "valid_macro_f1_by_routing": {name: round(score, 6) for name, score in chosen.scores.items()},
        },
        status="finished",
        leaked=leaks > 0 or strangers or any(member.leaked for member in runs),
        leaked_count=max(leaks, *(member.leaked_count for member in runs)),
        parents=tuple(Parent(each.name, str(each.folder.resolve()), each.split.fingerprint) for each in runs),
        chain=chain,
    )
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for place, member in _places(members):
        for file in (WEIGHTS, LINEAGE, RECORD):
            write_whole(unfinished / place / file, (member.folder / file).read_bytes())
    _lineage(request, folder.name, runs).save(unfinished)
    dataclasses.replace(run, folder=unfinished).save()
    unfinished.replace(folder)
    return run


def _lineage(request: HierarchyRequest, name: str, runs: Sequence[Run]) -> Lineage:
    """What all members have seen, and valid, which chose the routing."""
    valid = request.split.parts["valid"]
    # An image of valid without a label for these bins has chosen nothing.
    hashes = valid.table["sha256"][valid.targets("age", request.bins) >= 0].tolist()
    return Lineage.of(
        name,
        request.split.fingerprint,
        selected=(hashes, look_at(request.split.everything, request.roots).perceptual(hashes)),
        reason="choice of routing",
        parents=[Lineage.load(run.folder) for run in runs],
    )


def _places(members: Members) -> list[tuple[str, Run]]:
    """Where each member is copied to, inside the folder of the hierarchy."""
    return [
        (flat_folder(), members.flat),
        *((router_folder(router.task), router) for router in members.routers),
        *((expert_folder(group), expert) for group, expert in members.experts.items()),
    ]


def _report(request: HierarchyRequest, run: Run, scored: Answers, chosen: Choice) -> RoutedReport:
    faces = scored.faces
    sure, best = scored.group.max(dim=1)
    return RoutedReport(
        classes=request.bins.names,
        paths=tuple(faces.table["path"]),
        truth=scored.truth,
        years=faces.years,
        probabilities={routing: scored.routed(routing, chosen.threshold) for routing in ROUTINGS},
        group_names=group_names(request.by),
        true_group=scored.true_group,
        routed_group=best.numpy(),
        to_flat={routing: scored.to_flat(routing, chosen.threshold) for routing in ROUTINGS},
        groups={name: tuple(faces.table[name]) for name in ("gender", "ethnicity")},
        origin=Origin(run.name, request.split.name, request.part, run.leaked, run.leaked_count),
        routed_share=sure.clamp(0, 1).numpy(),
    )


def _about(
    request: HierarchyRequest, gathered: Gathered, loaded: Loaded, chain: Chain, chosen: Choice, scored: Answers
) -> dict[str, Any]:
    """What the measurements need to know of the hierarchy beside its predictions."""
    members = gathered.members
    prepared = members.flat.preprocessing
    chain = dataclasses.replace(chain, threshold=chosen.threshold)
    taken, routed = time_members(loaded, chain, request.split, scored.faces, request.roots, prepared)
    networks = [loaded.flat, *loaded.routers, *loaded.experts.values()]
    sizes = {id(network): count_parameters(network) for network in networks}
    through = sum(sizes[id(each)] for each in networks[1:]) + (sizes[id(loaded.flat)] if chain.fallback else 0)
    parameters: dict[Routing, int] = {
        "flat": sizes[id(loaded.flat)],
        "hard": through,
        "soft": through,
        "oracle": through - sum(sizes[id(each)] for each in loaded.routers),
        "abstain": sum(sizes.values()),
    }
    everyone = len(request.split.parts["train"].select(request.split.parts["train"].targets("age", request.bins) >= 0))
    about_members: dict[str, Mapping[str, Any]] = {}
    for (role, name, run), network in zip(members, networks, strict=True):
        about_members[f"{role} {name}".strip()] = {
            "run": str(run.folder),
            "role": role,
            "group": name if role == "expert" else None,
            "parameters": sizes[id(network)],
            "ms_per_image": taken[role, name],
            "train_images": gathered.counts[name] if role == "expert" else everyone,
            "valid_macro_f1": run.metrics.get("valid_macro_f1"),
            "reused": run.folder not in gathered.trained,
        }
    return {
        "by": list(request.by),
        "routing": chosen.routing,
        "valid_macro_f1": dict(chosen.scores),
        "threshold": chosen.threshold,
        "fallback": gathered.fallback,
        "members": about_members,
        "costs": {
            routing: {"parameters": parameters[routing], "ms_per_image": routed.get(routing)} for routing in ROUTINGS
        },
    }


def _note_opening(request: HierarchyRequest, run: Run, members: Members, images: int) -> list[str]:
    """Note in the ledgers of the hierarchy and of the flat run that test was opened."""
    if request.part == "valid":
        return [
            "valid chose each run's epoch, the routing and the threshold: scores on it are too good; "
            "--part test gives those to publish, and is counted"
        ]
    notes = []
    for each in (run, members.flat):
        try:
            count = note_opening(each.folder, request.part, request.split.fingerprint, images)
            times = "time" if count == 1 else "times"
            notes.append(f"{each.folder} has opened the test part of {request.split.name} {count} {times}")
        except AgeclsError as error:
            notes.append(f"this opening of the test part could not be noted: {error.what}")
    return notes
