"""Pictures of a measured report: confusion, F1 by class, F1 by group, ages by predicted bin."""

import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from agecls.bins import Bins
from agecls.errors import UsageError
from agecls.files import write_whole
from agecls.labels import AGE_MAX
from agecls.report.contact_sheet import contact_sheet
from agecls.report.report import Report

__all__ = [
    "confusion_picture", "contact_sheet", "group_picture", "new_figure", "per_class_picture", "plain", "png", "save",
    "share_rows", "years_picture",
]  # fmt: skip

TEXT_LIMIT: Final = 16
"""With more classes than this the cells of a confusion picture are too small for numbers."""

DPI: Final = 160

INK, MUTED, GRID = "#1d2433", "#5b6475", "#dfe3ea"
# The two ends of cividis that stay apart for every kind of colour vision, and in grey.
BLUE, GOLD, RED = "#2a4d7e", "#d3ab3c", "#b3261e"


def confusion_picture(measured: Mapping[str, Any], title: str | None = None) -> Figure:
    """Draw the confusion matrix: colour is the share of the labelled class, text is the count and that share.

    Args:
        measured: what ``measure`` returns, 2..31 classes.
        title: another title than the task's.
    """
    classes = [plain(name) for name in measured["classes"]]
    counts = np.array(measured["confusion"])
    support = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_where(np.broadcast_to(support == 0, counts.shape), counts / np.maximum(support, 1))
    k = len(classes)
    side = min(max(0.62 * k, 2.6), 9.5)  # inches
    title = title or f"{measured['task'].capitalize()}: confusion"
    figure, axes = new_figure(measured, title, (side + 2.4, side + 1.6))
    colours = mpl.colormaps["cividis"].with_extremes(bad="#eceef2")
    image = axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
    small = 9 if k <= TEXT_LIMIT else 7
    axes.set_xticks(range(k), classes, fontsize=small)
    if max(map(len, classes)) * 0.09 > side / k:
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(k), classes, fontsize=small)
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5 if k <= TEXT_LIMIT else 0.5)
    axes.tick_params(which="both", length=0)
    bar = figure.colorbar(
        image, ax=axes, shrink=0.82, aspect=28, pad=0.02, format=PercentFormatter(1, decimals=0, symbol=" %")
    )
    bar.set_label("share of the labelled class", color=MUTED, fontsize=8.5)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)
    if k <= TEXT_LIMIT:
        for row, column in np.ndindex(k, k):
            if counts[row, column]:
                share = float(shares[row, column])
                text = (
                    f"{counts[row, column]:,}\n{100 * share:.0f} %"
                    if share >= 0.005
                    else f"{counts[row, column]:,}\n<1 %"
                )
                ink = INK if share > 0.55 else "white"
                axes.text(column, row, text, ha="center", va="center", fontsize=8.5 if k <= 10 else 7, color=ink)
    return figure


def per_class_picture(measured: Mapping[str, Any]) -> Figure:
    """Draw F1 of each class with its support, and macro-F1 as a line.

    Args:
        measured: what ``measure`` returns.
    """
    classes = measured["classes"]
    rows = [measured["per_class"][name] for name in classes]
    height = (0.34 if len(classes) <= TEXT_LIMIT else 0.25) * len(classes)  # inches
    figure, axes = new_figure(measured, f"{measured['task'].capitalize()}: F1 by class", (6.4, 1.5 + height))
    places = range(len(classes))
    axes.barh(places, [row["f1"] for row in rows], height=0.68, color=BLUE)
    for place, row in zip(places, rows, strict=True):
        text = f"{100 * row['f1']:.1f} %   n = {row['support']:,}"
        axes.text(row["f1"] + 0.012, place, text, va="center", fontsize=8, color=INK, zorder=5, bbox=HALO)
    axes.axvline(measured["macro_f1"], color=GOLD, linewidth=1.8, linestyle=(0, (4, 2)))
    axes.set_xlabel(f"F1 (dashed line: macro-F1 {100 * measured['macro_f1']:.1f} %)")
    share_rows(axes, [plain(name) for name in classes])
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set_xlim(0, 1.28)
    axes.spines["bottom"].set_bounds(0, 1)
    return figure


