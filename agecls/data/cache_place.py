"""Where a new entry of the cache goes, decided from its size before anything is written or dropped."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from agecls.data.cache_folder import cache_places, crowded_out
from agecls.errors import DataError
from agecls.machine.memory import Memory, can_write, find_memory, free_space, in_memory

OVERSIZE: Final = "AGECLS_CACHE_OVERSIZE"
"""Set to 1, it allows entries that are larger than memory."""

FULL: Final = 0.95
"""Share of the free disk that an entry may take."""


class Candidate(NamedTuple):
    """A folder that may hold an entry.

    Attributes:
        folder: the folder.
        room: bytes it has room for.
        in_memory: whether what is written there takes memory away.
    """

    folder: Path
    room: int
    in_memory: bool


def find_place(needed: int) -> Path:
    """The first folder of the cache with room for ``needed`` bytes.

    Raises:
        DataError: none has room, or the entry is larger than memory.
        UsageError: ``AGECLS_CACHE_GB`` is no positive number.
    """
    out = crowded_out(needed)
    candidates = [
        Candidate(
            folder,
            int(free_space(folder) * FULL) + sum(entry.bytes for entry in out if entry.folder.parent == folder),
            in_memory(folder),
        )
        for folder in cache_places()
    ]
    # A folder that cannot be made is refused by its name where there is no other.
    writable = [each for each in candidates if can_write(each.folder)] or candidates[:1]
    return choose_place(needed, writable, find_memory(), oversize=os.environ.get(OVERSIZE) == "1")


def choose_place(needed: int, candidates: Sequence[Candidate], memory: Memory, *, oversize: bool = False) -> Path:
    """Choose among folders; see ``find_place``.

    Args:
        needed: bytes of the entry.
        candidates: the preferred one first; at least one.
        memory: of the machine.
        oversize: whether the entry may be larger than memory.
    """
    if needed > memory.limit and not oversize:
        raise DataError(
            f"the decoded images need {_gb(needed)}, and there are {_gb(memory.limit)} of memory to read them from",
            got="every epoch would read them from the disk again" + _within(memory),
            remedy=f"lower network.image_size, take a machine with more memory, or set {OVERSIZE}=1 to go on",
        )
    for folder, room, inside in candidates:
        # What lies in memory is read by a training that needs memory too.
        if needed <= (min(room, memory.free // 2) if inside else room):
            return folder
    told = ", ".join(
        f"{_gb(min(each.room, memory.free // 2) if each.in_memory else each.room)} in {each.folder}"
        for each in candidates
    )
    raise DataError(
        f"the decoded images need {_gb(needed)}, and the cache has room for less",
        got=told,
        remedy="name a folder on a larger disk with AGECLS_CACHE, empty this one by agecls cache --clear, or lower "
        "network.image_size",
    )


def _within(memory: Memory) -> str:
    return "" if memory.limit == memory.machine else f"; of {_gb(memory.machine)}, its container is given less"


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
