"""The routing diagram: the routers, the images they send to each expert and how many rightly, the flat model below."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

from agecls.report.hierarchy_words import DIAGNOSIS, points, short_count
from agecls.report.pictures import BLUE, GOLD, HALO, INK, MUTED, new_figure, plain

_SHEET = "#f6f7f9"
_WIDTH, _ROUTER, _EXPERT = 9.4, 1.75, 2.95  # inches: whole picture, box of a router, box of an expert
_GAP = 0.16  # inches between two boxes of one column

_CAPTION = (
    "Width of a band: images of known group by the router's most probable group; blue: of that group, gold: of another."
    f"\nAn expert's macro-F1 is on the images labelled as its group ({DIAGNOSIS})."
)


@dataclass(frozen=True)
class _Box:
    """A box of the diagram; inches from the upper left corner."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def middle(self) -> float:
        return self.top + self.height / 2


def routing_diagram(measured: Mapping[str, Any]) -> Figure:
    """Draw where the routers send the images of known group, how many of them rightly, and who answers there.

    Args:
        measured: what ``measure_hierarchy`` returns.
    """
    names = list(measured["misrouting"]["by_group"])
    routers = {name: member for name, member in measured["members"].items() if member["role"] == "router"}
    step = (0.92 if len(names) <= 5 else 0.6) + _GAP  # inches
    tall = len(names) * step
    height = tall + 0.8
    title = f"Routing by {plain(' and '.join(measured['by']), 30)}: {measured['routing']} routing chosen"
    figure, axes = new_figure(measured, title, (_WIDTH, height + 1.3))
    axes.set(xlim=(-0.03, _WIDTH), ylim=(height + 0.03, -0.03))
    axes.axis("off")
    thick = min(0.5 * tall, 2.4)  # inches, all images together
    high = max(0.9 * len(routers), thick)
    root = _Box(0, (tall - _GAP - high) / 2, _ROUTER, high)
    experts = {name: _Box(_WIDTH - _EXPERT - 0.05, row * step, _EXPERT, step - _GAP) for row, name in enumerate(names)}
    flat = _Box(_WIDTH - _EXPERT - 0.05, tall + 0.06, _EXPERT, 0.62)
    _bands(axes, measured, root, experts, thick)
    _to_flat(axes, measured, root, flat)
    each = high / max(len(routers), 1)
    for row, (name, member) in enumerate(routers.items()):
        between = 0.06 if row + 1 < len(routers) else 0
        _box(axes, _Box(0, root.top + row * each, _ROUTER, each - between), plain(name), _about(member))
    for name, box in experts.items():
        _expert(axes, measured, name, box)
    score = f"macro-F1 {_percent(measured['routings']['flat']['macro_f1'])}"
    models = [member for member in measured["members"].values() if member["role"] == "flat"]
    _box(axes, flat, "flat model", [_join(*map(_size, models), score)])
    figure.supxlabel(_CAPTION, x=0.02, ha="left", fontsize=8, color=MUTED)
    return figure


def _bands(axes: Axes, measured: Mapping[str, Any], source: _Box, targets: Mapping[str, _Box], thick: float) -> None:
    """Draw a band from the routers to each group: as wide as its share of the images, blue for those sent rightly."""
    groups, known = measured["misrouting"]["by_group"], measured["misrouting"]["n"]
    top = source.middle - thick / 2
    for name, box in targets.items():
        routed, right = groups[name]["routed"], groups[name]["right"]
        wide = thick * routed / max(known, 1)
        share = right / max(routed, 1)
        end = box.middle - wide / 2
        for start, part, colour in ((0.0, share, BLUE), (wide * share, 1 - share, GOLD)):
            _band(axes, (source.right, top + start), (box.left, end + start), wide * part, colour)
        text = f"{_percent(routed / known)}, {_percent(share)} right" if routed else "no image"
        axes.text(box.left - 0.1, box.middle, text, ha="right", va="center", fontsize=8, color=INK, bbox=HALO, zorder=4)
        top += wide


