"""Picture of a learning-rate test."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from agecls.report.pictures import BLUE, GOLD, GRID, new_figure


def rate_picture(seen: Mapping[str, Any], rates: Sequence[float], losses: Sequence[float], suggestion: float) -> Figure:
    """Draw the smoothed training loss against the learning rate, and the suggested rate.

    Args:
        seen: ``n``, ``split``, ``part``, ``run``, ``leaked`` and ``leaked_count``, as ``new_figure`` takes them.
        rates: of each step.
        losses: of each step.
        suggestion: the rate to mark.
    """
    figure, axes = new_figure(seen, "Learning-rate test", (6.4, 3.8))
    axes.plot(rates, losses, color=BLUE, linewidth=1.8)
    axes.axvline(suggestion, color=GOLD, linewidth=1.8, linestyle=(0, (4, 2)))
    axes.set_xscale("log")
    axes.set_xlabel(f"learning rate (dashed line: {suggestion:.2g}, a tenth of the lowest point's)")
    axes.set_ylabel("training loss, smoothed")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure
