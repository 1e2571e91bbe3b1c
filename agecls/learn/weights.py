"""Weights from elsewhere: a file of tensors, or published ImageNet weights, put into a backbone.

What such weights were fitted on is not known here, so no leakage guard covers them; runs of agecls are started from by
``--init-from``, which knows.
"""

import hashlib
import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from agecls.errors import RunError
from agecls.learn.networks.network import Network, present_name
from agecls.learn.run_record import MADE_HERE, RECORD

WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which checkpoints keep their tensors."""

PREFIXES: Final = ("module.", "model.", "backbone.", "network.", "encoder.")
"""What wrappers put before the names of tensors."""

TRAILING: Final = 4
"""Tensors of a classifier that may follow those of the backbone where tensors are matched by their order."""

NAMED: Final = 6
"""Names that are listed of a longer list."""


@dataclass(frozen=True)
class Weights:
    """Tensors from elsewhere.

    Attributes:
        file: what they were read from, for the record.
        sha256: of that file; empty where there is none.
        tensors: by name.
        ordered: whether they come in the order of the network they were saved from; safetensors sorts them.
    """

    file: str
    sha256: str
    tensors: Mapping[str, Tensor]
    ordered: bool = True


@dataclass(frozen=True)
class WeightReport:
    """What became of weights from elsewhere; counters of batch norms are not counted.

    Attributes:
        file: what they were read from.
        sha256: of that file.
        matched: tensors of the backbone that were taken.
        by: ``name``, or ``order`` where no names agree and every shape does.
        missing: tensors of the backbone that the file has not, or not in their shape; they start fresh.
        unexpected: tensors of the file that the backbone has no place for, such as a classifier.
        shapes: tensors of both, of another shape: ``name: (theirs) there, (ours) here``.
        adapted: tensors that were fitted, such as a first layer summed over colour.
    """

    file: str
    sha256: str
    matched: int
    by: str
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: tuple[str, ...]
    adapted: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{self.matched} of {self.matched + len(self.missing)} tensors of the backbone taken from {self.file}"]
        if self.by == "order":
            parts.append("by their order, as the names differ")
        if self.adapted:
            parts.append(f"fitted: {_list(self.adapted)}")
        parts += [f"other shapes: {_list(self.shapes)}"] if self.shapes else []
        parts.append(f"fresh: {_list(self.missing) if self.missing else 'none'}, and the head")
        parts += [f"not taken: {_list(self.unexpected)}"] if self.unexpected else []
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """What the record of the run keeps."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def read_weights(path: Path) -> Weights:
    """Read a file of tensors; nothing in it is executed.

    Raises:
        RunError: it cannot be read, holds something else than tensors, or is of a run.
    """
    if (path.parent / RECORD).is_file():
        raise _of_a_run(path, f" {path.parent}")
    tensors, made_here = (_read_safetensors if path.suffix == ".safetensors" else _read_torch)(path)
    if not tensors:
        raise RunError(f"{path} holds no tensors", remedy="name a state dict: tensors by name")
    if made_here or _of_our_names(tensors):
        raise _of_a_run(path)
    tensors = _without_prefix(tensors)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Weights(str(path.absolute()), digest, tensors, ordered=path.suffix != ".safetensors")


