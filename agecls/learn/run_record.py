"""What the record of a run is made of: the names of its files, its images, its split, its parents, its software."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from agecls import __version__
from agecls.bins import Bins
from agecls.config import TargetsConfig
from agecls.errors import RunError
from agecls.labels import TrainTask
from agecls.learn.targets import find_targets

SCHEMA: Final = 1
RECORD: Final = "run.json"
WEIGHTS: Final = "model.safetensors"
CHECKPOINT: Final = "last.ckpt"
MADE_HERE: Final = "agecls"
"""Key in the metadata of weights, by which those of a run are known without its folder."""

DAMAGED: Final = "train it again, or restore it from a backup"
"""What to do about a run that cannot be read."""


def class_names(task: TrainTask, bins: Bins) -> tuple[str, ...]:
    """Names of the classes that a run of one task is scored in; none for several tasks."""
    return () if task == "multitask" else find_targets(task, bins, TargetsConfig())[0].classes


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes network input: the same for valid, test and predict.

    Attributes:
        image_size: side in pixels; the shorter side is scaled to it and the centre square kept.
        channels: 1 for grey, 3 for RGB.
        scale: what a pixel of 255 becomes.
    """

    image_size: int
    channels: int
    scale: float = 1.0


@dataclass(frozen=True)
class TrainedOn:
    """The split of a training.

    Attributes:
        name: of its folder.
        fingerprint: of its tables; what decides whether another folder holds the same split.
        folder: where it lay.
        roots: where its images lay, in the order of its sources.
    """

    name: str
    fingerprint: str
    folder: str = ""
    roots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parent:
    """A run that another one was warm-started from.

    Attributes:
        name: of its folder.
        folder: where it lay.
        split: fingerprint of what it was trained on.
    """

    name: str
    folder: str
    split: str


def read_batches(record: Mapping[str, Any]) -> dict[str, int]:
    """What a record says of its batches, where they are not those of its settings; empty otherwise."""
    told = record.get("batches")
    batches = {name: int(told[name]) for name in ("batch_size", "accumulate")} if told else {}
    if any(count < 1 for count in batches.values()):
        raise ValueError(f"batches {batches}")
    return batches


def software_versions() -> dict[str, str]:
    """Version of what has a part in the weights."""
    names = ("torch", "timm", "pytorch-lightning", "albumentations", "numpy", "pillow")
    return {"agecls": __version__, **{name: version(name) for name in names}}


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``run.json`` of a folder as it stands.

    Raises:
        RunError: there is no run, or its record is no JSON of this schema.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(
            f"there is no run at {folder}",
            got=f"a folder without {RECORD}" if folder.is_dir() else "no such folder",
            remedy="train one: agecls train --task age --bins 7",
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {folder / RECORD}", got=str(error).splitlines()[0], remedy=DAMAGED) from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise RunError(f"{folder / RECORD} is no record of schema {SCHEMA}", remedy="use the agecls that trained it")
    return record
