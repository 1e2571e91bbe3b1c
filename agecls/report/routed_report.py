"""RoutedReport: what a hierarchy answers for labelled images by each routing, checked once when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from agecls.errors import DataError, UsageError
from agecls.hierarchy_config import ROUTINGS, Routing
from agecls.report.report import Origin, Report


@dataclass(frozen=True, eq=False)
class RoutedReport:
    """Age predictions of one hierarchy for N labelled images, by each routing.

    Attributes:
        classes: names of the K age bins.
        paths: image paths, N of them.
        truth: labelled bin of each image, shape (N,), integers in 0..K-1.
        years: exact age in years, shape (N,), float64, NaN where only a range is known.
        probabilities: by routing, shape (N, K) each, rows sum to 1; ``flat`` and at least one other. The rows of
            ``oracle`` for images of unknown group are those of ``flat``.
        group_names: names of the G groups the router tells apart, G >= 2, such as ``male`` or ``male/white``.
        true_group: labelled group of each image, shape (N,), integers in 0..G-1, -1 where unknown.
        routed_group: the router's most probable group, shape (N,), integers in 0..G-1.
        to_flat: by routing, which images the flat model answered, shape (N,) bool; a routing left out sent none there.
        groups: gender, ethnicity of each image as in ``Report``.
        origin: where the predictions come from.
        routed_share: probability of ``routed_group``, shape (N,), in 0..1; None where it is not kept.

    The arrays are copied and made read-only.

    Raises:
        DataError: lengths differ, a value is outside its range, or ``flat`` stands alone or is missing.
        UsageError: a routing is unknown.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    truth: npt.NDArray[np.int64]
    years: npt.NDArray[np.float64]
    probabilities: Mapping[Routing, npt.NDArray[np.float64]]
    group_names: tuple[str, ...]
    true_group: npt.NDArray[np.int64]
    routed_group: npt.NDArray[np.int64]
    to_flat: Mapping[Routing, npt.NDArray[np.bool_]]
    groups: Mapping[str, tuple[str, ...]]
    origin: Origin
    routed_share: npt.NDArray[np.float64] | None = None
    _reports: Mapping[Routing, Report] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        unknown = [name for name in (*self.probabilities, *self.to_flat) if name not in ROUTINGS]
        if unknown:
            raise UsageError("a hierarchy has no such routing", got=unknown[0], remedy=f"use {', '.join(ROUTINGS)}")
        if "flat" not in self.probabilities or len(self.probabilities) < 2:
            got = ", ".join(self.probabilities) or "none"
            raise DataError("a hierarchy is measured by the flat model and at least one other routing", got=got)
        if len(self.group_names) < 2 or len(set(self.group_names)) != len(self.group_names):
            got = ", ".join(self.group_names)
            raise DataError("a hierarchy needs at least two groups with different names", got=got)
        # Each report checks paths, labels, years, groups and the distributions of its routing.
        reports = {name: self._made(name) for name in ROUTINGS if name in self.probabilities}
        self._keep("_reports", reports)
        self._keep("truth", reports["flat"].truth)
        self._keep("years", reports["flat"].years)
        self._keep("probabilities", {name: made.probabilities for name, made in reports.items()})
        last = len(self.group_names) - 1
        self._keep("true_group", self._whole("true_group", self.true_group, -1, last))
        self._keep("routed_group", self._whole("routed_group", self.routed_group, 0, last))
        self._keep("to_flat", {name: self._flags(name, asked) for name, asked in self.to_flat.items()})
        if self.routed_share is not None:
            self._keep("routed_share", self._share(self.routed_share))

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def routings(self) -> tuple[Routing, ...]:
        """The routings there are, in the order of ``ROUTINGS``."""
        return tuple(self._reports)

    def report(self, routing: Routing) -> Report:
        """Return the predictions of one routing.

        Raises:
            UsageError: the hierarchy was not routed so.
        """
        if routing not in self._reports:
            raise UsageError(f"there are no predictions of {routing} routing", remedy=f"use {', '.join(self._reports)}")
        return self._reports[routing]

    def _made(self, routing: Routing) -> Report:
        try:
            return Report(
                task="age",
                classes=self.classes,
                paths=self.paths,
                truth=self.truth,
                probabilities=self.probabilities[routing],
                years=self.years,
                groups=self.groups,
                origin=self.origin,
            )
        except DataError as error:
            raise DataError(f"{routing} routing: {error.what}", got=error.got, remedy=error.remedy) from None

    def _keep(self, name: str, value: object) -> None:
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
        object.__setattr__(self, name, value)

    def _whole(self, name: str, given: npt.ArrayLike, low: int, high: int) -> npt.NDArray[np.int64]:
        values = np.array(given)
        if values.shape != (len(self),) or not np.issubdtype(values.dtype, np.integer):
            got = f"{values.dtype} of shape {values.shape}"
            raise DataError(f"{name} must be whole numbers of the shape {(len(self),)}", got=got)
        outside = (values < low) | (values > high)
        if outside.any():
            row = int(outside.argmax())
            raise DataError(f"{name} of {self.paths[row]} is no group in {low}..{high}", got=str(values[row]))
        return values.astype(np.int64)

    def _flags(self, routing: Routing, given: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        values = np.array(given)
        if routing not in self.probabilities or values.shape != (len(self),) or values.dtype != np.bool_:
            got = f"{values.dtype} of shape {values.shape}"
            raise DataError(f"to_flat of {routing} needs predictions and booleans of shape {(len(self),)}", got=got)
        values.setflags(write=False)
        return values

    def _share(self, given: npt.ArrayLike) -> npt.NDArray[np.float64]:
        values = np.array(given, dtype=np.float64)
        if values.shape != (len(self),) or not ((values >= 0) & (values <= 1)).all():
            got = f"shape {values.shape}"
            raise DataError(f"routed_share must be probabilities of the shape {(len(self),)}", got=got)
        return values