def load_weights(network: Network, weights: Weights, say: Callable[[str], None] = lambda _: None) -> WeightReport:
    """Put tensors into a network's backbone, by name, or by order where that fits better and fits wholly.

    By order, each shape has to fit, and the last part of each name, such as ``bias``, has to be the same.

    A first layer of three colours is summed for grey, and one of grey is shared out over three colours; the published
    tensor of a fully connected layer becomes that of the same convolution.

    Args:
        network: freshly built; its head stays as it is.
        weights: what to take.
        say: told the report.

    Raises:
        RunError: nothing fits.
    """
    body = network.backbone.body
    ours = _counted(body.state_dict())
    theirs = _counted(weights.tensors)
    pairs, by = {name: name for name in ours if name in theirs}, "name"
    in_order = dict(zip(ours, theirs, strict=False))
    if (
        weights.ordered
        and _fits_in_order(ours, theirs)
        and any(pairs.get(name) != other for name, other in in_order.items())
    ):
        pairs, by = in_order, "order"
    taken = {name: fit(theirs[other], ours[name].shape) for name, other in pairs.items()}
    filled = {name: tensor for name, tensor in taken.items() if tensor is not None}
    report = WeightReport(
        file=weights.file,
        sha256=weights.sha256,
        matched=len(filled),
        by=by,
        missing=tuple(name for name in ours if name not in filled),
        unexpected=tuple(name for name in theirs if name not in pairs.values()),
        shapes=tuple(
            f"{name}: {tuple(theirs[pairs[name]].shape)} there, {tuple(ours[name].shape)} here"
            for name, tensor in taken.items()
            if tensor is None
        ),
        adapted=tuple(name for name in filled if theirs[pairs[name]].shape != ours[name].shape),
    )
    if not filled:
        raise RunError(
            f"no tensor of {weights.file} fits the network",
            got=f"{_list(report.shapes or tuple(theirs))}; the network has {_list(tuple(ours))}",
            remedy="name the network the weights are of: --set network.name=NAME (agecls models lists them)",
        )
    body.load_state_dict(filled, strict=False)
    say(f"weights    {report}")
    say("           what they were fitted on is not known here: no guard tells whether it was images of valid or test")
    return report


def fit(tensor: Tensor, shape: torch.Size) -> Tensor | None:
    """A tensor in the shape that is asked for; None where it does not fit."""
    theirs = tensor.shape
    if theirs == shape:
        return tensor
    if len(theirs) == len(shape) == 4 and (theirs[0], *theirs[2:]) == (shape[0], *shape[2:]):
        match theirs[1], shape[1]:
            case 3, 1:
                return tensor.sum(dim=1, keepdim=True)
            case 1, 3:
                return tensor.expand(shape) / 3
            case _:
                return None
    # A fully connected layer is a convolution over all of its input.
    same = sorted((len(theirs), len(shape))) == [2, 4] and theirs[0] == shape[0] and tensor.numel() == math.prod(shape)
    return tensor.reshape(shape) if same else None


def _fits_in_order(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    if not 0 <= len(theirs) - len(ours) <= TRAILING:
        return False
    return all(
        fit(theirs[other], ours[our].shape) is not None and our.rpartition(".")[2] == other.rpartition(".")[2]
        for our, other in zip(ours, theirs, strict=False)
    )


def _counted(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but the counters of batch norms: older files have none, and nothing here reads them."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], bool]:
    try:
        with safe_open(path, framework="pt") as file:
            made_here = (file.metadata() or {}).get(MADE_HERE) is not None
            return {name: file.get_tensor(name) for name in file.keys()}, made_here  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, ValueError) as error:
        raise _unreadable(path, error) from None


def _read_torch(path: Path) -> tuple[dict[str, Tensor], bool]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RunError(
            f"{path} holds more than tensors",
            got="objects that only running code from the file could restore, or no PyTorch file at all",
            remedy="save the state dict alone, best as safetensors",
        ) from None
    except Exception as error:  # a damaged file may raise anything
        raise _unreadable(path, error) from None
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    found = dict(_tensors(content))
    return found, False


def _tensors(content: object) -> Iterator[tuple[str, Tensor]]:
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(name, str) and isinstance(value, Tensor):
            yield name, value


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without what a wrapper put before every one of them."""
    while prefix := next((each for each in PREFIXES if all(name.startswith(each) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _of_our_names(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of a run of today, or of one from before there were backbones and heads."""
    names = {present_name(name.removeprefix("network.")) for name in tensors}
    return "head.output.weight" in names and any(name.startswith("backbone.") for name in names)


def _of_a_run(path: Path, folder: str = "") -> RunError:
    return RunError(
        f"{path} holds weights of an agecls run",
        got="a run has lineage, which a file of tensors has not",
        remedy=f"start from the run{folder} with --init-from, which refuses what would leak",
    )


def _unreadable(path: Path, error: Exception) -> RunError:
    if isinstance(error, FileNotFoundError):
        return RunError(f"there is no file {path}", remedy="name the state dict to start from with --weights FILE")
    got = (str(error).splitlines() or [type(error).__name__])[0]
    return RunError(
        f"cannot read weights from {path}", got=got, remedy="name a safetensors file or a PyTorch state dict"
    )


def _list(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
