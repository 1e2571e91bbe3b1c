"""What every member answers for every image of a part: one decode, and one pass of each network."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from agecls.bins import Bins
from agecls.config.loop import EVAL_BATCH
from agecls.data.cache import DecodedImages, decode_faces
from agecls.data.faces import Faces
from agecls.data.split import Part, Split
from agecls.errors import DataError
from agecls.hierarchy_config import ROUTINGS, Routing
from agecls.learn.chain import By, Chain, group_names, group_of
from agecls.learn.hierarchy import Loaded
from agecls.learn.inference import best_device, image_batches, predict_probabilities
from agecls.learn.routed import Member, join_groups, mix, weigh
from agecls.learn.run_record import Preprocessing
from agecls.progress import progress

_REPEATS: Final = 3
"""Times each network is timed; the median counts."""

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """Probabilities of all members for the labelled images of a part.

    Attributes:
        faces: the images, N of them.
        truth: bin of each, shape (N,).
        group: P(group | image), shape (N, G).
        true_group: number of the labelled group, shape (N,); -1 where a label is unknown.
        flat: of the flat model, shape (N, K).
        experts: of each expert by number of its group, shape (N, K) each.
    """

    faces: Faces
    truth: npt.NDArray[np.int64]
    group: Tensor
    true_group: npt.NDArray[np.int64]
    flat: Tensor
    experts: Mapping[int, Tensor]

    def weights(self, routing: Routing, threshold: float) -> Tensor:
        """Weight of each expert and of the flat model for each image, shape (N, G + 1)."""
        has_expert = torch.tensor([number in self.experts for number in range(self.group.shape[1])])
        truth = torch.from_numpy(self.true_group)
        return weigh(routing, self.group, has_expert, threshold=threshold, truth=truth)

    def routed(self, routing: Routing, threshold: float) -> Probabilities:
        """Probabilities of the hierarchy, shape (N, K)."""
        members = {**self.experts, self.group.shape[1]: self.flat}
        mixed = mix(self.weights(routing, threshold), lambda member, rows: members[member][rows])
        found: Probabilities = mixed.numpy()
        return found

    def to_flat(self, routing: Routing, threshold: float) -> npt.NDArray[np.bool_]:
        """Which images the flat model alone answers, shape (N,)."""
        answered: npt.NDArray[np.bool_] = (self.weights(routing, threshold)[:, -1] == 1).numpy()
        return answered


def ask_members(
    loaded: Loaded,
    by: tuple[By, ...],
    bins: Bins,
    split: Split,
    part: Part,
    roots: Mapping[str, Path],
    prepared: Preprocessing,
) -> Answers:
    """Show every image of a part that has an age label to every member, once.

    Raises:
        DataError: no image of the part has a label, or images are missing or changed.
    """
    whole = split.parts[part]
    known = whole.targets("age", bins) >= 0
    if not known.any():
        raise DataError(f"no image of {part} of {split.name} has a label among {', '.join(bins.names)}")
    faces = whole.select(known)
    decoded, rows = _decoded(split, faces, roots, prepared)
    device = best_device()
    total = len(faces) * (1 + len(loaded.routers) + len(loaded.experts))
    with progress(f"asking every member for {part}", total) as advance:

        def ask(member: Member) -> Tensor:
            batches = image_batches(decoded.images, rows, EVAL_BATCH)
            return torch.from_numpy(predict_probabilities(member, batches, "fp32", device, advance))

        names = group_names(by)
        return Answers(
            faces=faces,
            truth=faces.targets("age", bins),
            group=join_groups([ask(router) for router in loaded.routers]),
            true_group=group_of(faces, by),
            flat=ask(loaded.flat),
            experts={names.index(group): ask(expert) for group, expert in loaded.experts.items()},
        )


def time_members(
    loaded: Loaded, chain: Chain, split: Split, faces: Faces, roots: Mapping[str, Path], prepared: Preprocessing
) -> tuple[dict[tuple[str, str], float], dict[Routing, float]]:
    """Measure milliseconds an image, in batches of up to 256 on this machine, each network in turn.

    Returns:
        By role and name of each member, and by routing; the oracle takes as long as ``hard``, and is not timed.
    """
    decoded, rows = _decoded(split, faces, roots, prepared)
    rows = rows[:EVAL_BATCH]
    device = best_device()
    members: dict[tuple[str, str], nn.Module] = {("flat", ""): loaded.flat}
    members |= {("router", label): router for label, router in zip(chain.by, loaded.routers, strict=True)}
    members |= {("expert", group): expert for group, expert in loaded.experts.items()}
    routed: dict[Routing, nn.Module] = {name: loaded.routed(chain, name) for name in ROUTINGS if name != "oracle"}
    routed["flat"] = loaded.flat
    taken: dict[nn.Module, list[float]] = {}
    networks = [*members.values(), *(network for name, network in routed.items() if name != "flat")]
    with progress("timing", _REPEATS * len(networks)) as advance:
        for _ in range(_REPEATS):
            for network in networks:  # in turn, so that other work on the machine slows all of them alike
                start = time.perf_counter()
                predict_probabilities(network, image_batches(decoded.images, rows, EVAL_BATCH), "fp32", device)
                taken.setdefault(network, []).append(1000 * (time.perf_counter() - start) / len(rows))
                advance(1)
    of = {network: float(np.median(times)) for network, times in taken.items()}
    return {key: of[network] for key, network in members.items()}, {name: of[each] for name, each in routed.items()}


def count_parameters(network: nn.Module) -> int:
    """Number of trained values of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


def _decoded(
    split: Split, faces: Faces, roots: Mapping[str, Path], prepared: Preprocessing
) -> tuple[DecodedImages, npt.NDArray[np.int64]]:
    # Asked for all three parts at once, the decoded images are those of the training and need no decoding.
    decoded = decode_faces(split.everything, roots, prepared.image_size, prepared.channels)
    return decoded, decoded.rows(faces.table["sha256"].tolist())
