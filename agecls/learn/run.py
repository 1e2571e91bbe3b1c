"""A run: a directory with weights, settings, lineage and metrics, from which predictions can be made."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from agecls import __version__
from agecls.bins import Bins
from agecls.config import Config, parse_config
from agecls.errors import AgeclsError, RunError
from agecls.files import write_whole
from agecls.labels import TrainTask
from agecls.learn.chain import Chain, flat_folder
from agecls.learn.decoding import AsClassifier
from agecls.learn.inference import as_asked
from agecls.learn.networks import build_network
from agecls.learn.networks.network import Network, present_name
from agecls.learn.remembered import Precision
from agecls.learn.run_record import (
    DAMAGED,
    MADE_HERE,
    RECORD,
    SCHEMA,
    WEIGHTS,
    Parent,
    Preprocessing,
    TrainedOn,
    class_names,
    read_batches,
    read_record,
    software_versions,
)
from agecls.learn.targets import Target, find_targets, gender_slice, is_plain, shared_rows, total_width


@dataclass(frozen=True)
class Run:
    """A trained network and everything needed to use and to judge it.

    Attributes:
        folder: where it lies.
        task: what it predicts.
        classes: names of the classes it is scored in; empty for several tasks, whose ``targets`` have their own.
        bins: age bins of the training.
        config: settings of the training.
        preprocessing: how images are prepared.
        precision: what it was trained in, and predicts in on the same kind of device.
        split: what it was trained on.
        metrics: of its best epoch, on valid.
        status: ``training``, ``interrupted`` or ``finished``.
        leaked: whether it or an ancestor was trained past a leakage guard.
        leaked_count: the most images that leaked at any one step of its making, its ancestors' steps included.
        parents: runs it was warm-started from.
        only: what its images were limited to, such as ``{"gender": "male"}``; empty for all images of the split.
        held_out: which groups of train it was not fitted on, as ``datamodule.name_groups`` says; "" for none.
        weights: what it took of a file, or of published weights, as ``weights.WeightReport`` says; empty for none.
        batches: ``batch_size`` and ``accumulate`` where it was trained with others than its settings say, because they
            were left to the machine or memory ran out; empty otherwise.
        chain: how it routes, where it is a hierarchy: a run whose weights are those of its members.

    Raises:
        RunError: classes and bins disagree, or leaked images are counted while ``leaked`` is False.
    """

    folder: Path
    task: TrainTask
    classes: tuple[str, ...]
    bins: Bins
    config: Config
    preprocessing: Preprocessing
    precision: Precision
    split: TrainedOn
    metrics: Mapping[str, Any] = field(default_factory=dict)
    status: str = "training"
    leaked: bool = False
    leaked_count: int = 0
    parents: tuple[Parent, ...] = ()
    only: Mapping[str, str] = field(default_factory=dict)
    held_out: str = ""
    weights: Mapping[str, Any] = field(default_factory=dict)
    batches: Mapping[str, int] = field(default_factory=dict)
    chain: Chain | None = None

    def __post_init__(self) -> None:
        if self.classes != class_names(self.task, self.bins):
            raise RunError(
                f"run {self.folder} has classes that are not those of its bins",
                got=f"{', '.join(self.classes)} with bins {self.bins.text}",
                remedy=DAMAGED,
            )
        if self.leaked_count and not self.leaked:
            raise RunError(
                f"run {self.folder} counts leaked images and is not marked as leaked",
                got=f"leaked_count {self.leaked_count}",
                remedy=DAMAGED,
            )

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def targets(self) -> tuple[Target, ...]:
        """What its network answers, in the order of the outputs."""
        return find_targets(self.task, self.bins, self.config.targets)

    @property
    def trained_with(self) -> Config:
        """Its settings, with the batches that it was trained with."""
        return self.config.model_copy(update={"train": self.config.train.model_copy(update=dict(self.batches))})

    def save(self) -> None:
        """Write ``run.json``, atomically."""
        record = {
            "schema": SCHEMA,
            "task": self.task,
            "classes": list(self.classes),
            **({} if is_plain(self.targets) else {"targets": _told(self.targets)}),
            "bins": self.bins.to_json(),
            "config": self.config.model_dump(mode="json"),
            "preprocessing": asdict(self.preprocessing),
            "precision": self.precision,
            "split": asdict(self.split),
            "only": dict(self.only),
            **({"held_out": self.held_out} if self.held_out else {}),
            **({"weights": dict(self.weights)} if self.weights else {}),
            **({"batches": dict(self.batches)} if self.batches else {}),
            "parents": [asdict(parent) for parent in self.parents],
            "metrics": dict(self.metrics),
            "status": self.status,
            "leaked": self.leaked,
            "leaked_count": self.leaked_count,
            **({"hierarchy": self.chain.to_json()} if self.chain else {}),
            "software": software_versions(),
        }
        write_whole(self.folder / RECORD, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())

    def save_weights(self, network: nn.Module) -> None:
        """Write ``model.safetensors``, atomically."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        write_whole(self.folder / WEIGHTS, save_tensors(tensors, {"format": "pt", MADE_HERE: __version__}))

    @classmethod
    def load(cls, folder: Path) -> "Run":
        """Read a run's record; the weights are read by ``network``.

        Raises:
            RunError: there is no run, or its record is damaged.
        """
        record = read_record(folder)
        try:
            if record["task"] not in get_args(TrainTask):
                raise RunError(f"run {folder} has an unknown task", got=repr(record["task"]), remedy=DAMAGED)
            run = cls(
                folder=folder,
                task=record["task"],
                classes=tuple(record["classes"]),
                bins=Bins.from_names(record["bins"]["names"], gaps=record["bins"]["gaps"]),
                config=parse_config(record["config"]),
                preprocessing=Preprocessing(**record["preprocessing"]),
                precision=record["precision"],
                split=TrainedOn(**{**record["split"], "roots": tuple(record["split"]["roots"])}),
                metrics=record["metrics"],
                status=record["status"],
                leaked=bool(record["leaked"]),
                leaked_count=int(record["leaked_count"]),
                parents=tuple(Parent(**parent) for parent in record["parents"]),
                only=dict(record["only"]),
                held_out=str(record.get("held_out", "")),
                weights=dict(record.get("weights", {})),
                batches=read_batches(record),
                chain=Chain.from_json(record["hierarchy"]) if "hierarchy" in record else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"{folder / RECORD} is damaged", got=f"{type(error).__name__} {error}", remedy=DAMAGED
            ) from None
        except AgeclsError as error:
            raise RunError(f"{folder / RECORD} is damaged", got=str(error), remedy=DAMAGED) from None
        # Records from before there were targets, and those of one classification, have none.
        if record.get("targets", _told(run.targets)) != _told(run.targets):
            raise RunError(
                f"{folder / RECORD} is damaged", got="targets that are not those of its settings", remedy=DAMAGED
            )
        return run

    def tensors(self) -> dict[str, Tensor]:
        """Read the run's weights.

        Raises:
            RunError: they are missing or damaged.
        """
        if self.chain:
            raise RunError(
                f"run {self.folder} is a hierarchy and has no weights of its own",
                remedy=f"name one of its members, such as {self.folder / flat_folder()}",
            )
        path = self.folder / WEIGHTS
        try:
            return {present_name(name): tensor for name, tensor in load_tensors(path.read_bytes()).items()}
        except FileNotFoundError:
            raise RunError(
                f"run {self.folder} has no weights yet",
                got=f"status {self.status}",
                remedy="wait for its first epoch, or train it again",
            ) from None
        except (OSError, SafetensorError, struct.error, ValueError) as error:
            raise RunError(f"cannot read {path}", got=str(error).splitlines()[0], remedy=DAMAGED) from None

    def network(self) -> Network:
        """Build the network with the run's weights, ready for prediction.

        Raises:
            RunError: the weights are missing, damaged or of another network.
        """
        tensors = self.tensors()
        network = build_network(
            self.config.network,
            total_width(self.targets),
            shared_rows(self.targets),
            gender_slice(self.targets),
            self.targets[0].width,
        )
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip()
            raise RunError(
                f"{self.folder / WEIGHTS} holds the weights of another network", got=first, remedy=DAMAGED
            ) from None
        return network.to(memory_format=torch.channels_last).eval()

    def answering(self) -> nn.Module:
        """The network as the run's settings have it asked for predictions; raises what ``network`` does."""
        return as_asked(self.network(), self.config.predict, self.targets)

    def classifying(self) -> nn.Module:
        """The same, with answers that are logits of the run's classes.

        Raises:
            RunError: as ``network``, or the run has several tasks, or gives years without probabilities.
        """
        if len(self.targets) > 1 or self.targets[0].kind == "years":
            raise RunError(f"run {self.folder} of task {self.task} is no single classifier")
        network = self.answering()
        return network if is_plain(self.targets) else AsClassifier(network, self.targets[0])


def _told(targets: Sequence[Target]) -> list[dict[str, Any]]:
    return [target.to_json() for target in targets]
