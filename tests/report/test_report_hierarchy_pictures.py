"""Pictures of a hierarchy: what stands in them, for 2, 5 and 10 groups."""

import io
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.text import Text
from PIL import Image

from agecls.report import pictures
from agecls.report.hierarchy_metrics import measure_hierarchy
from agecls.report.hierarchy_pictures import bins_picture, gains_picture, routing_diagram
from agecls.report.report import Origin
from agecls.report.routed_report import RoutedReport

About = dict[str, Any]

ETHNICITIES = ("white", "black", "asian", "indian", "others")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(pictures.png(figure))).convert("RGB"))


def draw(measured: dict[str, Any]) -> list[Figure]:
    return [routing_diagram(measured), gains_picture(measured), bins_picture(measured)]


def many_groups(report: RoutedReport, about: About, names: tuple[str, ...]) -> dict[str, Any]:
    """The same images in other groups; the last group has no expert."""
    places = np.arange(24) % len(names)
    members = {name: member for name, member in about["members"].items() if member["role"] != "expert"}
    members |= {f"expert {name}": {**about["members"]["expert male"], "group": name} for name in names[:-1]}
    by = ["gender", "ethnicity"] if "/" in names[0] else ["ethnicity"]
    if len(by) == 2:
        members["router ethnicity"] = {**members["router gender"], "run": "runs/ethnicity-1"}
    changed = replace(report, group_names=names, true_group=places, routed_group=np.roll(places, 1))
    fallback = {names[-1]: "the bins 0-2 and 3-14 have fewer than 10 training images each, so nothing to learn from"}
    return measure_hierarchy(changed, {**about, "by": by, "members": members, "fallback": fallback}, resamples=20)


def test_diagram_says_where_images_go_and_how_many_rightly(routed_report: RoutedReport, about_hierarchy: About) -> None:
    figure = routing_diagram(measure_hierarchy(routed_report, about_hierarchy, resamples=20))
    found = texts(figure)
    # Of 23 images of known group 11 go to male, 10 of them rightly, and 12 to female, 10 rightly.
    assert {"47.8 %, 90.9 % right", "52.2 %, 83.3 % right"} <= set(found)
    assert {"router gender", "gender-1", "expert: male", "expert: female", "flat model"} <= set(found)
    assert "412 k parameters, 118 train images" in found
    assert "abstain: 12.5 % to flat (router below 60.0 %)" in found
    assert "Routing by gender: soft routing chosen" in found
    assert any("diagnosis only: needs the true group" in text for text in found)
    score = measure_hierarchy(routed_report, about_hierarchy, resamples=5)["routings"]
    own, flat = (score[name]["routed_groups"]["male"]["macro_f1"] for name in ("oracle", "flat"))
    assert f"macro-F1 {100 * own:.1f} %, flat {100 * flat:.1f} %" in found


def test_bands_are_as_wide_as_their_share(routed_report: RoutedReport, about_hierarchy: About) -> None:
    figure = routing_diagram(measure_hierarchy(routed_report, about_hierarchy, resamples=5))
    bands = [patch for patch in figure.findobj(PathPatch) if isinstance(patch, PathPatch)]
    ends = [np.asarray(band.get_path().vertices)[[0, 7], 1].tolist() for band in bands]
    wide = [lower - upper for upper, lower in ends]
    assert [each / sum(wide) for each in wide] == pytest.approx([10 / 23, 1 / 23, 10 / 23, 2 / 23])
    for (_, lower), (upper, _) in pairwise(ends):
        assert lower == pytest.approx(upper)  # they leave the router side by side


@pytest.mark.parametrize(
    "names", [ETHNICITIES, tuple(f"{one}/{other}" for one in ("male", "female") for other in ETHNICITIES)]
)
def test_pictures_hold_many_groups(routed_report: RoutedReport, about_hierarchy: About, names: tuple[str, ...]) -> None:
    measured = many_groups(routed_report, about_hierarchy, names)
    for figure in draw(measured):
        height, width, _ = pixels(figure).shape
        assert 1000 < width < 1700
        assert 400 < height < 3000
    found = texts(routing_diagram(measured))
    assert {f"expert: {name}" for name in names[:-1]} | {f"{names[-1]}: flat model"} <= set(found)
    assert any(text.startswith("the bins 0-2 and 3-14 have fewer") for text in found)
    assert ("router ethnicity" in found) is ("/" in names[0])
    assert any("or no expert" in text for text in found)
    gains = texts(gains_picture(measured))
    assert ("gender and ethnicity" in gains) is ("/" in names[0])


