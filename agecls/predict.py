"""Predict files, folders and globs with several runs at once: each image is read and decoded once."""

import csv
import glob
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from torch import Tensor

from agecls.data.pixels import decode_square, read_whole
from agecls.data.sources.walk import IMAGE_SUFFIXES, walk_images
from agecls.errors import DataError, UsageError
from agecls.files import write_whole
from agecls.learn.decoding import class_probabilities, mean_outputs, years_of
from agecls.learn.hierarchy import network_of
from agecls.learn.inference import best_device, image_batches, predict_outputs
from agecls.learn.run import Run
from agecls.learn.run_record import RECORD, Preprocessing
from agecls.learn.sampling import sampled
from agecls.learn.targets import Target, slices
from agecls.progress import progress
from agecls.report.contact_sheet import CAPTION, SHOWN, contact_sheet
from agecls.uncertainty import refuse_strangers

CHUNK: Final = 512
"""Images held decoded at a time."""


@dataclass(frozen=True)
class Prediction:
    """One image's answers.

    Attributes:
        path: as it was given or found.
        tasks: for each task ``label`` and ``probabilities`` (class name to probability); where the run knows years
            also ``years``, and for a regression, which has no probabilities, only ``label`` and ``years``.
        error: why there is no answer; "" where there is one.
        leaked: whether a run that was asked, or an ancestor of one, was trained past a leakage guard.
    """

    path: str
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: str = ""
    leaked: bool = False

    def to_json(self) -> dict[str, Any]:
        """The contract's object: ``path`` with ``tasks`` or ``error``, and ``leaked`` only where that is true."""
        answer = {"error": self.error} if self.error else {"tasks": self.tasks}
        return {"path": self.path, **answer, **({"leaked": True} if self.leaked else {})}


@dataclass(frozen=True)
class Asked:
    """What the arguments of ``agecls predict`` name.

    Attributes:
        runs: runs to predict with, at least one.
        images: image files in the order given, at least one.
        left_out: number of other files met in folders.
    """

    runs: tuple[Run, ...]
    images: tuple[Path, ...]
    left_out: int


def sort_arguments(arguments: Sequence[str]) -> Asked:
    """Tell runs from images, folders and globs.

    Raises:
        UsageError: no run, no image, or an argument that is neither.
    """
    runs: list[Run] = []
    images: list[Path] = []
    left_out = 0
    for argument in arguments:
        path = Path(argument)
        if (path / RECORD).exists():
            runs.append(Run.load(path))
        elif path.is_dir():
            found, rejected = walk_images(path)
            images += [path / name for name in found]
            left_out += len(rejected)
        elif path.exists() or (path.suffix.lower() in IMAGE_SUFFIXES and not glob.has_magic(argument)):
            images.append(path)
        elif matches := _match(argument):
            images += matches
        else:
            raise UsageError(
                f"there is neither a run nor an image at {argument}",
                remedy=f"name folders that hold {RECORD}, then image files, folders or globs",
            )
    if not runs:
        raise UsageError(
            "no run to predict with", got=", ".join(arguments[:3]), remedy="name one first, such as runs/age-7-1"
        )
    if not images:
        got = f"{left_out} files that are no images" if left_out else "none"
        raise UsageError("no image to predict", got=got, remedy="name image files, folders or globs after the runs")
    return Asked(tuple(runs), tuple(images), left_out)


def _match(pattern: str) -> list[Path]:
    """Files that a glob names, sorted."""
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [path for path in map(Path, found) if path.is_file()]


def name_tasks(runs: Sequence[Run]) -> list[str]:
    """Name each answer of each run after its task, or after the run where several give the same task."""
    tasks = [target.name for run in runs for target in run.targets]
    folders = [run.name for run in runs]
    named: list[str] = []
    for run in runs:
        name = run.name if folders.count(run.name) == 1 else str(run.folder)
        for target in run.targets:
            own = name if len(run.targets) == 1 else f"{name}:{target.name}"
            named.append(target.name if tasks.count(target.name) == 1 else own)
    return named


