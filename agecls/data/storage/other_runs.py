"""Runs of one name: a run over there is replaced by a later state of itself, never by another run or an older state."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from agecls.data.storage.parcels import Parcel
from agecls.data.storage.store import Store, Stored
from agecls.errors import StorageError

RECORD: Final = "run.json"
LINEAGE: Final = "lineage.npz"
STATE: Final = ("last.ckpt", "model.safetensors")
"""What a training writes anew: beside the record or the lineage of another run it would be taken for that run's."""


def refuse_other_runs(
    store: Store,
    parcels: Sequence[Parcel],
    there: Mapping[str, Stored],
    sum_here: Callable[[Path], tuple[int, str]],
    *,
    further: bool,
) -> None:
    """Compare each run that is to be sent with the one that is there under its name.

    Args:
        store: where they are to go.
        parcels: what is to be sent.
        there: objects by name.
        sum_here: size and SHA-1 of a file.
        further: whether to look, too, if a run over there has come further; it costs reading its record.

    Raises:
        StorageError: another run is there, or this one in a later state.
        PassingError: it may be asked again.
    """
    here = {parcel.key: parcel.path for parcel in parcels}
    for key, path in here.items():
        folder, _, name = key.rpartition("/")
        old = there.get(key)
        if (
            name == LINEAGE
            and old is not None
            and is_run(there, folder)
            and (old.sha1 or sum_there(store, old)) != sum_here(path)[1]
        ):
            refuse(f"{store.name}/{folder}", f"its {LINEAGE} is another one than that of {path.parent}")
        if name != RECORD:
            continue
        for each in STATE:
            if f"{folder}/{each}" in there and f"{folder}/{each}" not in here:
                refuse(f"{store.name}/{folder}", f"it has {each}, and {path.parent} has none")
        if further and old is not None:
            _refuse_further(f"{store.name}/{folder}", path, b"".join(store.read(old)))


def is_run(there: Mapping[str, Stored], folder: str) -> bool:
    """Whether a run, or what only a run has, is in a folder; what was cut off before that is in nobody's way."""
    return any(f"{folder}/{name}" in there for name in (RECORD, *STATE))


def refuse(where: str, got: str) -> NoReturn:
    """Raise the error of another run that is there."""
    raise StorageError(
        f"another run is at {where}",
        got=got,
        remedy="give the run or the target another name; or pull that run, and go on with it by --resume",
    )


def sum_there(store: Store, stored: Stored) -> str:
    """SHA-1 in hex of an object whose store does not know it."""
    digest = hashlib.sha1(usedforsecurity=False)
    for piece in store.read(stored):
        digest.update(piece)
    return digest.hexdigest()


def _refuse_further(where: str, path: Path, record: bytes) -> None:
    there, here = _epochs(record), _epochs(path.read_bytes())
    if there > here:
        raise StorageError(
            f"the run at {where} has come further than {path.parent}",
            got=f"{there} epochs there, {here} here",
            remedy=f"pull it into an empty folder and go on with that one, or move {path.parent} to another name",
        )


def _epochs(record: bytes) -> int:
    """Epochs that a record tells of; 0 where it is none of a training."""
    try:
        return int(json.loads(record)["metrics"]["epochs"])
    except (ValueError, KeyError, TypeError):
        return 0