def _band(axes: Axes, start: tuple[float, float], end: tuple[float, float], wide: float, colour: str) -> None:
    (left, upper), (right, other) = start, end
    bend = (left + right) / 2
    points = [
        (left, upper), (bend, upper), (bend, other), (right, other),
        (right, other + wide), (bend, other + wide), (bend, upper + wide), (left, upper + wide), (left, upper),
    ]  # fmt: skip
    curve = [Outline.MOVETO, *[Outline.CURVE4] * 3, Outline.LINETO, *[Outline.CURVE4] * 3, Outline.CLOSEPOLY]
    axes.add_patch(PathPatch(Outline(points, curve), facecolor=colour, alpha=0.55, linewidth=0, zorder=2))


def _to_flat(axes: Axes, measured: Mapping[str, Any], root: _Box, flat: _Box) -> None:
    """Draw the way to the flat model that images take where the router is unsure or a group has no expert."""
    ways = [name for name in ("abstain", measured["routing"]) if measured["routings"].get(name, {}).get("to_flat")]
    if not ways:
        return
    corner = root.left + root.width / 2
    axes.plot([corner, corner, flat.left], [root.top + root.height, flat.middle, flat.middle], color=MUTED,
              linewidth=1.4, linestyle=(0, (4, 2)), zorder=1)  # fmt: skip
    sent = measured["routings"][ways[0]]["to_flat"] / measured["n"]
    why = ["no expert"] if measured["fallback"] else []
    if ways[0] == "abstain" and measured["threshold"] is not None:
        why.insert(0, f"router below {points(measured['threshold'])} %")
    reason = f" ({' or '.join(why)})" if why else ""
    text = f"{ways[0]}: {_percent(sent)} to flat{reason}"
    axes.text(flat.left - 0.1, flat.middle - 0.04, text, ha="right", va="bottom", fontsize=8, color=MUTED)


def _box(axes: Axes, box: _Box, heading: str, lines: Sequence[str], *, dashed: bool = False) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (box.left, box.top),
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.08",
            zorder=3,
            facecolor=_SHEET,
            edgecolor=MUTED if dashed else INK,
            linewidth=1,
            linestyle="--" if dashed else "-",
        )
    )
    spread = 0.185  # inches from line to line
    first = box.middle - spread * len(lines) / 2
    for row, line in enumerate((heading, *lines)):
        axes.text(
            box.left + 0.1, first + spread * row, line, va="center", fontsize=9 if not row else 7.5, zorder=5,
            color=MUTED if row else INK, fontweight="normal" if row else "bold",
        )  # fmt: skip


def _expert(axes: Axes, measured: Mapping[str, Any], name: str, box: _Box) -> None:
    expert = next((m for m in measured["members"].values() if m["role"] == "expert" and m["group"] == name), None)
    scores = {way: measured["routings"][way]["routed_groups"][name]["macro_f1"] for way in measured["routings"]}
    if expert is None:
        reason = textwrap.wrap(plain(measured["fallback"].get(name, "no expert"), 80), 46)[:2]
        _box(axes, box, f"{plain(name)}: flat model", reason, dashed=True)
        return
    found = [f"macro-F1 {_percent(scores['oracle'])}"] if scores.get("oracle") is not None else []
    if scores["flat"] is not None:
        found.append(f"flat {_percent(scores['flat'])}")
    _box(axes, box, f"expert: {plain(name)}", [_join(_size(expert), _trained(expert)), ", ".join(found)])


def _about(member: Mapping[str, Any]) -> list[str]:
    score = [] if member["valid_macro_f1"] is None else [f"valid macro-F1 {_percent(member['valid_macro_f1'])}"]
    return [plain(PurePath(member["run"]).name), _size(member), *score]


def _size(member: Mapping[str, Any]) -> str:
    return f"{short_count(member['parameters'])} parameters" if member.get("parameters") else ""


def _trained(member: Mapping[str, Any]) -> str:
    return f"{member['train_images']:,} train images" if member.get("train_images") else ""


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
