"""What an image looks like, in 88 numbers or 22 bytes: its low frequencies, whitened.

The cosine coefficients of a 64 x 64 grey thumbnail fall off with frequency, and what all aligned faces share sits in
the lowest. Multiplying each by its frequency evens them out, so that the angle between two of these vectors tells one
photograph from another rather than face from no face. Zooming in and mirroring are matrix products on the way, and
cost no second thumbnail. The signs alone, packed, are the perceptual hash kept in a run's lineage; compare Zauner,
"Implementation and benchmarking of perceptual image hash functions", 2010.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

SIDE: Final = 64
"""Side of a thumbnail in pixels."""

LENGTH: Final = 88
"""Coefficients by which candidates are found."""

BITS: Final = 176
"""Bits of a perceptual hash: the signs of so many coefficients."""

HASH_BYTES: Final = BITS // 8

_BLOCK: Final = 2048  # thumbnails of one product

Thumbnails = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint8]


def spectrum(
    thumbnails: Thumbnails, *, length: int = LENGTH, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0),
    mirrored: bool = False,
) -> Floats:  # fmt: skip
    """Low frequencies of each thumbnail, scaled to unit length.

    Args:
        thumbnails: uint8, shape (N, 64, 64).
        length: number of coefficients, lowest first, the mean left out.
        zoom: magnification about the centre before; below 1 the edge is repeated outwards.
        shift: how far the window moves down and right before, as a share of the side.
        mirrored: whether left and right change places before.

    Returns:
        float32, shape (N, length); zeros for a blank thumbnail.
    """
    down, across = _frequencies(length)
    rows = _basis(int(down.max()) + 1, zoom, shift[0])
    columns = _basis(int(across.max()) + 1, zoom, shift[1])
    found = np.empty((len(thumbnails), length), dtype=np.float32)
    weight = np.hypot(down, across)
    if mirrored:
        weight = weight * np.where(across % 2, -1, 1)

    def fill(start: int) -> None:
        block = thumbnails[start : start + _BLOCK].astype(np.float32)
        found[start : start + _BLOCK] = (rows @ block @ columns.T)[:, down, across] * weight

    # Products of small matrices use one core each, and let others run.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, range(0, len(thumbnails), _BLOCK)))
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    # Rounding leaves a blank image coefficients of about 1e-3.
    scaled: Floats = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 1.0)
    return scaled


def perceptual_hashes(
    thumbnails: Thumbnails, *, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0), mirrored: bool = False
) -> Hashes:
    """Sign of each of 176 coefficients, packed: uint8, shape (N, 22). Arguments as for ``spectrum``."""
    return np.packbits(spectrum(thumbnails, length=BITS, zoom=zoom, shift=shift, mirrored=mirrored) > 0, axis=1)


@cache
def _frequencies(length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Vertical and horizontal frequency of each coefficient, in order of their distance from 0."""
    side = int(np.ceil(np.sqrt(2 * length))) + 2
    pairs = sorted(
        ((u, v) for u in range(side) for v in range(side) if u or v), key=lambda p: (p[0] ** 2 + p[1] ** 2, p)
    )
    chosen = np.array(pairs[:length], dtype=np.int64)
    return chosen[:, 0], chosen[:, 1]


@cache
def _basis(count: int, zoom: float, shift: float) -> Floats:
    """Orthonormal cosines (DCT-II) of a signal that is first magnified and moved, shape (count, 64)."""
    place = (np.arange(SIDE) + 0.5) / SIDE
    source = np.clip(((place - 0.5) / zoom + 0.5 + shift) * SIDE - 0.5, 0, SIDE - 1)
    low = np.minimum(source.astype(np.int64), SIDE - 2)
    sample = np.zeros((SIDE, SIDE))
    sample[np.arange(SIDE), low] = 1 - (source - low)
    sample[np.arange(SIDE), low + 1] += source - low
    cosines = np.cos(np.pi * np.arange(count)[:, None] * place) * np.sqrt(2 / SIDE)
    cosines[0] /= np.sqrt(2)
    return np.asarray(cosines @ sample, dtype=np.float32)
