"""Come by the members of a hierarchy: given, found among the runs that are there, gone on with, or trained."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agecls.config import Config
from agecls.config_files import Role
from agecls.errors import DataError, RunError, UsageError
from agecls.hierarchy.request import HierarchyRequest
from agecls.labels import Task
from agecls.learn.bins_origin import BinsOrigin, refuse_other_origin
from agecls.learn.chain import group_names, group_of, only_of
from agecls.learn.hierarchy import Members, check_member, refuse_other_split
from agecls.learn.only import write_only
from agecls.learn.run import Run
from agecls.learn.run_folder import free_folder, newest_runs
from agecls.learn.run_record import Preprocessing
from agecls.train import TrainRequest, train

Say = Callable[[str], None]


@dataclass(frozen=True)
class Gathered:
    """The members, and how they came about.

    Attributes:
        members: the runs.
        fallback: groups that the flat model answers for, each with the reason.
        trained: folders of the runs that were trained just now.
        counts: training images of each group.
    """

    members: Members
    fallback: dict[str, str]
    trained: frozenset[Path]
    counts: dict[str, int]


def gather(request: HierarchyRequest, say: Say) -> Gathered:
    """Load the runs that were given, reuse those that fit, and train the rest.

    Args:
        request: what to assemble.
        say: called with each line of talk.

    Raises:
        RunError: a run that was given does not fit.
        LeakageError: it is of another split, and that is not allowed.
        DataError: no group has images enough for an expert.
        KeyboardInterrupt: a training was interrupted; the same command goes on with it.
    """
    given = _given(request)
    fallback, counts = _too_small(request)
    lacking = [group for group in group_names(request.by) if group in fallback and group not in given.experts]
    if len(lacking) == len(group_names(request.by)):
        raise DataError(
            "no group has images enough for an expert",
            got=f"{lacking[0]}: {fallback[lacking[0]]}",
            remedy="use fewer bins, or lower --min-images",
        )
    for group in lacking:
        say(f"{group}: {fallback[group]}; the flat model answers for it")
    shelf = _Shelf(request, given.origin, say)
    flat = given.flat or shelf.member("age", request.flat_config)
    routers = [
        next((run for run in given.routers if run.task == label), None)
        or shelf.member(label, request.router_configs[label])
        for label in request.by
    ]
    experts = {}
    for group in group_names(request.by):
        if group in given.experts:
            experts[group] = given.experts[group]
        elif group not in fallback:
            start = flat if request.warm_start else None
            experts[group] = shelf.member("age", request.expert_config, group, start)
    members = Members(flat, tuple(routers), experts)
    members.check(request.by, request.bins)
    remaining = {group: reason for group, reason in fallback.items() if group not in experts}
    return Gathered(members, remaining, frozenset(shelf.trained), counts)


@dataclass(frozen=True)
class _Given:
    flat: Run | None = None
    routers: tuple[Run, ...] = ()
    experts: dict[str, Run] = field(default_factory=dict)
    origin: BinsOrigin | None = None


def _given(request: HierarchyRequest) -> _Given:
    """Load the runs that were named, and refuse what does not fit before anything is trained."""
    routers = tuple(Run.load(folder) for folder in request.routers)
    for run in routers:
        if run.task not in request.by:
            raise RunError(
                "a router must tell apart what the hierarchy routes by",
                got=f"{run.folder} of task {run.task}, routing by {' and '.join(request.by)}",
            )
    if len({run.task for run in routers}) < len(routers):
        raise UsageError("two routers are given for one label", got=", ".join(str(run.folder) for run in routers))
    given = _Given(
        Run.load(request.flat) if request.flat else None,
        routers,
        {group: Run.load(folder) for group, folder in request.experts.items()},
        BinsOrigin.load(request.bins_file) if request.bins_file else None,
    )
    for member in filter(None, (given.flat, *given.experts.values())):
        refuse_other_origin(member, given.origin)
    wanted = Preprocessing(request.flat_config.network.image_size, request.flat_config.network.channels)
    places: list[tuple[Role, str, Run]] = [("router", run.task, run) for run in routers]
    places += [("expert", group, run) for group, run in given.experts.items()]
    if given.flat:
        places.append(("flat", "", given.flat))
    for place in places:
        check_member(*place, request.by, request.bins)
        if not request.allow_leakage:
            refuse_other_split(*place, request.split.fingerprint)
    complete = given.flat and len(routers) == len(request.by) and len(given.experts) == len(group_names(request.by))
    for _, _, run in places:
        if not complete and run.preprocessing != wanted:
            prepared = run.preprocessing
            raise RunError(
                "the members of a hierarchy must take the same input",
                got=f"{run.folder} takes {prepared.image_size} px with {prepared.channels} channels, the settings say "
                f"{wanted.image_size} px with {wanted.channels}",
                remedy=f"add --set network.image_size={prepared.image_size} --set network.channels={prepared.channels}",
            )
    return given


def _too_small(request: HierarchyRequest) -> tuple[dict[str, str], dict[str, int]]:
    """Groups without images enough for an expert, each with the reason, and the training images of every group."""
    bins, names = request.bins, group_names(request.by)
    train_faces, valid_faces = request.split.parts["train"], request.split.parts["valid"]
    group, target = group_of(train_faces, request.by), train_faces.targets("age", bins)
    measured = group_of(valid_faces, request.by)[valid_faces.targets("age", bins) >= 0]
    reasons, counts = {}, {}
    for number, name in enumerate(names):
        images = np.bincount(target[(group == number) & (target >= 0)], minlength=len(bins))
        counts[name] = int(images.sum())
        fewest = int(images.argmin())
        if images[fewest] < request.min_images:
            reasons[name] = f"{images[fewest]} training images of {bins.names[fewest]}, fewer than {request.min_images}"
        elif not (measured == number).any():
            reasons[name] = "no valid image"
    return reasons, counts


class _Shelf:
    """The runs that are there, and training for what is not.

    Args:
        request: what to assemble.
        origin: where the bins come from, where they were searched.
        say: called with each line of talk.
    """

    def __init__(self, request: HierarchyRequest, origin: BinsOrigin | None, say: Say) -> None:
        self.request, self.origin, self.say = request, origin, say
        self.trained: set[Path] = set()

    def member(self, task: Task, config: Config, group: str = "", start: Run | None = None) -> Run:
        """Find a run that fits, newest first, else go on with an unfinished one, else train one."""
        only = only_of(self.request.by, group) if group else {}
        role = f"expert {group}" if group else ("flat model" if task == "age" else f"router by {task}")
        fitting = [
            run for run in newest_runs(Path("runs"), self.request.folder) if self._fits(run, task, config, only, start)
        ]
        finished = [run for run in fitting if run.status == "finished"]
        if finished:
            self.say(f"{role}: using {finished[0].folder}")
            return finished[0]
        if fitting:
            folder, resume = fitting[0].folder, True
            self.say(f"{role}: going on with {folder}")
        else:
            folder, resume = free_folder(self.request.folder, self._stem(task, group)), False
            images = write_only(only) or "all images"
            self.say(f"{role}: training {folder} on {images}" + (f", starting from {start.folder}" if start else ""))
        run = train(
            TrainRequest(
                task=task,
                bins=self.request.bins,
                bins_name=self.request.bins_name,
                split=self.request.split,
                roots=self.request.roots,
                config=config,
                out=folder,
                resume=resume,
                init_from=start.folder if start else None,
                only=only,
                bins_file=self.request.bins_file,
                allow_leakage=self.request.allow_leakage,
                progress=self.request.progress,
            ),
            self.say,
        )
        if run.status != "finished":
            raise KeyboardInterrupt
        self.trained.add(run.folder)
        return run

    def _stem(self, task: Task, group: str) -> str:
        return "-".join([task, self.request.bins_name, *group.split("/")] if group else [task, self.request.bins_name])

    def _fits(self, run: Run, task: Task, config: Config, only: dict[str, str], start: Run | None) -> bool:
        """Whether a run is what a training with these settings would give."""
        wanted = [str(start.folder.resolve())] if start else []
        return (
            run.chain is None
            and run.task == task
            and (task != "age" or run.bins == self.request.bins)
            and run.split.fingerprint == self.request.split.fingerprint
            and (not run.leaked or self.request.allow_leakage)
            and dict(run.only) == only
            and not run.held_out
            and run.config == config
            and [parent.folder for parent in run.parents] == wanted
            and (task != "age" or self._inherits(run))
        )

    def _inherits(self, run: Run) -> bool:
        """Whether a run's lineage says that its bins were searched, where they were."""
        try:
            refuse_other_origin(run, self.origin)
        except RunError:
            return False
        return True
