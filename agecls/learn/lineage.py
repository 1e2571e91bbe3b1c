"""Which images a run has seen, by content: those it was fitted on and those it was selected on."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from agecls.errors import LeakageError, RunError
from agecls.files import write_whole

FILE: Final = "lineage.npz"

Digests = npt.NDArray[np.void]


@dataclass(frozen=True)
class Lineage:
    """Content hashes of the images a run has seen.

    Attributes:
        fitted: images whose pixels moved the weights, shape (F,), 32 bytes each, sorted.
        selected: images on which an epoch was chosen (early stopping, best checkpoint), shape (S,), sorted.
    """

    fitted: Digests
    selected: Digests

    @classmethod
    def of(cls, fitted: Sequence[str], selected: Sequence[str]) -> "Lineage":
        """Make one from hexadecimal sha256 sums."""
        return cls(_pack(fitted), _pack(selected))

    def save(self, folder: Path) -> None:
        """Write ``lineage.npz`` into a run's folder, atomically."""
        buffer = io.BytesIO()
        plain = {name: _bytes(getattr(self, name)) for name in ("fitted", "selected")}
        np.savez(buffer, allow_pickle=False, fitted=plain["fitted"], selected=plain["selected"])
        write_whole(folder / FILE, buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> "Lineage":
        """Read a run's lineage.

        Raises:
            RunError: it is missing or damaged; without it no leak can be excluded.
        """
        try:
            # Read first: a damaged archive would leave its file open.
            with np.load(io.BytesIO((folder / FILE).read_bytes()), allow_pickle=False) as content:
                return cls(_unpack(content["fitted"]), _unpack(content["selected"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(
                f"run {folder} has no readable {FILE}",
                got=type(error).__name__,
                remedy="restore it: without it agecls cannot tell which images the run has seen",
            ) from None

    def seen(self, hashes: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which of ``hashes`` the run was fitted on, shape as ``hashes``."""
        return np.isin(_pack(hashes, unique=False), self.fitted)

    def refuse_fitted(self, run: str, paths: Sequence[str], hashes: Sequence[str]) -> None:
        """Raise ``LeakageError`` where any image to be scored is one the run was fitted on, by content."""
        seen = np.flatnonzero(self.seen(hashes))
        if len(seen):
            raise LeakageError(
                f"{len(seen)} of {len(hashes)} images to be scored are images that run {run} was fitted on",
                got=", ".join(paths[row] for row in seen[:3]),
                remedy="score images the run has not seen, such as --part test of its own split",
            )


def _pack(hashes: Sequence[str], *, unique: bool = True) -> Digests:
    raw = np.frombuffer(bytes.fromhex("".join(hashes)), dtype="V32")
    return np.unique(raw) if unique else raw


def _bytes(digests: Digests) -> npt.NDArray[np.uint8]:
    return np.frombuffer(digests.tobytes(), dtype=np.uint8).reshape(-1, 32)


def _unpack(raw: npt.NDArray[np.uint8]) -> Digests:
    if raw.dtype != np.uint8 or raw.ndim != 2 or raw.shape[1] != 32:
        raise ValueError("not a table of 32-byte hashes")
    return np.frombuffer(raw.tobytes(), dtype="V32")
