"""What is well with a machine, what may disappoint, and what will not work."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from agecls.doctor.offer import Offer
from agecls.doctor.plan import Plan
from agecls.errors import StorageError

State = Literal["ok", "warning", "problem"]

LITTLE_MEMORY: Final = 2e9
"""Bytes of free memory below which a training may be killed: PyTorch and a network take about one."""

LITTLE_DISK: Final = 5e9
"""Bytes of free disk below which runs and decoded images soon have no room."""

FEW_FILES: Final = 1024
"""Open files below which loader workers run out of them."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of what.
        state: ``ok``, ``warning`` or ``problem``; a problem is what will not work.
        what: what was found.
        remedy: what to do about it; "" where nothing is to be done.
    """

    name: str
    state: State
    what: str
    remedy: str = ""


def check_machine(offer: Offer, plan: Plan) -> tuple[Check, ...]:
    """Judge a machine; of B2, what its server says of the keys in the environment."""
    return (
        _check_processor(offer),
        _check_gpus(offer),
        _check_memory(offer),
        *_check_disks(offer, plan),
        _check_shared(offer, plan),
        _check_files(offer),
        _check_packages(offer),
        _check_archives(offer),
        *([_check_images(plan)] if plan.images else []),
        _check_b2(),
    )


def _check_processor(offer: Offer) -> Check:
    usable = offer.processor.usable
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > usable:
        what = f"OMP_NUM_THREADS is {asked}, and this process may keep {usable} processors busy"
        return Check("processor", "warning", what, "unset it, or lower it")
    return Check("processor", "ok", f"{usable} of {offer.processor.cores} cores usable")


def _check_gpus(offer: Offer) -> Check:
    if offer.gpus:
        return Check("GPU", "ok", f"{len(offer.gpus)} seen by PyTorch")
    if not offer.driver:
        return Check("GPU", "ok", "none, and no driver of one: trainings run on the processor")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return Check("GPU", "warning", f"CUDA_VISIBLE_DEVICES={hidden} hides the GPUs", "unset it to train on them")
    built = f"was built for CUDA {offer.cuda}" if offer.cuda else "was built without CUDA"
    return Check(
        "GPU",
        "problem",
        f"there is a driver ({offer.driver}), and PyTorch, which {built}, sees no GPU",
        "install the build of PyTorch that the driver supports, or start the container with its GPUs (--gpus all)",
    )


def _check_memory(offer: Offer) -> Check:
    memory = offer.memory
    within = "" if memory.limit == memory.machine else f", of {_gb(memory.machine)} of the machine"
    what = f"{_gb(memory.free)} free of {_gb(memory.limit)}{within}"
    if memory.free < LITTLE_MEMORY:
        return Check("memory", "warning", what, "end what else runs here, or take a larger machine")
    return Check("memory", "ok", what)


def _check_disks(offer: Offer, plan: Plan) -> Iterator[Check]:
    for name, disk in offer.disks.items():
        variable = "AGECLS_CACHE" if name == "cache" else "--out"
        what = f"{_gb(disk.free)} free in {disk.path}{', which is memory' if disk.in_memory else ''}"
        if name == "cache" and plan.cache_limit is None:
            got = os.environ.get("AGECLS_CACHE_GB", "")
            yield Check(
                name, "problem", f"AGECLS_CACHE_GB={got} is no size", "set it to gigabytes above 0, or unset it"
            )
        elif not disk.writable:
            yield Check(name, "problem", f"{disk.path} cannot be written to", f"name another folder with {variable}")
        elif disk.free < LITTLE_DISK:
            yield Check(name, "warning", what, f"make room, or name another folder with {variable}")
        else:
            yield Check(name, "ok", what)


def _check_shared(offer: Offer, plan: Plan) -> Check:
    if offer.shared is None:
        return Check("shared memory", "ok", "this system has no /dev/shm")
    total, free = offer.shared
    what = f"{_gb(free)} free of {_gb(total)} in /dev/shm"
    if "/dev/shm" in plan.workers:  # noqa: S108 - a word of a sentence
        return Check(
            "shared memory", "warning", f"{what}: too little for all workers", "start the container with --shm-size 8g"
        )
    return Check("shared memory", "ok", what)


def _check_files(offer: Offer) -> Check:
    if offer.open_files is None:
        return Check("open files", "ok", "not limited")
    what = f"{offer.open_files:,} at once"
    few = offer.open_files < FEW_FILES
    return Check("open files", "warning" if few else "ok", what, "ulimit -n 4096" if few else "")


def _check_packages(offer: Offer) -> Check:
    missing = [name for name, version in offer.versions.items() if not version]
    if missing:
        return Check("packages", "problem", f"missing: {', '.join(missing)}", "install agecls again: scripts/setup")
    return Check("packages", "ok", "all there")


def _check_archives(offer: Offer) -> Check:
    missing = [kind for kind, tool in offer.unpackers.items() if not tool]
    if missing:
        what = f"zip and tar can be unpacked, {' and '.join(missing)} cannot"
        return Check("archives", "warning", what, "pip install 'agecls[archives]', and for rar apt install unrar")
    return Check("archives", "ok", "zip, tar, 7z and rar can be unpacked")


def _check_images(plan: Plan) -> Check:
    images = plan.images
    assert images is not None  # noqa: S101 - asked by the caller
    where = ", ".join(images.roots)
    if not images.count:
        return Check("images", "problem", f"no image file below {where}", "name the folder of the images with --root")
    what = f"{images.count:,} files below {where}, {_gb(images.decoded)} when decoded"
    if images.refusal:
        return Check("images", "problem", f"{what}; {images.refusal}", images.remedy)
    if not images.place:
        return Check("images", "warning", f"{what}; no place can be chosen", "see cache above")
    return Check("images", "ok", f"{what}, in {images.place}")


def _check_b2() -> Check:
    if not any(os.environ.get(name, "").strip() for name in ("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY")):
        return Check("Backblaze B2", "ok", "no keys in the environment, so it was not asked")
    from agecls.data.storage.b2_keys import check_keys

    try:
        return Check("Backblaze B2", "ok", f"the keys work: {check_keys()}")
    except StorageError as error:
        what = error.what + (f": {error.got}" if error.got else "")
        return Check("Backblaze B2", "problem", what, error.remedy)


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
