"""The report folder: what is in it, that hostile names stay text, that nothing is fetched."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from read_page import HOSTILE, Page, rows

from agecls.errors import UsageError
from agecls.report.metrics import measure
from agecls.report.page import write_page
from agecls.report.report import Origin, Report


def test_folder_holds_the_page_the_picture_and_the_tables(age_report: Report, tmp_path: Path) -> None:
    measured = measure(age_report, resamples=20)
    folder = tmp_path / "deep" / "report"
    page = write_page(age_report, measured, folder)
    assert page == folder / "report.html"
    found = sorted(path.name for path in folder.iterdir())
    assert found == ["confusion.csv", "confusion.png", "predictions.csv", "report.html", "report.json"]
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == measured
    header, *counts = rows(folder / "confusion.csv")
    assert header == list(age_report.classes)
    assert [[int(count) for count in row] for row in counts] == measured["confusion"]
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_predictions_keep_every_row_and_path_as_it_is(age_report: Report, tmp_path: Path) -> None:
    paths = ("=1+1.jpg", 'a,"b".jpg', "new\nline.jpg", "üñ.jpg", *age_report.paths[4:])
    report = replace(age_report, paths=paths)
    write_page(report, measure(report, resamples=20), tmp_path)
    header, *predictions = rows(tmp_path / "predictions.csv")
    assert header == ["path", "truth", "predicted", *report.classes]
    assert [row[0] for row in predictions] == list(paths)
    assert predictions[4][1:3] == ["3-14", "15-40"]
    written = np.array([[float(share) for share in row[3:]] for row in predictions])
    np.testing.assert_allclose(written, report.probabilities, rtol=1e-6)
    assert b"\r" not in (tmp_path / "predictions.csv").read_bytes()


def test_page_shows_the_headline_and_what_was_scored(age_report: Report, tmp_path: Path) -> None:
    measured = measure(age_report, resamples=20)
    page = Page(write_page(age_report, measured, tmp_path, notes=["Chosen on the validation part."]))
    assert not page.open
    for piece in (
        f"{100 * measured['macro_f1']:.2f} %",
        f"{100 * measured['majority_macro_f1']:.2f} %",
        "corrected for it 45.00 %",
        "0.600",
        "runs/age-4-1",
        "utkface",
        "Chosen on the validation part.",
        "no scored image is labelled 41-116",
        "decisions about individuals",
    ):
        assert piece in page.text
    assert "LEAKED" not in page.text
    assert page.tags.count("img") == 6


def test_page_asks_for_nothing_from_outside(age_report: Report, tmp_path: Path) -> None:
    path = write_page(age_report, measure(age_report, resamples=20), tmp_path)
    page = Page(path)
    for link in page.links:
        kind, _, content = link.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content, validate=True).startswith(b"\x89PNG")
    html = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(|<script|<link", html)
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize(("count", "said"), [(5, "LEAKED 5 images leaked."), (0, "LEAKED This run was scored")])
def test_leaked_page_says_so_first(age_report: Report, tmp_path: Path, count: int, said: str) -> None:
    report = replace(age_report, origin=Origin("run", "split", "test", leaked=True, leaked_count=count))
    page = Page(write_page(report, measure(report, resamples=20), tmp_path))
    assert page.text.startswith("LEAKED: age")
    assert said in page.text
    assert page.text.index(said) < page.text.index("Macro-F1")


def test_hostile_names_stay_text(age_report: Report, tmp_path: Path) -> None:
    report = replace(
        age_report,
        task="ethnicity",
        classes=(HOSTILE, "b", "c", "d"),
        groups={HOSTILE: (HOSTILE,) * 12},
        paths=(HOSTILE, *age_report.paths[1:]),
        origin=Origin(HOSTILE, HOSTILE, HOSTILE, leaked=False),
    )
    path = write_page(report, measure(report, resamples=20), tmp_path, notes=[HOSTILE])
    page = Page(path)
    assert "script" not in page.tags
    assert "alert" not in re.sub(r"&lt;script&gt;alert\(&#34;1&#34;\)", "", path.read_text(encoding="utf-8"))
    assert page.text.count(HOSTILE) > 8
    assert rows(tmp_path / "predictions.csv")[1][0] == HOSTILE


def test_gender_without_groups_has_no_empty_sections(age_report: Report, tmp_path: Path) -> None:
    report = replace(
        age_report,
        task="gender",
        classes=("male", "female"),
        truth=age_report.truth % 2,
        probabilities=np.array([[0.4, 0.6]] * 12),
        groups={"gender": ("male",) * 12, "ethnicity": ("",) * 12},
    )
    page = Page(write_page(report, measure(report, resamples=20), tmp_path))
    assert page.tags.count("img") == 4
    assert "Years" not in page.text
    assert "Kappa" in page.text
    assert "Groups" not in page.text


def test_page_without_a_kappa_does_not_name_it(age_report: Report, tmp_path: Path) -> None:
    answered = np.tile([1.0, 0.0, 0.0, 0.0], (12, 1))
    report = replace(age_report, truth=np.zeros(12, dtype=int), probabilities=answered)
    assert "Kappa" not in Page(write_page(report, measure(report, resamples=20), tmp_path)).text


def test_writing_again_replaces_and_repeats_the_bytes(age_report: Report, tmp_path: Path) -> None:
    measured = measure(age_report, resamples=20)
    write_page(age_report, measured, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "report.html").write_text("old", encoding="utf-8")
    write_page(age_report, measured, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_a_file_where_the_folder_should_be_is_refused(age_report: Report, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot write"):
        write_page(age_report, measure(age_report, resamples=20), tmp_path / "report")
    assert (tmp_path / "report").read_text(encoding="utf-8") == "mine"
