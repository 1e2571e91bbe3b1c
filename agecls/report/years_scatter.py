"""Picture of a run that knows years: labelled against predicted age, image by image."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from agecls.errors import UsageError
from agecls.labels import AGE_MAX
from agecls.report.metrics import CUMULATIVE_YEARS
from agecls.report.pictures import BLUE, GOLD, GRID, INK, new_figure
from agecls.report.report import Report

_FULL: Final = 400
"""Points up to which each is drawn nearly opaque; the more there are, the fainter they are drawn."""


def scatter_picture(report: Report, measured: Mapping[str, Any]) -> Figure:
    """Draw the labelled age of each image against the predicted one, and the band of the cumulative score.

    Args:
        report: an age report with predicted years; images of unknown exact age are left out.
        measured: what ``measure`` returns for it.

    Raises:
        UsageError: it knows no years, or no image has an exactly known age.
    """
    known = ~np.isnan(report.years)
    if report.predicted_years is None or not known.any():
        raise UsageError("labelled and predicted years are not both known", remedy="leave this picture out")
    wanted, found = report.years[known], report.predicted_years[known]
    figure, axes = new_figure(measured, "Age: labelled and predicted years", (6.0, 6.2))
    ends = np.array([0, AGE_MAX])
    axes.fill_between(ends, ends - CUMULATIVE_YEARS, ends + CUMULATIVE_YEARS, color=GOLD, alpha=0.3, linewidth=0)
    axes.plot(ends, ends, color=GOLD, linewidth=1.4)
    opaque = 0.8 * min(1.0, (_FULL / len(wanted)) ** 0.5)
    axes.scatter(wanted, found, s=9, color=BLUE, alpha=opaque, linewidths=0, zorder=3)
    ticks = range(0, AGE_MAX + 1, 20)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.set_xlim(-2, AGE_MAX + 2)
    axes.set_ylim(-2, AGE_MAX + 2)
    axes.set_aspect("equal")
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.8)
    axes.tick_params(length=0, colors=INK)
    explained = "" if measured["r2"] is None else f", R2 {measured['r2']:.3f}"
    axes.set_xlabel(
        f"labelled age in years\nmean absolute error {measured['mae_years']:.2f} years{explained}; "
        f"within {CUMULATIVE_YEARS} years (band) {100 * measured['cs5']:.1f} %"
    )
    axes.set_ylabel("predicted age in years")
    return figure
