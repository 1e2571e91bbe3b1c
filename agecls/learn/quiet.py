"""Lightning without its notes on devices, its advertisements, and warnings of what is meant here."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep them off the screen for as long as a training takes."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # The first two speak of choices made on purpose: no loader processes on two cores, no epoch-end scheduler.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", module="pytorch_lightning")
            yield
    finally:
        logger.setLevel(level)
