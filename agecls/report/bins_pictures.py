"""Pictures of a search for bins: the fine confusion matrix with the chosen blocks, and scores by number of bins."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from agecls.bins import Bins
from agecls.labels import AGE_MAX
from agecls.report.pictures import BLUE, GOLD, GRID, HALO, INK, MUTED, RED, new_figure, plain

_GREEN: Final = "#3f7f5f"


def blocks_picture(told: Mapping[str, Any], counts: npt.NDArray[np.int64]) -> Figure:
    """Draw the fine confusion matrix in years, and on it the recommended bins.

    Colour is the number of images of a cell, on a logarithmic scale; empty cells are pale. A square on the diagonal
    is a bin: what lies inside is answered rightly.

    Args:
        told: the content of ``search-bins --json``.
        counts: the fine matrix, shape (K, K), rows labelled, columns answered.
    """
    fine = Bins.from_names(told["fine_bins"])
    years = np.array([low for low, _ in fine.ranges] + [AGE_MAX + 1])
    chosen = told["recommended"]
    figure, axes = new_figure(_scored(told), f"Fine confusion with the {chosen['n_bins']} bins found", (8.4, 7.6))
    colours = mpl.colormaps["cividis"].with_extremes(bad="#eceef2")
    shown = np.ma.masked_equal(counts, 0)
    norm = LogNorm(vmin=1, vmax=max(2, int(counts.max())))
    mesh = axes.pcolormesh(years, years, shown, cmap=colours, norm=norm, rasterized=True)
    bar = figure.colorbar(mesh, ax=axes, shrink=0.82, aspect=28, pad=0.02, format="{x:,.0f}")
    bar.set_label("images in a cell (logarithmic)", color=MUTED, fontsize=8.5)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)
    for low, high in Bins.from_names(chosen["names"]).ranges:
        width = high + 1 - low
        axes.add_patch(Rectangle((low, low), width, width, fill=False, edgecolor=RED, linewidth=2, zorder=4))
    _name_blocks(axes, chosen["names"])
    axes.set_xlim(0, AGE_MAX + 1)
    axes.set_ylim(AGE_MAX + 1, 0)
    axes.set_aspect("equal")
    ticks = range(0, AGE_MAX + 1, 10)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted age in years")
    axes.set_ylabel("labelled age in years")
    return figure


def _name_blocks(axes: Axes, names: Sequence[str]) -> None:
    """Write each bin's name to the right of its square, with room between the names of thin ones."""
    least = 4.2  # years a line of text takes
    middle = [(low + high + 1) / 2 for low, high in Bins.from_names(names).ranges]
    lines: list[float] = []
    for each in middle:
        lines.append(max(each, lines[-1] + least) if lines else max(each, 2.5))
    for (_, high), line, name in zip(Bins.from_names(names).ranges, lines, names, strict=True):
        inside = high + 1 > AGE_MAX - 12  # no room at the right
        place, align = (high + 1 - 1.5, "right") if inside else (max(high + 1, line) + 1.5, "left")
        axes.text(
            place, line, plain(name), ha=align, va="center", fontsize=8, fontweight="bold", color=RED, bbox=HALO,
            zorder=5,
        )  # fmt: skip


def curve_picture(told: Mapping[str, Any]) -> Figure:
    """Draw the objective, the majority baseline and the width-aware score against the number of bins.

    Bars are 95 % intervals. Points are the published bins, by the objective.

    Args:
        told: the content of ``search-bins --json``.
    """
    rows, objective = told["results"], told["objective"]
    figure, axes = new_figure(_scored(told), "Score against number of bins", (7.2, 5.2))
    numbers = [row["n_bins"] for row in rows]
    chosen = told["recommended"]["n_bins"]
    axes.axvline(chosen, color=GOLD, linewidth=6, alpha=0.35, zorder=0)
    _line(axes, numbers, [row["score"] for row in rows], [row["score_ci95"] for row in rows], BLUE, objective)
    if objective != "width-aware":
        aware = [row["scores"]["width-aware"] for row in rows]
        _line(axes, numbers, aware, [row["width_aware_ci95"] for row in rows], _GREEN, "width-aware")
    majority = [row["majority"] for row in rows]
    axes.plot(numbers, majority, color=MUTED, linewidth=1.4, linestyle=(0, (4, 2)), label="macro-F1 of the majority")
    published = [row for row in told["published"] if row["score"] is not None]
    places = [row["n_bins"] for row in published]
    axes.plot(places, [row["score"] for row in published], "D", color=GOLD, markeredgecolor=INK, markersize=6, zorder=4,
              label=f"published bins, {objective}")  # fmt: skip
    for row in published:
        axes.annotate(
            plain(row["name"]), (row["n_bins"], row["score"]), (8, 0), textcoords="offset points", va="center",
            fontsize=8, color=INK, bbox=HALO, zorder=5,
        )  # fmt: skip
    axes.set_xticks(sorted({*numbers, *places}))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    low = min(0.0, *(row["score_ci95"][0] for row in rows))
    axes.set_ylim(low, 1.02)
    axes.set_xlim(min(numbers + places) - 0.6, max(numbers + places) + 0.8)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.tick_params(length=0)
    axes.set_xlabel(f"number of bins (gold band: recommended, {chosen}); bars: 95 % interval")
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="upper right", ncols=2)
    return figure


def _line(
    axes: Axes, numbers: Sequence[int], scores: Sequence[float], ends: Sequence[Sequence[float]], colour: str, name: str
) -> None:
    low, high = np.array(ends).T
    axes.vlines(numbers, low, high, color=colour, linewidth=2.2, alpha=0.55, zorder=2)
    axes.plot(numbers, scores, "o-", color=colour, markersize=5, linewidth=1.4, label=plain(name), zorder=3)


def _scored(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a picture says of the images; a matrix from a file may not say."""
    return {**told, **{name: told[name] or "unknown" for name in ("split", "part", "run")}}
