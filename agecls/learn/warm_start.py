"""Warm start: a new network takes what fits of a trained one."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from agecls.architectures import ARCHITECTURES
from agecls.config import NetworkConfig
from agecls.errors import RunError
from agecls.learn.datamodule import FaceData
from agecls.learn.lineage import Lineage
from agecls.learn.meeting import count_images
from agecls.learn.networks import build_network
from agecls.learn.run import Run
from agecls.learn.run_record import Parent
from agecls.learn.targets import Target, shared_rows, slices, total_width


@dataclass(frozen=True, eq=False)
class WarmStart:
    """A run to start from.

    Attributes:
        parent: the run.
        lineage: what it and its ancestors have seen.
        tensors: its weights by name.
    """

    parent: Run
    lineage: Lineage
    tensors: dict[str, Tensor]

    @classmethod
    def load(cls, folder: Path, network: NetworkConfig) -> "WarmStart":
        """Read a run to start a network of these settings from.

        Raises:
            RunError: there is no usable run, or its network is another one.
        """
        parent = Run.load(folder)
        refuse_other_network(parent, network)
        return cls(parent, Lineage.load(folder), parent.tensors())

    def fill(
        self, network: nn.Module, config: NetworkConfig, targets: Sequence[Target], say: Callable[[str], None]
    ) -> None:
        """Copy every tensor whose name and shape match; the last layer stays fresh where the targets differ.

        Of several targets, those that the run has just so take their rows of the last layer.

        Args:
            network: freshly built.
            config: its settings.
            targets: of the network.
            say: told what was taken and what stays fresh.

        Raises:
            RunError: nothing matches.
        """
        fresh = network.state_dict()
        same = tuple(targets) == self.parent.targets
        other_classes = frozenset() if same else _last_layer(config, total_width(targets))
        taken = {
            name: self.tensors[name]
            for name, tensor in fresh.items()
            if name not in other_classes and name in self.tensors and self.tensors[name].shape == tensor.shape
        }
        # Counters of batch norms have a shape that fits everywhere.
        if not any(tensor.ndim for tensor in taken.values()):
            raise RunError(
                f"no weights of run {self.parent.folder} fit the new network",
                got=", ".join(list(self.tensors)[:3]),
                remedy="train with the network settings of that run, or without --init-from",
            )
        rows, common = self._rows(targets, fresh, other_classes)
        network.load_state_dict({**fresh, **taken, **rows})
        left = [name for name in fresh if name not in taken]
        reason = " (the classes differ)" if other_classes and set(left) <= other_classes else ""
        reason += f" but for the outputs of {', '.join(common)}" if common else ""
        say(
            f"start      from {self.parent.folder}: {len(taken)} of {len(fresh)} tensors taken; fresh: "
            + (", ".join(left) + reason if left else "none")
        )

    def _rows(
        self, targets: Sequence[Target], fresh: dict[str, Tensor], names: Set[str]
    ) -> tuple[dict[str, Tensor], list[str]]:
        """The last layer with the rows of those targets that the parent has as well, and their names."""
        there = dict(zip(self.parent.targets, slices(self.parent.targets), strict=True))
        common = [target for target in targets if target in there]
        # The deviations of uncertain weights start anew: of half a head they have other rows.
        # Of heads on two branches, neither has the rows in the order of the targets.
        outputs = [name for name in names if name.startswith("head.output.") and not name.endswith("_rho")]
        known = [name for name in outputs if name in self.tensors]
        filled = {name: fresh[name].clone() for name in known if common}
        if any(tensor.shape[1:] != self.tensors[name].shape[1:] for name, tensor in filled.items()):
            return {}, []  # another hidden layer
        old, new = (shared_rows(each) or range(total_width(each)) for each in (self.parent.targets, targets))
        for target, part in zip(targets, slices(targets), strict=True):
            if target not in common or not filled:
                continue
            for name, tensor in filled.items():
                # A bias is of an output, and so are weights, but for those that outputs share.
                to = list(new[part]) if tensor.dim() > 1 else list(range(part.start, part.stop))
                at = there[target]
                source = list(old[at]) if tensor.dim() > 1 else list(range(at.start, at.stop))
                tensor[to] = self.tensors[name][source]
        return filled, [target.name for target in common] if filled else []

    def as_parent(self) -> Parent:
        """What the new run's record keeps of this one."""
        return Parent(self.parent.name, str(self.parent.folder.resolve()), self.parent.split.fingerprint)

    def guard(self, data: FaceData, split: str, *, allow_leakage: bool, say: Callable[[str], None]) -> int:
        """Refuse to start from a run that was fitted on images by which the new one would be judged.

        Args:
            data: of the new training.
            split: fingerprint of its split.
            allow_leakage: whether to go on all the same.
            say: told what the parent or its ancestors were selected on.

        Returns:
            How many images of valid and test the parent or an ancestor was fitted on.

        Raises:
            LeakageError: there are such images, and that is not allowed.
        """
        for share in self.lineage.selectors_of(data.seen("train")[0]):
            say(
                f"{count_images(share.count)} to be trained on helped to select run {share.run} ({share.reason}): "
                f"its valid scores say nothing of this run"
            )
        paths, hashes, thumbnails = data.shown("valid", "test")
        return self.lineage.meet(hashes, thumbnails, split).settle(
            paths,
            "start from a run that was trained on this very split, or leave --init-from out",
            allow_leakage=allow_leakage,
            note=say,
        )


def reopen_parent(run: Run) -> WarmStart | None:
    """Read the parent again for a run that stopped before its first checkpoint; None where it has no parent.

    Raises:
        RunError: the run's lineage is missing, or the parent is no longer there or another one by now.
    """
    lineage = Lineage.load(run.folder)
    if not run.parents:
        return None
    start = WarmStart.load(Path(run.parents[0].folder), run.config.network)
    if start.lineage.ancestors[0] not in lineage.ancestors:
        raise RunError(
            f"the run {start.parent.folder} is not the one that {run.folder} was started from",
            remedy="start another run with --out",
        )
    return start


def refuse_other_network(parent: Run, network: NetworkConfig) -> None:
    """Raise ``RunError`` where the settings that decide what the weights mean differ, naming them."""
    there = parent.config.network
    names = ["image_size", "channels", "features"] if ARCHITECTURES[network.name].fixed_size else ["channels"]
    differing = [name for name in names if getattr(there, name) != getattr(network, name)]
    if there.name != network.name:
        differing = ["name"]
    if differing:
        wanted = " ".join(f"--set network.{name}={getattr(there, name)}" for name in differing)
        raise RunError(
            f"the weights of run {parent.folder} do not fit the network to be trained",
            got="; ".join(
                f"network.{name} is {getattr(there, name)} there and {getattr(network, name)} here"
                for name in differing
            ),
            remedy=f"train with its settings: {wanted}",
        )


def _last_layer(config: NetworkConfig, classes: int) -> frozenset[str]:
    """Names of the tensors whose shape depends on the number of classes."""
    with torch.device("meta"):
        one, other = (build_network(config, count).state_dict() for count in (classes, classes + 1))
    return frozenset(name for name in one if one[name].shape != other[name].shape)
