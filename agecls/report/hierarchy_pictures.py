"""Pictures of a measured hierarchy: what each routing gains over the flat model, and F1 by bin for each."""

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from agecls.report.hierarchy_diagram import routing_diagram
from agecls.report.hierarchy_words import DIAGNOSIS, gain_in_points
from agecls.report.pictures import BLUE, GOLD, INK, MUTED, new_figure, plain, share_rows

__all__ = ["bins_picture", "gains_picture", "routing_diagram"]

_MARKS: Final[dict[str, dict[str, Any]]] = {
    "hard": {"marker": "o", "color": BLUE, "markersize": 6},
    "soft": {"marker": "s", "color": "#2f8f6b", "markersize": 5.5},
    "oracle": {"marker": "o", "color": MUTED, "markersize": 6, "markerfacecolor": "white"},
    "abstain": {"marker": "D", "color": "#8f4f9f", "markersize": 5},
}
"""Apart in shape as well as in colour; the oracle is hollow, for it is no way to use a hierarchy."""


def gains_picture(measured: Mapping[str, Any]) -> Figure:
    """Draw what each routing gains over the flat model, with 95 % intervals: over all images and in each group.

    Args:
        measured: what ``measure_hierarchy`` returns.
    """
    blocks = _blocks(measured)
    ways = [name for name in _MARKS if name in measured["routings"]]
    line = 0.17  # rows; one block is one row
    high = 0.2 + line * len(ways)
    figure, axes = new_figure(
        measured, "Gain in macro-F1 over the flat model", (7.4, 1.9 + 0.62 * high / 0.88 * len(blocks))
    )
    places, labels, place = [], [], 0.0
    for kind, name, rows in blocks:
        if kind and not name:
            place += 0.1
            axes.annotate(
                plain(kind), (0, place), (-6, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                ha="right", va="center", fontsize=9, fontweight="bold", color=INK, annotation_clip=False,
            )  # fmt: skip
            place += 0.55
            continue
        places.append(place)
        labels.append(f"{plain(name)}  (n = {rows[ways[0]]['n']:,})")
        for turn, way in enumerate(ways):
            height = place + (turn - (len(ways) - 1) / 2) * line
            low, right = rows[way]["gain_ci95"]
            axes.hlines(height, low, right, color=_MARKS[way]["color"], linewidth=1.8)
            axes.plot([rows[way]["gain"]], [height], linestyle="none", **_MARKS[way])
        place += high + 0.12
    share_rows(axes, labels, places)
    _points_axis(axes, blocks, ways)
    axes.set_ylim(place - 0.45, -0.5)
    axes.axvline(0, color=GOLD, linewidth=1.8, zorder=1)
    axes.set_xlabel("points of macro-F1 above the flat model (gold), paired 95 % interval")
    _legend(figure, measured, ways)
    return figure


def bins_picture(measured: Mapping[str, Any]) -> Figure:
    """Draw F1 of each age bin for each routing, from that of the flat model.

    Args:
        measured: what ``measure_hierarchy`` returns.
    """
    classes, routings = measured["classes"], measured["routings"]
    ways = [name for name in _MARKS if name in routings]
    figure, axes = new_figure(measured, "F1 by age bin and routing", (7.4, 2.1 + 0.62 * len(classes)))
    for row, name in enumerate(classes):
        flat = routings["flat"]["per_class"][name]["f1"]
        axes.vlines(flat, row - 0.42, row + 0.42, color=GOLD, linewidth=2.4, zorder=2)
        for turn, way in enumerate(ways):
            height = row + (turn - (len(ways) - 1) / 2) * 0.2
            f1 = routings[way]["per_class"][name]["f1"]
            axes.hlines(height, min(flat, f1), max(flat, f1), color=_MARKS[way]["color"], linewidth=1.4, zorder=3)
            axes.plot([f1], [height], linestyle="none", zorder=4, **_MARKS[way])
    support = [routings["flat"]["per_class"][name]["support"] for name in classes]
    share_rows(axes, [f"{plain(name)}  (n = {n:,})" for name, n in zip(classes, support, strict=True)])
    axes.set_ylim(len(classes) - 0.4, -0.6)
    scores = [row["per_class"][name]["f1"] for row in routings.values() for name in classes]
    axes.set_xlim(max(min(scores) - 0.03, -0.01), min(max(scores) + 0.03, 1.01))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.set_xlabel("F1 (gold: flat model)")
    _legend(figure, measured, ways)
    return figure


def _blocks(measured: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return kind, group and the row of each routing; a kind without a group is a heading."""
    routings = {name: row for name, row in measured["routings"].items() if name != "flat"}
    everyone = dict(routings)
    blocks: list[tuple[str, str, dict[str, Any]]] = [("", "all images", everyone)]
    kinds = {kind: list(rows) for kind, rows in measured["routings"]["flat"]["by_group"].items() if rows}
    for kind, names in kinds.items():
        blocks.append((kind, "", {}))
        blocks += [(kind, name, {way: row["by_group"][kind][name] for way, row in routings.items()}) for name in names]
    if len(measured["by"]) > 1 or measured["by"][0] not in kinds:
        scored = [name for name, row in measured["routings"]["flat"]["routed_groups"].items() if row["n"]]
        blocks.append((" and ".join(measured["by"]), "", {}))
        blocks += [("", name, {way: row["routed_groups"][name] for way, row in routings.items()}) for name in scored]
    return blocks


def _points_axis(axes: Axes, blocks: list[tuple[str, str, dict[str, Any]]], ways: list[str]) -> None:
    ends = [end for _, _, rows in blocks for way in ways if way in rows for end in rows[way]["gain_ci95"]]
    low, high = min(*ends, 0.0), max(*ends, 0.0)
    margin = 0.05 * max(high - low, 0.01)
    axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:+.3g}" if abs(share) > 1e-9 else "0"))


def _legend(figure: Figure, measured: Mapping[str, Any], ways: list[str]) -> None:
    handles = []
    for way in ways:
        row = measured["routings"][way]
        label = f"{way}: {gain_in_points(row)}"
        if way == measured["routing"]:
            label += ", chosen"
        if way == "oracle":
            label += f", {DIAGNOSIS}"
        handles.append(Line2D([], [], linestyle="none", label=label, **_MARKS[way]))
    figure.legend(
        handles=handles, loc="outside lower left", ncols=1, frameon=False, fontsize=8, labelcolor=INK,
        title="all images: points gained over flat, 95 % interval", title_fontsize=8, alignment="left",
    )  # fmt: skip
