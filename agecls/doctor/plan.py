"""What a training with the machine's own configuration will do there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.cache_folder import cache_limit, cache_places, describe_place
from agecls.data.cache_place import find_place
from agecls.data.sources.walk import walk_images
from agecls.doctor.offer import Offer
from agecls.errors import AgeclsError, UsageError
from agecls.learn.remembered import recall_precision
from agecls.learn.targets import find_targets, total_width
from agecls.learn.threads import limit_threads
from agecls.learn.workers import find_workers

BINS = "7"
"""Bins of a bare ``agecls train``; the precision is remembered for each number of outputs."""


@dataclass(frozen=True)
class Images:
    """Images to be decoded.

    Attributes:
        roots: their folders.
        count: of image files.
        decoded: bytes they take when decoded for the plan's configuration.
        place: folder of the cache that would hold them; "" for none.
        refusal: why none would; "" where one does.
        remedy: what to do about it.
    """

    roots: tuple[str, ...]
    count: int
    decoded: int
    place: str
    refusal: str
    remedy: str


@dataclass(frozen=True)
class Plan:
    """What will be done, and why, in words.

    Attributes:
        config: shipped configuration.
        device: where it trains.
        precision: float32 or bfloat16.
        batch: images at once.
        workers: processes that prepare batches.
        threads: that PyTorch computes in on the processor.
        cache: where decoded images are kept.
        cache_limit: bytes above which old ones are dropped; None where what is set is no size.
        images: of the roots, where some were named.
    """

    config: str
    device: str
    precision: str
    batch: str
    workers: str
    threads: str
    cache: str
    cache_limit: int | None
    images: Images | None = None


def make_plan(offer: Offer, roots: Sequence[Path] = ()) -> Plan:
    """Decide as ``agecls train`` would.

    Args:
        offer: the machine.
        roots: folders of images.

    Raises:
        UsageError: a root is no folder.
    """
    name = "agecnn" if offer.gpus else "agecnn-cpu"
    config = load_config(name, "age")
    device = torch.device("cuda" if offer.gpus else "cpu")
    known = recall_precision(config, total_width(find_targets("age", Bins.parse(BINS), config.targets)), device)
    place = cache_places()[0]
    try:
        limit = cache_limit()
    except UsageError:
        limit = None
    side, channels = config.network.image_size, config.network.channels
    return Plan(
        config=f"{name} ({side} x {side} px, {'grey' if channels == 1 else 'RGB'}, {config.train.epochs} epochs)",
        device=f"{len(offer.gpus)} GPUs, one unless --devices says more" if offer.gpus else "the processor",
        precision=str(known) if known else "fp32 or bf16, by timing both for some seconds before the first training",
        batch=f"{config.train.batch} images; --set batch_size=auto times larger ones",
        workers=str(find_workers(config)),
        threads=limit_threads(),
        cache=f"{place} ({describe_place(place)})",
        cache_limit=limit,
        images=_measure(roots, side * side * channels, limited=limit is not None) if roots else None,
    )


def _measure(roots: Sequence[Path], each: int, *, limited: bool) -> Images:
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"there is no folder {root}", remedy="name the folder of the images with --root")
    count = sum(len(walk_images(root)[0]) for root in roots)
    place = refusal = remedy = ""
    if limited:
        try:
            place = str(find_place(count * each))
        except AgeclsError as error:
            refusal, remedy = f"{error.what}: {error.got}", error.remedy
    return Images(tuple(map(str, roots)), count, count * each, place, refusal, remedy)
