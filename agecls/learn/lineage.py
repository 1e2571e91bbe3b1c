"""Which images a run and all its ancestors have seen: those they were fitted on and those they were selected on."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agecls.data.spectrum import HASH_BYTES, Hashes, Thumbnails
from agecls.errors import RunError
from agecls.files import write_whole
from agecls.learn.alike import find_alike
from agecls.learn.ancestry import (
    DIGEST_BYTES,
    NOTHING,
    Ancestor,
    Digests,
    Role,
    Seen,
    merge_layers,
    pack_digests,
    sort_seen,
)
from agecls.learn.meeting import Meeting, Share

FILE: Final = "lineage.npz"


@dataclass(frozen=True, eq=False)
class Lineage:
    """Each image that a run or an ancestor has seen, once.

    Attributes:
        ancestors: the run itself, then its ancestors in the order of their names.
        table: the roles that occur.
        digests: first 16 bytes of each sha256, void, shape (U,), ascending, none twice.
        looks: perceptual hashes, uint8, shape (U, 22).
        roles: index into ``table``, uint16, shape (U,).
    """

    ancestors: tuple[Ancestor, ...]
    table: tuple[Role, ...]
    digests: Digests
    looks: Hashes
    roles: npt.NDArray[np.uint16]

    @classmethod
    def of(
        cls,
        name: str,
        split: str,
        *,
        fitted: Seen = NOTHING,
        selected: Seen = NOTHING,
        reason: str = "early stopping",
        parents: Sequence["Lineage"] = (),
    ) -> "Lineage":
        """Make the lineage of a run from what it has seen itself and from its parents.

        Args:
            name: of the run's folder.
            split: fingerprint of what it was trained on.
            fitted: images whose pixels moved its weights.
            selected: images by which something of it was chosen.
            reason: what was chosen by them, in words.
            parents: lineages of the runs it was made from, in any order.
        """
        own = [sort_seen(fitted), sort_seen(selected)]
        told = json.dumps([name, split, reason]).encode() + b"".join(digests.tobytes() + b"/" for digests, _ in own)
        itself = Ancestor(name, split, hashlib.sha256(told).hexdigest()[:32])
        parents = sorted(parents, key=lambda parent: parent.ancestors[0])
        older = sorted({each for parent in parents for each in parent.ancestors} - {itself})
        ancestors = (itself, *older)
        number = {ancestor: place for place, ancestor in enumerate(ancestors)}
        layers = [
            (*own[0], np.zeros(len(own[0][0]), np.uint16), [Role(fitted=frozenset({0}))]),
            (*own[1], np.zeros(len(own[1][0]), np.uint16), [Role(selected=frozenset({(0, reason)}))]),
        ]
        for parent in parents:
            numbers = [number[ancestor] for ancestor in parent.ancestors]
            table = [role.renumbered(numbers) for role in parent.table]
            layers.append((parent.digests, parent.looks, parent.roles, table))
        return cls(ancestors, *merge_layers(layers))

    def meet(self, hashes: Sequence[str], thumbnails: Thumbnails, split: str = "") -> Meeting:
        """Compare images with all that the run and its ancestors have seen.

        Args:
            hashes: hexadecimal sha256 of each image, length N.
            thumbnails: uint8, shape (N, 64, 64).
            split: fingerprint of the split that the images are a part of; "" for those of a folder.
        """
        row = self._rows(hashes)
        exact = self._where(row, np.array([bool(role.fitted) for role in self.table]))
        selected = self._where(row, np.array([bool(role.selected) for role in self.table]))
        compared = [number for number, ancestor in enumerate(self.ancestors) if not split or ancestor.split != split]
        twin = self._twins(thumbnails, ~exact, compared)
        everyone = range(len(self.ancestors))
        fitters = [self._fitted_by(number, row[exact]) for number in everyone]
        for number in compared:
            fitters[number] += self._fitted_by(number, twin[twin >= 0])
        return Meeting(
            self.ancestors[0].name,
            exact,
            twin >= 0,
            selected,
            _shares((self.ancestors[number].name, count, "") for number, count in enumerate(fitters)),
            self.selectors_of(hashes),
        )

    def selectors_of(self, hashes: Sequence[str]) -> tuple[Share, ...]:
        """Runs that were selected on any of these images, by content, most images first."""
        row = self._rows(hashes)
        row = row[row >= 0]
        return _shares(
            (self.ancestors[number].name, self._selected_by((number, reason), row), reason)
            for number, reason in sorted({each for role in self.table for each in role.selected})
        )

    def _twins(
        self, thumbnails: Thumbnails, asked: npt.NDArray[np.bool_], ancestors: Sequence[int]
    ) -> npt.NDArray[np.int64]:
        """Row of the near twin of each image among those that some ancestors were fitted on, shape (N,), or -1.

        Images of one split have been compared on pixels when it was frozen, which no hash does as well. So an ancestor
        trained on the very split that is scored is left out of ``ancestors``: here a hash could only raise false alarm.
        """
        twin = np.full(len(asked), -1, dtype=np.int64)
        fitted = np.array([not role.fitted.isdisjoint(ancestors) for role in self.table], dtype=np.bool_)
        if not fitted.any():
            return twin
        candidates = np.flatnonzero(fitted[self.roles])
        found = find_alike(self.looks[candidates], thumbnails[asked])
        twin[asked] = np.where(found >= 0, candidates[found], -1)
        return twin

    def _rows(self, hashes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row of each image, shape (N,); -1 where it was never seen."""
        asked = pack_digests(hashes)
        if not len(self.digests):
            return np.full(len(asked), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.digests, asked), len(self.digests) - 1).astype(np.int64)
        return np.where(self.digests[place] == asked, place, -1)

    def _where(self, row: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        known = row >= 0
        known[known] = chosen[self.roles[row[known]]]
        return known

    def _fitted_by(self, number: int, rows: npt.NDArray[np.int64]) -> int:
        return int(np.array([number in role.fitted for role in self.table], np.bool_)[self.roles[rows]].sum())

    def _selected_by(self, selector: tuple[int, str], rows: npt.NDArray[np.int64]) -> int:
        return int(np.array([selector in role.selected for role in self.table], np.bool_)[self.roles[rows]].sum())

    def save(self, folder: Path) -> None:
        """Write ``lineage.npz`` into a run's folder, atomically: at most 40 bytes an image."""
        self.write(folder / FILE)

    def write(self, path: Path) -> None:
        """Write it into a file, atomically."""
        told = {
            "ancestors": [asdict(ancestor) for ancestor in self.ancestors],
            "combinations": [
                {"fitted": sorted(role.fitted), "selected": sorted(map(list, role.selected))} for role in self.table
            ],
        }
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            allow_pickle=False,
            digests=np.frombuffer(self.digests.tobytes(), np.uint8).reshape(-1, DIGEST_BYTES),
            looks=self.looks,
            roles=self.roles,
            told=np.frombuffer(json.dumps(told, ensure_ascii=True).encode(), np.uint8),
        )
        write_whole(path, buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> "Lineage":
        """Read a run's lineage.

        Raises:
            RunError: it is missing or damaged; without it no leak can be excluded.
        """
        return cls.read(folder / FILE, f"run {folder}")

    @classmethod
    def read(cls, path: Path, owner: str) -> "Lineage":
        """Read the lineage of ``owner``, such as ``run runs/age``, from a file.

        Raises:
            RunError: it is missing or damaged.
        """
        try:
            # Read first: a damaged archive would leave its file open.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
                return _unpack(content)
        # Damage shows in any way at all: NumPy reads a header as Python text, down to its tokenizer's own errors.
        except Exception as error:
            raise RunError(
                f"{owner} has no readable {path.name}",
                got=type(error).__name__,
                remedy="restore it: without it agecls cannot tell which images it has seen",
            ) from None


def _unpack(content: Mapping[str, Any]) -> Lineage:
    digests, looks, roles = content["digests"], content["looks"], content["roles"]
    told = json.loads(content["told"].tobytes())
    ancestors = tuple(Ancestor(**each) for each in told["ancestors"])
    table = tuple(
        Role(frozenset(each["fitted"]), frozenset((number, reason) for number, reason in each["selected"]))
        for each in told["combinations"]
    )
    rows = len(digests)
    for values, shape, kind in (
        (digests, (rows, DIGEST_BYTES), np.uint8), (looks, (rows, HASH_BYTES), np.uint8), (roles, (rows,), np.uint16)
    ):  # fmt: skip
        if values.shape != shape or values.dtype != kind:
            raise ValueError("a table of another shape")
    numbers = {n for role in table for n in (*role.fitted, *(each for each, _ in role.selected))}
    if not ancestors or not numbers <= set(range(len(ancestors))) or (rows and int(roles.max()) >= len(table)):
        raise ValueError("roles of no one")
    high, low = digests.view(">u8").T.astype(np.uint64) if rows else np.zeros((2, 0), np.uint64)
    if not ((high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))).all():
        raise ValueError("hashes out of order")
    return Lineage(ancestors, table, digests.view(f"V{DIGEST_BYTES}").reshape(-1), looks, roles)


def _shares(told: Iterable[tuple[str, int, str]]) -> tuple[Share, ...]:
    return tuple(sorted((Share(*each) for each in told if each[1]), key=lambda s: (-s.count, s.run, s.reason)))