def predict_images(
    runs: Sequence[Run], images: Sequence[Path], *, passes: int = 0, ensemble: bool = False
) -> list[Prediction]:
    """Predict every image with every run.

    Args:
        runs: at least one.
        images: files.
        passes: passes with dropout on and uncertain weights drawn, whose mean is the answer; 0 for one without chance.
        ensemble: whether the mean of all runs is the one answer.

    Returns:
        One prediction for each image, in the order given; a bad image has its error.

    Raises:
        RunError: a run's weights cannot be used, or the runs of an ensemble do not answer alike.
    """
    if ensemble:
        # Of any splits: nothing is judged here.
        refuse_strangers(runs[0], tuple(runs[1:]), allow_leakage=True)
    asked = [tuple(runs)] if ensemble else [(run,) for run in runs]
    networks = {run.folder: sampled(network_of(run), run.targets, passes, f"run {run.folder}") for run in runs}
    leaked = any(run.leaked for run in runs)
    names, device = iter(name_tasks([first for first, *_ in asked])), best_device()
    named_by_run = [[next(names) for _ in first.targets] for first, *_ in asked]
    predictions: list[Prediction] = []
    with progress("predicting", len(images)) as advance:
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            prepared = [_prepare(path, {run.preprocessing for run in runs}) for path in chunk]
            good = [entry for entry in prepared if not isinstance(entry, str)]
            answers: list[dict[str, dict[str, Any]]] = [{} for _ in good]
            for members, named in zip(asked, named_by_run, strict=True):
                if not good:
                    break
                each = []
                for run in members:
                    stacked = np.stack([entry[run.preprocessing] for entry in good])
                    batches = image_batches(stacked, np.arange(len(stacked)), 64)
                    each.append(predict_outputs(networks[run.folder], batches, run.precision, device))
                targets = members[0].targets
                outputs = mean_outputs(targets, *each) if ensemble else each[0]
                for name, target, part in zip(named, targets, slices(targets), strict=True):
                    for answer, told in zip(answers, _tell(target, outputs[:, part]), strict=True):
                        answer[name] = told
            ready = iter(answers)
            predictions += [
                Prediction(str(path), error=entry, leaked=leaked)
                if isinstance(entry, str)
                else Prediction(str(path), next(ready), leaked=leaked)
                for path, entry in zip(chunk, prepared, strict=True)
            ]
            advance(len(chunk))
    return predictions


def _tell(target: Target, outputs: Tensor) -> Iterator[dict[str, Any]]:
    """What is said of each image."""
    years = years_of(target, outputs)
    for row, found in enumerate(class_probabilities(target, outputs).tolist()):
        told: dict[str, Any] = {"label": target.classes[int(np.argmax(found))]}
        if target.kind != "years":
            told["probabilities"] = dict(zip(target.classes, found, strict=True))
        yield told if years is None else {**told, "years": float(years[row])}


def _prepare(path: Path, ways: set[Preprocessing]) -> dict[Preprocessing, Any] | str:
    """Read an image once and prepare it for each way of preprocessing; the reason where it cannot be."""
    try:
        content = read_whole(path)
        return {way: decode_square(content, way.image_size, way.channels) for way in ways}
    except DataError as error:
        return error.what


def write_csv(predictions: Sequence[Prediction], path: Path) -> None:
    """Write one row an image: path, error, and for each task its label and the probability of every class.

    A last column ``leaked`` stands in it only where a run was trained past a leakage guard.
    """
    tasks = next((each.tasks for each in predictions if each.tasks), {})
    header = ["path", "error"]
    for task, answer in tasks.items():
        header += [task, *(f"{task}:{label}" for label in answer.get("probabilities", ()))]
        header += [f"{task}:in_years"] if "years" in answer else []
    mark = ["true"] if any(each.leaked for each in predictions) else []
    header += ["leaked"] * len(mark)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for each in predictions:
        writer.writerow([each.path, each.error, *_cells(each, tasks), *mark])
    write_whole(path, buffer.getvalue().encode("utf-8", "backslashreplace"))


def _cells(prediction: Prediction, tasks: dict[str, dict[str, Any]]) -> Iterator[str]:
    for task, shape in tasks.items():
        answer = prediction.tasks.get(task)
        yield answer["label"] if answer else ""
        for label in shape.get("probabilities", ()):
            yield f"{answer['probabilities'][label]:.6f}" if answer else ""
        if "years" in shape:
            yield f"{answer['years']:.2f}" if answer else ""


def _caption(answer: dict[str, Any]) -> CAPTION:
    """One line under a face: the label with its probability, or the years."""
    label = answer["label"]
    if "years" not in answer:
        return (label, answer["probabilities"][label])
    text = f"{label}, {answer['years']:.0f} years"
    return (text, answer["probabilities"][label]) if "probabilities" in answer else text


def write_picture(predictions: Sequence[Prediction], path: Path, *, leaked: bool) -> None:
    """Write a contact sheet of the first images with their labels and probabilities, as PNG."""
    images: list[Image.Image] = []
    captions: list[list[CAPTION]] = []
    for each in [prediction for prediction in predictions if not prediction.error][:SHOWN]:
        images.append(Image.fromarray(decode_square(read_whole(Path(each.path)), 160, 3)))
        answers = [_caption(answer) for answer in each.tasks.values()]
        captions.append([Path(each.path).name, *answers])
    if not images:
        raise DataError("no image could be predicted, so there is nothing to draw")
    more = sum(not each.error for each in predictions) - len(images)
    sheet = contact_sheet(
        images, captions, title=f"{len(images)} images" + (f", {more} more not shown" if more else ""), leaked=leaked
    )
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    write_whole(path, buffer.getvalue())