def test_gains_name_every_routing_and_mark_the_chosen_and_the_oracle(
    routed_report: RoutedReport, about_hierarchy: About
) -> None:
    measured = measure_hierarchy(routed_report, about_hierarchy, resamples=20)
    for figure in (gains_picture(measured), bins_picture(measured)):
        found = texts(figure)
        assert sum(text.startswith(("hard: ", "soft: ", "oracle: ", "abstain: ")) for text in found) == 4
        assert [text.split(":")[0] for text in found if text.endswith("chosen")] == ["soft"]
        assert [text.split(":")[0] for text in found if text.endswith("needs the true group")] == ["oracle"]
    assert {"all images  (n = 24)", "gender", "male  (n = 12)", "female  (n = 11)", "asian  (n = 11)"} <= set(
        texts(gains_picture(measured))
    )
    assert {"0-2  (n = 6)", "41-116  (n = 0)"} <= set(texts(bins_picture(measured)))


def test_models_that_answer_alike_are_drawn(routed_report: RoutedReport, about_hierarchy: About) -> None:
    flat = routed_report.probabilities["flat"]
    same = replace(routed_report, probabilities={"flat": flat, "soft": flat}, to_flat={})
    for figure in draw(measure_hierarchy(same, about_hierarchy, resamples=5)):
        assert pictures.png(figure).startswith(b"\x89PNG")


def test_no_known_group_and_no_costs_are_drawn(routed_report: RoutedReport, about_hierarchy: About) -> None:
    unknown = replace(routed_report, true_group=np.full(24, -1), groups={})
    bare = {name: {**member, "parameters": None, "train_images": None, "valid_macro_f1": None}
            for name, member in about_hierarchy["members"].items()}  # fmt: skip
    measured = measure_hierarchy(unknown, {**about_hierarchy, "members": bare, "costs": {}}, resamples=5)
    for figure in draw(measured):
        assert pictures.png(figure).startswith(b"\x89PNG")
    assert texts(routing_diagram(measured)).count("no image") == 2


def test_only_leaked_reports_carry_the_red_mark(routed_report: RoutedReport, about_hierarchy: About) -> None:
    origin = Origin("run", "split", "test", leaked=True, leaked_count=2)
    clean, leaked = (
        draw(measure_hierarchy(report, about_hierarchy, resamples=5))
        for report in (routed_report, replace(routed_report, origin=origin))
    )
    for one, other in zip(clean, leaked, strict=True):
        assert not any("LEAKED" in text for text in texts(one))
        assert any("LEAKED (2 images)" in text for text in texts(other))
        assert (pixels(one) == (179, 38, 30)).all(axis=-1).mean() == 0
        assert (pixels(other) == (179, 38, 30)).all(axis=-1).mean() > 0.005


@pytest.mark.parametrize("name", ["$\\frac$ 年齢 \udcff\n", "runs/" + 60 * "very_long_"])
def test_strange_names_are_drawn_as_they_stand(routed_report: RoutedReport, about_hierarchy: About, name: str) -> None:
    changed = replace(
        routed_report,
        group_names=(name, "b"),
        groups={name: (name,) * 24},
        origin=Origin(name, "split", "test", leaked=False),
    )
    members = {key: {**member, "run": name} for key, member in about_hierarchy["members"].items()}
    about = {**about_hierarchy, "by": [name, "b"], "members": {name: members.pop("router gender"), **members},
             "fallback": {"b": name}}  # fmt: skip
    for figure in draw(measure_hierarchy(changed, about, resamples=5)):
        assert pictures.png(figure).startswith(b"\x89PNG")