def group_picture(measured: Mapping[str, Any]) -> Figure:
    """Draw macro-F1 of each group with its 95 % interval beside that of all images.

    Args:
        measured: what ``measure`` returns, with at least one group.

    Raises:
        UsageError: no image has a known group.
    """
    labels: list[str] = []
    places: list[int] = []
    scores: list[dict[str, Any]] = []
    headings: list[tuple[int, str]] = []
    row = 0
    for kind, groups in measured["by_group"].items():
        if groups:
            headings.append((row, kind))
            row += 1
        for name, score in groups.items():
            labels.append(f"{plain(name)}  (n = {score['n']:,})")
            places.append(row)
            scores.append(score)
            row += 1
    if not scores:
        raise UsageError("no scored image has a known group", remedy="leave this picture out")
    figure, axes = new_figure(measured, f"{measured['task'].capitalize()}: macro-F1 by group", (6.4, 1.5 + 0.36 * row))
    low, high = measured["macro_f1_ci95"]
    axes.axvspan(low, high, color=GOLD, alpha=0.28, linewidth=0)
    axes.axvline(measured["macro_f1"], color=GOLD, linewidth=1.8)
    points = np.array([score["macro_f1"] for score in scores])
    ends = np.array([score["macro_f1_ci95"] for score in scores])
    axes.hlines(places, ends[:, 0], ends[:, 1], color=BLUE, linewidth=2.2)
    axes.plot(points, places, "o", color=BLUE, markersize=6)
    for place, point, (_, right) in zip(places, points, ends, strict=True):
        axes.text(
            max(right, point) + 0.012, place, f"{100 * point:.1f} %", va="center", fontsize=8, color=INK, bbox=HALO
        )
    share_rows(axes, labels, places)
    for place, kind in headings:
        axes.annotate(
            plain(kind), (0, place), (-6, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
            ha="right", va="center", fontsize=9, fontweight="bold", color=INK, annotation_clip=False,
        )  # fmt: skip
    axes.set_ylim(row - 0.5, -0.6)
    axes.set_xlim(0, 1.12)
    axes.spines["bottom"].set_bounds(0, 1)
    axes.set_xlabel("macro-F1 over the classes labelled in the group, 95 % interval\n(gold: all images)")
    return figure


def years_picture(report: Report, measured: Mapping[str, Any]) -> Figure:
    """Draw the exact ages of the images in each predicted bin: inside the bin's own years, and outside.

    Args:
        report: an age report; images of unknown exact age are left out.
        measured: what ``measure`` returns for it.

    Raises:
        UsageError: the report is not about age.
        BinsError: the classes are not age bins.
    """
    if report.task != "age":
        raise UsageError("only an age report knows the ages by predicted bin", got=report.task)
    ranges = Bins.from_names(report.classes, gaps=True).ranges
    k = len(ranges)
    height = (0.46 if k <= TEXT_LIMIT else 0.28) * k  # inches
    figure, axes = new_figure(measured, "Age: labelled years of the images in each predicted bin", (6.8, 1.7 + height))
    edges = np.arange(AGE_MAX + 2) - 0.5
    years = np.arange(AGE_MAX + 1)
    for row, (low, high) in enumerate(ranges):
        ages = report.years[report.predicted == row]
        found, _ = np.histogram(ages[~np.isnan(ages)], bins=edges)
        heights = 0.86 * found / max(int(found.max()), 1)
        inside = (years >= low) & (years <= high)
        floor = row + 0.43
        axes.hlines(floor, -0.5, AGE_MAX + 0.5, color=GRID, linewidth=0.8, zorder=1)
        axes.bar(years, -heights, bottom=floor, width=1.0, color=np.where(inside, BLUE, GOLD), zorder=2)
        axes.hlines(floor, low - 0.5, high + 0.5, color=BLUE, linewidth=2.5, zorder=3)
    counted = [measured["years_by_predicted_bin"][name]["n"] for name in report.classes]
    share_rows(axes, [f"{name}  (n = {n:,})" for name, n in zip(report.classes, counted, strict=True)])
    axes.set_ylim(k - 0.4, -0.6)
    axes.set_xlim(-1, AGE_MAX + 1)
    axes.set_xticks(range(0, AGE_MAX + 1, 10))
    axes.xaxis.set_major_formatter("{x:.0f}")
    note = "labelled age in years; blue: inside the predicted bin, gold: outside; each row scaled to its own peak"
    axes.set_xlabel("\n".join(textwrap.wrap(note, 70)))
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    write_whole(path, png(figure))


def png(figure: Figure) -> bytes:
    """Return a picture as the bytes of a PNG file; the same picture gives the same bytes."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A run may be named in a script the font lacks; the page and the JSON still hold the whole name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    return content.getvalue()


HALO: Final = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}


def new_figure(measured: Mapping[str, Any], title: str, inches: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return an empty picture with its title, what was scored, and LEAKED above where that is so.

    Args:
        measured: what was measured; its ``n``, ``split``, ``part``, ``run``, ``leaked`` and ``leaked_count`` are used.
        title: plain text.
        inches: width and height; the mark of a leak makes it higher.
    """
    mark, pad = (0.6, 0.14) if measured["leaked"] else (0.0, 0.04)  # inches; the pad keeps the mark off the title
    layout = ConstrainedLayoutEngine(h_pad=pad)
    figure = Figure(figsize=(inches[0], inches[1] + mark), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set(size=9, color=MUTED)
    axes.yaxis.label.set(size=9, color=MUTED)
    scored = f"{measured['n']:,} images of {measured['split']}, {measured['part']}; run {measured['run']}"
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=22)
    axes.annotate(
        plain(scored, int(12 * inches[0])), (0, 1), (0, 8), xycoords="axes fraction",
        textcoords="offset points", fontsize=8, color=MUTED,
    )  # fmt: skip
    if measured["leaked"]:
        box = {"facecolor": RED, "edgecolor": "none", "boxstyle": "square,pad=0.4"}
        counted = f" ({measured['leaked_count']:,} images)" if measured["leaked_count"] else ""
        text = f"LEAKED{counted}: does not hold for new faces"
        figure.suptitle(text, fontsize=9, fontweight="bold", color="white", bbox=box)
    return figure, axes


def share_rows(axes: Axes, labels: list[str], places: Sequence[float] | None = None) -> None:
    """Label the rows of a picture whose horizontal axis is a share in 0..1, at their places or one below the other."""
    axes.set_yticks(places if places is not None else range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=GRID, linewidth=0.8)


def plain(text: str, most: int = 24) -> str:
    """Return text that matplotlib draws as it stands: one line, no mathematics, at most ``most`` characters."""
    line = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    return (line if len(line) <= most else f"{line[: most - 1]}…").replace("$", r"\$")
