"""The report folder of a hierarchy: what is in it, that hostile names stay text, that nothing is fetched."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from read_page import HOSTILE, Page, rows

from agecls.errors import UsageError
from agecls.hierarchy_config import ROUTINGS
from agecls.report.hierarchy_metrics import measure_hierarchy
from agecls.report.hierarchy_page import write_hierarchy_page
from agecls.report.report import Origin
from agecls.report.routed_report import RoutedReport

About = dict[str, Any]


def written(report: RoutedReport, about: About, folder: Path, **more: Any) -> Page:
    return Page(write_hierarchy_page(report, measure_hierarchy(report, about, resamples=20), folder, **more))


def test_folder_holds_the_page_the_pictures_and_the_tables(
    routed_report: RoutedReport, about_hierarchy: About, tmp_path: Path
) -> None:
    measured = measure_hierarchy(routed_report, about_hierarchy, resamples=20)
    folder = tmp_path / "deep" / "report"
    assert write_hierarchy_page(routed_report, measured, folder) == folder / "hierarchy.html"
    tables = [f"confusion-{name}.{kind}" for name in ROUTINGS for kind in ("csv", "png")]
    expected = ["hierarchy.html", "report.json", "predictions.csv", "diagram.png", *tables]
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == measured
    header, *counts = rows(folder / "confusion-oracle.csv")
    assert header == list(routed_report.classes)
    assert [[int(count) for count in row] for row in counts] == measured["routings"]["oracle"]["confusion"]
    assert (folder / "diagram.png").read_bytes().startswith(b"\x89PNG")


def test_predictions_name_group_route_and_answer(
    routed_report: RoutedReport, about_hierarchy: About, tmp_path: Path
) -> None:
    report = replace(routed_report, paths=("=1+1.jpg", 'a,"b".jpg', *routed_report.paths[2:]))
    written(report, about_hierarchy, tmp_path)
    header, *found = rows(tmp_path / "predictions.csv")
    assert header == ["path", "truth", "true_group", "routed_group", "routed_share", *ROUTINGS]
    assert [row[0] for row in found] == list(report.paths)
    assert found[4][1:] == ["0-2", "male", "female", "0.55", "0-2", "3-14", "3-14", "0-2", "0-2"]
    assert found[23][2:4] == ["", "female"]
    assert len(found) == 24
    written(replace(report, routed_share=None), about_hierarchy, tmp_path)
    assert rows(tmp_path / "predictions.csv")[0] == ["path", "truth", "true_group", "routed_group", *ROUTINGS]


def test_page_says_the_verdict_and_what_it_rests_on(
    routed_report: RoutedReport, about_hierarchy: About, tmp_path: Path
) -> None:
    about = {**about_hierarchy, "fallback": {"female": "12 training images of a bin are too few"}}
    page = written(routed_report, about, tmp_path, notes=["Opened once."])
    assert not page.open
    for piece in (
        "Not worth it: soft routing scores between",
        "at 3.0 times the parameters and 3.0 times the time",
        "runs/hierarchy-gender-4-1",
        "Routed by gender; utkface, test, 24 images, 4 bins",
        "softchosen",
        "oraclediagnosis only: needs the true group",
        "3 of 23 images of known group (13.0 %) are sent to another group",
        "33.3 % are answered right as routed, 100.0 % by the expert of the true group",
        "no expert, the flat model answers: 12 training images of a bin are too few",
        "runs/age-4-female-1",
        "By ethnicity",
        "Opened once.",
        "decisions about individuals",
    ):
        assert piece in page.text
    assert "By gender" not in page.text  # the groups of the hierarchy say it
    assert "LEAKED" not in page.text
    assert page.tags.count("img") == 3 + len(ROUTINGS)


def test_page_of_a_chain_has_tables_of_its_labels_too(
    routed_report: RoutedReport, about_hierarchy: About, tmp_path: Path
) -> None:
    page = written(routed_report, {**about_hierarchy, "by": ["gender", "ethnicity"]}, tmp_path)
    for caption in ("By group of the hierarchy: gender and ethnicity", "By gender", "By ethnicity"):
        assert caption in page.text


def test_page_without_known_groups_and_costs_is_whole(
    routed_report: RoutedReport, about_hierarchy: About, tmp_path: Path
) -> None:
    kept: Any = {name: routed_report.probabilities[name] for name in ("flat", "soft")}
    report = replace(
        routed_report, probabilities=kept, to_flat={}, true_group=np.full(24, -1), groups={"gender": ("",) * 24}
    )
    page = written(report, {**about_hierarchy, "costs": {}, "threshold": None, "valid_macro_f1": {}}, tmp_path)
    assert not page.open
    assert "misrouting cannot be counted" in page.text
    assert page.tags.count("img") == 5


def test_page_asks_for_nothing_from_outside(
    routed_report: RoutedReport, about_hierarchy: About, tmp_path: Path
) -> None:
    page = written(routed_report, about_hierarchy, tmp_path)
    for link in page.links:
        kind, _, content = link.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content, validate=True).startswith(b"\x89PNG")
    html = (tmp_path / "hierarchy.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(|<script|<link", html)
    assert "prefers-color-scheme: dark" in html


def test_leaked_page_says_so_first_and_gives_no_verdict(
    routed_report: RoutedReport, about_hierarchy: About, tmp_path: Path
) -> None:
    origin = Origin("run", "split", "test", leaked=True, leaked_count=5)
    page = written(replace(routed_report, origin=origin), about_hierarchy, tmp_path)
    assert page.text.startswith("LEAKED: hierarchy")
    assert (
        page.text.index("LEAKED 5 images leaked.") < page.text.index("LEAKED: no verdict") < page.text.index("Macro-F1")
    )
    header, *found = rows(tmp_path / "predictions.csv")
    assert header[-1] == "leaked"
    assert {row[-1] for row in found} == {"true"}
    for name in ("diagram", *(f"confusion-{name}" for name in ROUTINGS)):
        with Image.open(tmp_path / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert (pixels == (179, 38, 30)).all(axis=-1).mean() > 0.005


def test_hostile_names_stay_text(routed_report: RoutedReport, about_hierarchy: About, tmp_path: Path) -> None:
    report = replace(
        routed_report,
        group_names=(HOSTILE, "b"),
        groups={HOSTILE: (HOSTILE,) * 24},
        paths=(HOSTILE, *routed_report.paths[1:]),
        origin=Origin(HOSTILE, HOSTILE, HOSTILE, leaked=False),
    )
    member = {**about_hierarchy["members"]["router gender"], "run": HOSTILE}
    expert = {**about_hierarchy["members"]["expert male"], "run": HOSTILE, "group": HOSTILE}
    about = {
        **about_hierarchy,
        "by": [HOSTILE],
        "fallback": {"b": HOSTILE},
        "members": {**about_hierarchy["members"], HOSTILE: member, f"expert {HOSTILE}": expert},
    }
    page = written(report, about, tmp_path, notes=[HOSTILE])
    html = (tmp_path / "hierarchy.html").read_text(encoding="utf-8")
    assert "script" not in page.tags
    assert "alert" not in re.sub(r"&lt;script&gt;alert\(&#34;1&#34;\)", "", html)
    assert page.text.count(HOSTILE) > 12
    assert rows(tmp_path / "predictions.csv")[1][0] == HOSTILE


def test_writing_again_repeats_the_bytes(routed_report: RoutedReport, about_hierarchy: About, tmp_path: Path) -> None:
    written(routed_report, about_hierarchy, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "hierarchy.html").write_text("old", encoding="utf-8")
    written(routed_report, about_hierarchy, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_a_file_where_the_folder_should_be_is_refused(
    routed_report: RoutedReport, about_hierarchy: About, tmp_path: Path
) -> None:
    (tmp_path / "report").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot write"):
        written(routed_report, about_hierarchy, tmp_path / "report")
    assert (tmp_path / "report").read_text(encoding="utf-8") == "mine"
