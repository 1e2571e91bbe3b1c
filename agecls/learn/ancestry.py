"""The runs of a lineage, what an image was to them, and how several such records become one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from agecls.data.spectrum import HASH_BYTES, Hashes
from agecls.errors import RunError

DIGEST_BYTES: Final = 16
"""Bytes kept of each sha256: among a million images two share them with a chance of 1e-27."""

Digests = npt.NDArray[np.void]
Seen = tuple[Sequence[str], Hashes]
"""Hexadecimal sha256 sums of N images, and their perceptual hashes, uint8, shape (N, 22)."""

NOTHING: Final[Seen] = ((), np.empty((0, HASH_BYTES), dtype=np.uint8))


@dataclass(frozen=True, order=True)
class Ancestor:
    """One run of a lineage.

    Attributes:
        name: of its folder when it was trained.
        split: fingerprint of what it was trained on.
        key: made of all it has itself seen, so that runs of one name are told apart.
    """

    name: str
    split: str
    key: str


@dataclass(frozen=True)
class Role:
    """What an image was to the runs of a lineage.

    Attributes:
        fitted: numbers of the ancestors that were fitted on it.
        selected: numbers of the ancestors that were selected on it, with the reason.
    """

    fitted: frozenset[int] = frozenset()
    selected: frozenset[tuple[int, str]] = frozenset()

    def __or__(self, other: "Role") -> "Role":
        return Role(self.fitted | other.fitted, self.selected | other.selected)

    def renumbered(self, numbers: Sequence[int]) -> "Role":
        """The same with ancestor n called ``numbers[n]``."""
        selected = frozenset((numbers[number], reason) for number, reason in self.selected)
        return Role(frozenset(numbers[number] for number in self.fitted), selected)


Layer = tuple[Digests, Hashes, npt.NDArray[np.uint16], Sequence[Role]]
"""Digests ascending, none twice; looks; roles of each, as index into the last."""


def merge_layers(
    layers: Iterable[Layer],
) -> tuple[tuple[Role, ...], Digests, Hashes, npt.NDArray[np.uint16]]:
    """Every image of some layers once, with all it was in any of them: table of roles, digests, looks, roles.

    Raises:
        RunError: more roles than two bytes can number.
    """
    layers = list(layers)
    digests, first = np.unique(np.concatenate([layer[0] for layer in layers]), return_index=True)
    looks = np.concatenate([layer[1] for layer in layers])[first]
    table, roles = [Role()], np.zeros(len(digests), np.int64)
    for known, _, theirs, names in layers:
        place = np.searchsorted(digests, known)
        pairs, pair = np.unique(np.stack([roles[place], theirs.astype(np.int64)]), axis=1, return_inverse=True)
        united = [table[ours] | names[other] for ours, other in pairs.T]
        table = list(dict.fromkeys([*table, *united]))
        numbers = {role: number for number, role in enumerate(table)}
        roles[place] = np.array([numbers[role] for role in united], np.int64)[pair.reshape(-1)]
    used = sorted({table[number] for number in np.unique(roles)}, key=lambda r: (sorted(r.fitted), sorted(r.selected)))
    if len(used) > np.iinfo(np.uint16).max:
        raise RunError(
            "a lineage of so many runs cannot be kept", got=f"{len(used)} roles", remedy="start from an earlier run"
        )
    final = np.array([used.index(role) if role in used else 0 for role in table], np.uint16)
    return tuple(used), digests, looks, final[roles]


def sort_seen(seen: Seen) -> tuple[Digests, Hashes]:
    """Digests ascending, none twice, and their looks."""
    digests, first = np.unique(pack_digests(seen[0]), return_index=True)
    return digests, seen[1][first]


def pack_digests(hashes: Sequence[str]) -> Digests:
    """First 16 bytes of hexadecimal sha256 sums, shape (N,)."""
    whole = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(-1, 32)
    return np.ascontiguousarray(whole[:, :DIGEST_BYTES]).view(f"V{DIGEST_BYTES}").reshape(-1)
