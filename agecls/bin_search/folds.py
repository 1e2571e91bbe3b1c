"""Out-of-fold predictions: every image of train predicted by a model that was not fitted on it.

Train is cut into K folds of whole groups, so that pictures of one person or one photograph stay together. K models are
trained, each without one fold, and each predicts that fold. Valid keeps its best epochs, as in any training, and gives
no cell of the matrix: nothing of valid or test is spent on the search beyond that early stopping.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from agecls.bin_search.fine_run import STEM, FineRequest, train_fine_run
from agecls.bin_search.matrix import FineMatrix
from agecls.bin_search.source import Source, join_names
from agecls.config.loop import EVAL_BATCH
from agecls.data.cache import decode_faces
from agecls.data.faces import Faces
from agecls.data.looks import look_at
from agecls.errors import UsageError
from agecls.learn.inference import best_device, image_batches, predict_probabilities
from agecls.learn.lineage import Lineage
from agecls.learn.run import Run
from agecls.progress import progress

PART = "train, out of fold"


def draw_folds(faces: Faces, targets: np.ndarray[tuple[int, ...], np.dtype[np.int64]], count: int) -> list[Faces]:
    """Cut faces into folds of whole groups with like shares of each fine bin; the same every time.

    Args:
        faces: labelled images.
        targets: fine bin of each, shape (N,).
        count: of folds, at least 2.

    Raises:
        UsageError: fewer than two folds, or more than there are groups.
    """
    groups = faces.table["group"].to_numpy()
    if not 2 <= count <= len(np.unique(groups)):
        raise UsageError(
            "--folds takes 2 or more, and no more than train has groups",
            got=f"{count} folds, {len(np.unique(groups))} groups",
            remedy="use 5",
        )
    drawn = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        # A fine bin may have fewer images than there are folds; it is then shared out as far as it goes.
        warnings.filterwarnings("ignore", message="The least populated class")
        return [faces.select(rows.astype(np.int64)) for _, rows in drawn.split(targets, targets, groups)]


def from_folds(request: FineRequest, say: Callable[[str], None]) -> Source:
    """Train a model for each fold and pool their predictions.

    Args:
        request: what to train, with ``folds``.
        say: called with each line of talk.

    Raises:
        UsageError: an impossible number of folds.
        DataError: a fine bin has all its images in one fold.
        LeakageError: a model was fitted on what it is to predict.
    """
    bins, split, count = request.wanted, request.split, request.folds
    train = split.parts["train"]
    targets = train.targets("age", bins)
    labelled = train.select(targets >= 0)
    folds = draw_folds(labelled, targets[targets >= 0], count)
    runs, truths, answers = [], [], []
    for number, fold in enumerate(folds, start=1):
        say(f"fold {number} of {count}: {len(fold)} images held out")
        held_out = frozenset(fold.table["group"])
        run = train_fine_run(request, say, held_out, f"{STEM}-fold-{number}-of-{count}")
        runs.append(run)
        truths.append(fold.targets("age", bins))
        answers.append(_answer(run, fold, request))
    hashes = labelled.table["sha256"].tolist()
    return Source(
        FineMatrix.of_answers(bins, np.concatenate(truths), np.concatenate(answers)),
        run=join_names(runs),
        split=split.name,
        fingerprint=split.fingerprint,
        part=PART,
        leaked=any(run.leaked for run in runs),
        leaked_count=max(run.leaked_count for run in runs),
        seen=(hashes, look_at(split.everything, request.roots).perceptual(hashes)),
        parents=_lineages(runs),
    )


def _answer(run: Run, fold: Faces, request: FineRequest) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Fine bin that a run answers for each image of its fold, shape (N,)."""
    everything = request.split.everything
    hashes, paths = fold.table["sha256"].tolist(), fold.table["path"].tolist()
    looks = look_at(everything, request.roots)
    meeting = Lineage.load(run.folder).meet(hashes, looks.thumbnails[looks.rows(hashes)], request.split.fingerprint)
    meeting.settle(
        paths, "delete the folder of this fold's run and search again", allow_leakage=False, note=lambda line: None
    )
    prepared = run.preprocessing
    decoded = decode_faces(everything, request.roots, prepared.image_size, prepared.channels)
    with progress(f"predicting with {run.name}", len(hashes)) as advance:
        batches = image_batches(decoded.images, decoded.rows(hashes), EVAL_BATCH)
        chances = predict_probabilities(run.classifying(), batches, run.precision, best_device(), advance)
    return np.asarray(chances.argmax(axis=1), dtype=np.int64)


def _lineages(runs: Sequence[Run]) -> tuple[Lineage, ...]:
    return tuple(Lineage.load(run.folder) for run in runs)
