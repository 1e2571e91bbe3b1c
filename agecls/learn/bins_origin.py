"""Where a ``bins.json`` comes from: which images its edges were chosen on, and whether they may judge a new run.

Bins that were searched are a choice made on images, as the best epoch is. A run trained with them inherits the lineage
of the search; it lies beside the bins, as ``bins.lineage.npz`` beside ``bins.json``.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from agecls.bins import Bins
from agecls.data.split import Part
from agecls.errors import BinsError, LeakageError, RunError
from agecls.learn.datamodule import FaceData
from agecls.learn.lineage import Lineage
from agecls.learn.meeting import count_images
from agecls.learn.run import Run

REASON: Final = "bin search"
"""What the images of a search helped to select."""

_GO_ON: Final = "--allow-leakage goes on, and marks this and all that is made from it as LEAKED"


def lineage_file(bins: Path) -> Path:
    """Where the lineage of a ``bins.json`` lies: ``bins.lineage.npz`` beside it."""
    return bins.with_name(f"{bins.stem}.lineage.npz")


@dataclass(frozen=True, eq=False)
class Inherited:
    """What a run takes over from the search for its bins.

    Attributes:
        lineage: of the search; None where its images are unknown.
        leaked: whether the search leaks into the run, or leaked before.
        leaked_count: how many images; 0 where that is not known.
    """

    lineage: Lineage | None = None
    leaked: bool = False
    leaked_count: int = 0


@dataclass(frozen=True, eq=False)
class BinsOrigin:
    """What a ``bins.json`` says of its making.

    Attributes:
        path: of the ``bins.json``.
        derived: its entry of this name: ``split``, ``fingerprint``, ``run``, ``part``, ``objective`` and others; empty
            strings where a confusion matrix of unknown origin was searched.
        lineage: what the search and the runs behind it have seen; None where the file beside it is missing.
    """

    path: Path
    derived: Mapping[str, Any]
    lineage: Lineage | None

    @classmethod
    def load(cls, path: Path) -> "BinsOrigin | None":
        """Read the origin of a ``bins.json``; None for bins that were not searched.

        Raises:
            BinsError: the file cannot be read, or says nothing sensible of its origin.
            RunError: the lineage beside it is damaged, or that of other bins.
        """
        Bins.parse(str(path))
        content = json.loads(path.read_text(encoding="utf-8"))
        derived = content.get("derived") if isinstance(content, dict) else None
        if derived is None:
            return None
        words = ("split", "fingerprint", "run", "part")
        if not isinstance(derived, dict) or not all(isinstance(derived.get(word), str) for word in words):
            raise BinsError(
                f'{path} has a damaged entry "derived"',
                got=json.dumps(derived)[:80],
                remedy="search again: agecls search-bins",
            )
        beside = lineage_file(path)
        lineage = Lineage.read(beside, f"bins {path}") if beside.exists() else None
        if lineage and lineage.ancestors[0].split != derived["fingerprint"]:
            raise RunError(
                f"{beside} is not the lineage of {path}",
                got=f"split {lineage.ancestors[0].split[:12]} and {str(derived['fingerprint'])[:12]}",
                remedy="restore it, or search again: agecls search-bins",
            )
        return cls(path, derived, lineage)

    @property
    def leaked(self) -> bool:
        """Whether the search went past a leakage guard."""
        return self.derived.get("leaked") is True

    @property
    def leaked_count(self) -> int:
        """How many images leaked then."""
        count = self.derived.get("leaked_count")
        return count if isinstance(count, int) and self.leaked else 0

    def guard(self, data: FaceData, split: str, *, allow_leakage: bool, say: Callable[[str], None]) -> Inherited:
        """Refuse bins whose search has seen images by which the new run would be judged.

        Valid and test must hold nothing that a run behind the search was fitted on, and test nothing that was selected
        on. On the split of the search itself that holds by itself. Selection is met by content alone, without twins.

        Args:
            data: of the new training.
            split: fingerprint of its split.
            allow_leakage: whether to go on all the same.
            say: told what the search has seen.

        Raises:
            LeakageError: there are such images, or none can be excluded, and that is not allowed.
        """
        told = self.derived
        if not told["fingerprint"]:
            say(
                f"bins       {self.path} was searched in a confusion matrix of images that agecls does not know: keep "
                f"the images that judge this run out of it"
            )
            return Inherited(None, self.leaked, self.leaked_count)
        say(f"bins       {self.path}, searched on {told['part']} of {told['split']} with {told['run']}")
        if self.lineage is None:
            return self._guard_without(data, split, allow_leakage=allow_leakage, say=say)
        paths, hashes, thumbnails = data.shown("valid", "test")
        meeting = self.lineage.meet(hashes, thumbnails, split)
        fitted = meeting.settle(
            paths, "train on the split that the bins were searched on", allow_leakage=allow_leakage, note=say
        )
        chosen = [path for path, seen in zip(paths, meeting.selected, strict=True) if seen]
        chosen = chosen[int(meeting.selected[: len(data.faces["valid"])].sum()) :]
        if chosen:
            what = f"{count_images(len(chosen))} of test helped to select the bins {self.path} or a run behind them"
            if not allow_leakage:
                raise LeakageError(
                    what, got=", ".join(chosen[:3]), remedy=f"train on the split of the search; {_GO_ON}"
                )
            say(f"LEAKED: {what}: {', '.join(chosen[:3])}")
        count = fitted + len(chosen)
        return Inherited(self.lineage, self.leaked or count > 0, max(count, self.leaked_count))

    def _guard_without(
        self, data: FaceData, split: str, *, allow_leakage: bool, say: Callable[[str], None]
    ) -> Inherited:
        """Do without the lineage: on the split of the search it can be told again, on another one it cannot."""
        beside = lineage_file(self.path)
        if self.derived["fingerprint"] != split:
            what = f"the bins {self.path} were searched on another split, and {beside.name} does not lie beside them"
            if not allow_leakage:
                raise LeakageError(
                    what,
                    got=f"{self.derived['split']} {self.derived['fingerprint'][:12]} against {split[:12]}",
                    remedy=f"put it there: it says which images they were chosen on; {_GO_ON}",
                )
            say(f"LEAKED: {what}")
            return Inherited(None, True, self.leaked_count)
        say(f"bins       {beside} is missing; the split is the same, so valid is marked as selected on")
        parts: tuple[Part, ...] = ("valid", "train") if self.derived["part"].startswith("train") else ("valid",)
        seen = [data.seen(part) for part in parts]
        hashes = [each for part in seen for each in part[0]]
        selected = (hashes, np.concatenate([part[1] for part in seen]))
        lineage = Lineage.of(self.path.stem, split, selected=selected, reason=REASON)
        return Inherited(lineage, self.leaked, self.leaked_count)


def refuse_other_origin(run: Run, origin: BinsOrigin | None) -> None:
    """Raise ``RunError`` where a run that is to be resumed did not inherit from the bins it is now given."""
    if origin is None or not origin.derived["fingerprint"]:
        return
    name = origin.lineage.ancestors[0] if origin.lineage else None
    known = Lineage.load(run.folder).ancestors
    if name not in known if name else origin.path.stem not in {each.name for each in known}:
        raise RunError(
            f"run {run.folder} was not started with the searched bins {origin.path}",
            remedy="resume it with the bins it was started with, or start another run with --out",
        )
