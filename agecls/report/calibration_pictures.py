"""Pictures of how far probabilities can be believed: reliability with counts, risk against coverage."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from agecls.report.pictures import BLUE, GOLD, GRID, HALO, INK, MUTED, new_figure

_PERCENT = PercentFormatter(1, decimals=0, symbol=" %")
_FLOOR: Final = -0.24  # where the bars of counts stand, below those of accuracy


def reliability_picture(measured: Mapping[str, Any]) -> Figure:
    """Draw accuracy by confidence in 15 bins, the gap to what was said, and below how many images each bin has.

    Args:
        measured: what ``measure`` returns.
    """
    told = measured["calibration"]
    rows = told["reliability"]
    figure, axes = new_figure(measured, f"{measured['task'].capitalize()}: reliability{_scaled(told)}", (5.8, 6.6))
    low = np.array([row["low"] for row in rows])
    width = np.array([row["high"] for row in rows]) - low
    middle = low + width / 2
    accuracy, confidence, n = (np.array([row[key] for row in rows]) for key in ("accuracy", "confidence", "n"))
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
    axes.bar(middle, accuracy, width * 0.92, color=BLUE, zorder=2)
    axes.bar(middle, confidence - accuracy, width * 0.92, bottom=accuracy, color=GOLD, alpha=0.55, zorder=3)
    axes.hlines(confidence, low + 0.04 * width, low + 0.96 * width, color=INK, linewidth=1.2, zorder=4)
    axes.bar(middle, 0.14 * n / n.max(), width * 0.92, bottom=_FLOOR, color=MUTED, zorder=2)
    for place, count in zip(middle, n, strict=True):
        height = _FLOOR + 0.14 * count / n.max() + 0.012
        axes.text(place, height, f"{count:,}", ha="center", fontsize=6.5, color=INK)
    text = f"ECE {100 * told['ece']:.1f} %\n({100 * told['ece_ci95'][0]:.1f} to {100 * told['ece_ci95'][1]:.1f} %)"
    axes.text(0.03, 0.97, text, va="top", fontsize=9, color=INK, bbox=HALO, zorder=5)
    axes.set_xlim(0, 1)
    axes.set_ylim(_FLOOR, 1)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(_PERCENT)
    axes.yaxis.set_major_formatter(_PERCENT)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.tick_params(length=0)
    axes.set_xlabel("confidence: probability of the class answered (grey: images in each bin)")
    axes.set_ylabel("answered rightly (blue); gold: gap to the mean confidence (line)")
    return figure


def risk_coverage_picture(measured: Mapping[str, Any]) -> Figure:
    """Draw the error rate of the most confident images against the share of images answered.

    Args:
        measured: what ``measure`` returns.
    """
    told = measured["calibration"]
    coverage, risk = (np.array([row[key] for row in told["risk_coverage"]]) for key in ("coverage", "risk"))
    title = f"{measured['task'].capitalize()}: risk and coverage{_scaled(told)}"
    figure, axes = new_figure(measured, title, (5.8, 4.4))
    error = 1 - measured["accuracy"]
    axes.axhline(error, color=GOLD, linewidth=1.8, linestyle=(0, (4, 2)))
    axes.fill_between(coverage, 0, risk, color=BLUE, alpha=0.12, linewidth=0)
    axes.plot(coverage, risk, "o-", color=BLUE, markersize=4, linewidth=1.6)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, max(0.05, 1.15 * max(error, float(risk.max()))))
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(_PERCENT)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.tick_params(length=0)
    axes.set_xlabel(f"share of images answered, most confident first\n(area {told['aurc']:.4f}; dashed: all answered)")
    axes.set_ylabel("of those, answered wrongly")
    return figure


def _scaled(told: Mapping[str, Any]) -> str:
    return "" if told["temperature"] is None else f", temperature {told['temperature']:.2f}"
