"""What comes of showing images to a run: those it has seen before, and the refusal to score them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agecls.errors import LeakageError


@dataclass(frozen=True)
class Share:
    """How many of the images one run of a lineage has seen.

    Attributes:
        run: its name.
        count: number of images.
        reason: what it was selected by, such as ``early stopping``; "" where it was fitted on them.
    """

    run: str
    count: int
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Meeting:
    """Images shown to a run, beside what the run and its ancestors have seen.

    Attributes:
        run: name of the run.
        exact: which images it or an ancestor was fitted on, by content, shape (N,).
        near: which others are near twins of one of those, shape (N,).
        selected: which images it or an ancestor was selected on, by content, shape (N,).
        fitters: runs that were fitted on them, most images first.
        selectors: runs that were selected on them, most images first.
    """

    run: str
    exact: npt.NDArray[np.bool_]
    near: npt.NDArray[np.bool_]
    selected: npt.NDArray[np.bool_]
    fitters: tuple[Share, ...]
    selectors: tuple[Share, ...]

    @property
    def leaked(self) -> npt.NDArray[np.bool_]:
        """Which images leak: fitted on, exactly or as a near twin; shape (N,)."""
        return self.exact | self.near

    @property
    def count(self) -> int:
        """How many images leak."""
        return int(self.leaked.sum())

    def refuse(self, paths: Sequence[str], remedy: str) -> None:
        """Raise ``LeakageError`` where any image leaks.

        Args:
            paths: of the images, length N.
            remedy: what to do instead; how to go on all the same is added.
        """
        if self.count:
            raise LeakageError(
                self._sentence(),
                got=self._examples(paths),
                remedy=f"{remedy}; --allow-leakage goes on, and marks this and all that is made from it as LEAKED",
            )

    def settle(self, paths: Sequence[str], remedy: str, *, allow_leakage: bool, note: Callable[[str], None]) -> int:
        """Refuse what leaks, or note it where that is allowed, and note what the run was selected on.

        Args:
            paths: of the images, length N.
            remedy: see ``refuse``.
            allow_leakage: whether to go on past a leak.
            note: called with each sentence that belongs beside the scores.

        Returns:
            How many images leak.

        Raises:
            LeakageError: an image leaks, and that is not allowed.
        """
        if not allow_leakage:
            self.refuse(paths, remedy)
        elif self.count:
            note(f"LEAKED: {self._sentence()}: {self._examples(paths)}")
        for share in self.selectors:
            note(
                f"{count_images(share.count)} to be scored helped to select run {share.run}"
                f" ({share.reason}): scores on them are too good"
            )
        return self.count

    def _sentence(self) -> str:
        first = self.fitters[0].run
        who = f"run {self.run}" if first == self.run else f"run {first}, an ancestor of {self.run},"
        more = "".join(f", run {share.run} on {share.count}" for share in self.fitters[1:])
        near = int(self.near.sum())
        twins = f" ({near} as near twins: encoded anew, resized, mirrored or cropped)" if near else ""
        return f"{self.count} of {len(self.exact)} images to be scored are images that {who} was fitted on{twins}" + (
            f"; run {first} on {self.fitters[0].count}{more}" if more else ""
        )

    def _examples(self, paths: Sequence[str]) -> str:
        return ", ".join(
            paths[row] + (" (near twin)" if self.near[row] else "") for row in np.flatnonzero(self.leaked)[:3]
        )


def count_images(count: int) -> str:
    """``1 image``, ``2 images``."""
    return f"{count} image{'' if count == 1 else 's'}"
