"""What twins are found by: a thumbnail of each image, and a hash of its decoded pixels."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from agecls.data.cache import Making, hold, keep
from agecls.data.faces import Faces
from agecls.data.pixels import open_image
from agecls.data.spectrum import SIDE, Hashes, Thumbnails, perceptual_hashes

_THUMBNAIL: Final = SIDE * SIDE
LOOK_BYTES: Final = _THUMBNAIL + 32
"""A thumbnail of 64 x 64 bytes, then the sha256 of the decoded pixels."""


@dataclass(frozen=True)
class Looks:
    """Looks of the images of a set, each content once.

    Attributes:
        hashes: sha256 of each image's file, sorted, length U.
        packed: uint8, shape (U, 4128): see ``LOOK_BYTES``.
    """

    hashes: npt.NDArray[np.str_]
    packed: npt.NDArray[np.uint8]

    @property
    def thumbnails(self) -> Thumbnails:
        """The whole image in grey, scaled to 64 x 64 whatever its shape: uint8, shape (U, 64, 64)."""
        return self.packed[:, :_THUMBNAIL].reshape(-1, SIDE, SIDE)

    @property
    def pixels(self) -> list[str]:
        """A hexadecimal hash of each image's decoded RGB pixels and size, length U."""
        return [row.tobytes().hex() for row in self.packed[:, _THUMBNAIL:]]

    def rows(self, hashes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row of each content hash, shape as ``hashes``."""
        return np.searchsorted(self.hashes, np.asarray(hashes, dtype=self.hashes.dtype)).astype(np.int64)

    def perceptual(self, hashes: Sequence[str]) -> Hashes:
        """Perceptual hash of the images of ``hashes``, uint8, shape (N, 22)."""
        return perceptual_hashes(self.thumbnails[self.rows(hashes)])


def look(content: bytes) -> npt.NDArray[np.uint8]:
    """Look at an image file.

    Returns:
        uint8, shape (4128,): see ``LOOK_BYTES``.

    Raises:
        DataError: empty, truncated, or not an image that Pillow can read.
    """
    image = open_image(content).convert("RGB")
    thumbnail = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=3.0))
    digest = hashlib.sha256(f"{image.size}:".encode() + image.tobytes()).digest()
    return np.concatenate([thumbnail.reshape(-1), np.frombuffer(digest, dtype=np.uint8)])


_LOOK: Final = Making("look", (LOOK_BYTES,), look)


def look_at(faces: Faces, roots: Mapping[str, Path]) -> Looks:
    """Looks of ``faces``, made now only if no one has looked at this set before.

    Raises:
        DataError: an image is missing, damaged, or not the one that was split; or the disk has no room.
    """
    held = hold(faces, roots, _LOOK)
    return Looks(held.hashes, held.images)


def keep_looks(hashes: Sequence[str], packed: npt.NDArray[np.uint8]) -> Looks:
    """Remember looks taken elsewhere, so that ``look_at`` finds them.

    Args:
        hashes: sha256 of each image, length N; equal ones have equal looks.
        packed: uint8, shape (N, 4128).
    """
    unique, first = np.unique(np.asarray(hashes, dtype="U64"), return_index=True)
    looks = Looks(unique, packed[first])
    keep(unique, looks.packed, _LOOK)
    return looks
