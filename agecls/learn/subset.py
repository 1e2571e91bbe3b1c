"""Which training images are used, where not all are: so many, or equally many of each class or gender."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from agecls.config import TrainConfig
from agecls.errors import DataError
from agecls.labels import GENDERS


def choose_subset(
    settings: TrainConfig, targets: npt.NDArray[np.int64], genders: Sequence[str]
) -> npt.NDArray[np.int64] | None:
    """Draw the images to train on, from the seed alone; a larger ``train.max_samples`` adds to a smaller one's.

    Args:
        settings: ``balance``, ``max_samples`` and ``seed``.
        targets: class of each image, shape (N,).
        genders: gender of each image, N of them; one without a known gender cannot be balanced by it and is left out.

    Returns:
        Ascending rows, or None where all images are used.

    Raises:
        DataError: there is no image to balance with.
    """
    limit = settings.max_samples
    shuffled = np.random.default_rng([settings.seed, 0x5B5E7]).permutation(len(targets))
    match settings.balance:
        case "none":
            return None if limit is None or limit >= len(targets) else np.sort(shuffled[:limit])
        case "class":
            kinds = targets
        case "gender":
            kinds = np.array([GENDERS.index(gender) if gender in GENDERS else -1 for gender in genders], np.int64)
    names = np.unique(kinds[kinds >= 0]) if settings.balance == "class" else np.arange(len(GENDERS))
    each = min(int((kinds == name).sum()) for name in names)
    if limit is not None:
        each = min(each, limit // len(names))
    if not each:
        raise DataError(
            f"no balanced subset of train can be drawn by {settings.balance}",
            got=f"train.balance={settings.balance} and train.max_samples={limit}, "
            + ", ".join(f"{int((kinds == name).sum())} images" for name in names),
            remedy="set train.balance=none, or a larger train.max_samples",
        )
    return np.sort(np.concatenate([shuffled[kinds[shuffled] == name][:each] for name in names]))
