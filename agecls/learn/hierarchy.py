"""The members of a hierarchy: routers, experts and the flat model, which must all be of one kind and one split."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from agecls.bins import Bins
from agecls.config_files import Role
from agecls.errors import LeakageError, RunError
from agecls.hierarchy_config import Routing
from agecls.learn.chain import By, Chain, expert_folder, flat_folder, only_of, router_folder
from agecls.learn.only import write_only
from agecls.learn.routed import Member, RoutedNetwork
from agecls.learn.run import Run


@dataclass(frozen=True, eq=False)
class Members:
    """The runs of a hierarchy.

    Attributes:
        flat: age model of all images.
        routers: one for each label of the chain, in its order.
        experts: age models by name of their group; a missing group is answered by the flat model.
    """

    flat: Run
    routers: tuple[Run, ...]
    experts: Mapping[str, Run]

    def __iter__(self) -> Iterator[tuple[Role, str, Run]]:
        """Role, group or label, and run of each member: the flat model, the routers, the experts."""
        yield "flat", "", self.flat
        for router in self.routers:
            yield "router", router.task, router
        for group, expert in self.experts.items():
            yield "expert", group, expert

    def check(self, by: Sequence[By], bins: Bins) -> None:
        """Refuse members that cannot be joined.

        Raises:
            RunError: a member has another task, other bins, another kind of input or another group, or is no network.
        """
        for role, name, run in self:
            check_member(role, name, run, by, bins)
            if run.preprocessing != self.flat.preprocessing:
                raise RunError(
                    "the members of a hierarchy must take the same input",
                    got=f"{run.folder} takes {_input(run)}, {self.flat.folder} takes {_input(self.flat)}",
                    remedy="train them with the same network.image_size and network.channels",
                )

    def refuse_other_splits(self, fingerprint: str) -> None:
        """Refuse members of another split.

        Raises:
            LeakageError: naming the first such member.
        """
        for role, name, run in self:
            refuse_other_split(role, name, run, fingerprint)

    def load(self) -> "Loaded":
        """Read every member's weights, once.

        Raises:
            RunError: they are missing, damaged or of another network.
        """
        experts = {group: _load(run) for group, run in self.experts.items()}
        return Loaded(_load(self.flat), tuple(_load(run) for run in self.routers), experts)


@dataclass(frozen=True, eq=False)
class Loaded:
    """The networks of a hierarchy's members."""

    flat: Member
    routers: tuple[Member, ...]
    experts: Mapping[str, Member]

    def routed(self, chain: Chain, routing: Routing | None = None) -> RoutedNetwork:
        """All of them as one network that routes as ``chain`` says, or otherwise where ``routing`` is given."""
        return RoutedNetwork(
            self.routers,
            {number: self.experts[group] for number, group in chain.expert_numbers.items()},
            self.flat,
            len(chain.groups),
            routing or chain.routing,
            chain.threshold,
        ).eval()


def open_members(run: Run) -> Members:
    """Read the members of a hierarchy from its folder.

    Raises:
        RunError: one is missing, damaged, or not one that fits.
    """
    chain = run.chain
    if chain is None:
        raise RunError(f"run {run.folder} is no hierarchy", remedy="make one: agecls hierarchy --by gender")
    members = Members(
        Run.load(run.folder / flat_folder()),
        tuple(Run.load(run.folder / router_folder(label)) for label in chain.by),
        {group: Run.load(run.folder / expert_folder(group)) for group in chain.experts},
    )
    members.check(chain.by, run.bins)
    if not run.leaked:
        members.refuse_other_splits(run.split.fingerprint)
    return members


def network_of(run: Run) -> nn.Module:
    """The network of a run, or all those of a hierarchy as one, ready for prediction.

    Raises:
        RunError: weights are missing, damaged or of another network.
    """
    return open_members(run).load().routed(run.chain) if run.chain else run.answering()


def check_member(role: Role, name: str, run: Run, by: Sequence[By], bins: Bins) -> None:
    """Refuse a run that cannot take its place in a hierarchy.

    Args:
        role: what it is there for.
        name: label of a router, group of an expert, "" for the flat model.
        run: the run.
        by: labels the hierarchy routes by.
        bins: its age bins.

    Raises:
        RunError: another task, other bins, other images than those it has to answer for, or a hierarchy.
    """
    wanted = {"flat": "age", "expert": "age", "router": name}[role]
    called = f"the {f'{role} {name}'.strip()}"
    if run.chain is not None:
        raise RunError(
            f"{called} of the hierarchy is itself a hierarchy: {run.folder}", remedy="name one of its members"
        )
    if run.task != wanted:
        raise RunError(
            f"{called} of the hierarchy must be a run of task {wanted}", got=f"{run.folder} of task {run.task}"
        )
    if wanted == "age" and run.bins != bins:
        raise RunError(
            f"{called} of the hierarchy has other bins", got=f"{run.bins.text} in {run.folder}, not {bins.text}"
        )
    limits = only_of(by, name) if role == "expert" else {}
    if any(limits.get(label) != value for label, value in run.only.items()):
        raise RunError(
            f"{called} of the hierarchy was trained on other images than it has to answer for",
            got=f"{run.folder}, trained on {write_only(run.only)} alone",
        )


def refuse_other_split(role: Role, name: str, run: Run, fingerprint: str) -> None:
    """Refuse a member of another split: what it was fitted on, the others are measured on.

    Raises:
        LeakageError: it was trained on another split.
    """
    if run.split.fingerprint != fingerprint:
        raise LeakageError(
            f"the {f'{role} {name}'.strip()} of the hierarchy was trained on another split: {run.folder}",
            got=f"{run.split.name} {run.split.fingerprint[:12]}, not {fingerprint[:12]}",
            remedy="train it on this split, or leave it out and have it trained; --allow-leakage goes on, and "
            "marks this and all that is made from it as LEAKED",
        )


def _load(run: Run) -> Member:
    return Member(run.classifying(), run.precision)


def _input(run: Run) -> str:
    prepared = run.preprocessing
    return f"{prepared.image_size} px with {prepared.channels} channel{'s' if prepared.channels > 1 else ''}"
