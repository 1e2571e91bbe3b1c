"""Pictures: what stands in them, and that they can be written."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from agecls.bins import Bins
from agecls.errors import UsageError
from agecls.report import pictures
from agecls.report.contact_sheet import contact_sheet
from agecls.report.metrics import measure
from agecls.report.report import Origin, Report

RED = (179, 38, 30)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(pictures.png(figure))).convert("RGB"))


def red_share(image: np.ndarray) -> float:
    return float((image == RED).all(axis=-1).mean())


def draw(report: Report) -> list[Figure]:
    measured = measure(report, resamples=20)
    return [
        pictures.confusion_picture(measured),
        pictures.per_class_picture(measured),
        pictures.group_picture(measured),
        pictures.years_picture(report, measured),
    ]


def test_only_leaked_reports_carry_the_red_mark(age_report: Report) -> None:
    origin = Origin("run", "split", "test", leaked=True, leaked_count=2)
    for clean, leaked in zip(draw(age_report), draw(replace(age_report, origin=origin)), strict=True):
        assert not any("LEAKED" in text for text in texts(clean))
        assert any("LEAKED" in text for text in texts(leaked))
        assert red_share(pixels(clean)) == 0
        assert red_share(pixels(leaked)) > 0.01


def many_classes(report: Report, k: int) -> Report:
    names = Bins.from_names([f"{low}-{low}" for low in range(k - 1)] + [f"{k - 1}-116"]).names
    truth = np.arange(12) % k
    return replace(report, classes=names, truth=truth, probabilities=np.eye(k)[(truth + 1) % k])


@pytest.mark.parametrize(("k", "written"), [(2, True), (16, True), (17, False), (31, False)])
def test_cells_have_numbers_only_where_they_can_be_read(age_report: Report, k: int, written: bool) -> None:
    figure = pictures.confusion_picture(measure(many_classes(age_report, k), resamples=10))
    assert any("100 %" in text and "\n" in text for text in texts(figure)) is written


@pytest.mark.parametrize("k", [2, 31])
def test_pictures_keep_a_size_for_a_page(age_report: Report, k: int) -> None:
    for figure in draw(many_classes(age_report, k)):
        height, width, _ = pixels(figure).shape
        assert 500 < width < 2500
        assert 250 < height < 2500


def test_confusion_cells_hold_counts_and_shares_of_the_labelled_class(age_report: Report) -> None:
    found = texts(pictures.confusion_picture(measure(age_report, resamples=10)))
    assert {"2\n67 %", "1\n33 %", "5\n83 %", "1\n17 %"} <= set(found)


def test_group_picture_names_groups_with_their_numbers(age_report: Report) -> None:
    found = texts(pictures.group_picture(measure(age_report, resamples=10)))
    assert {"gender", "ethnicity", "asian  (n = 4)", "others  (n = 2)"} <= set(found)


def test_group_picture_without_groups_is_refused(age_report: Report) -> None:
    unknown = replace(age_report, groups={"gender": ("",) * 12})
    with pytest.raises(UsageError, match="known group"):
        pictures.group_picture(measure(unknown, resamples=10))


def test_years_picture_is_for_age_alone(age_report: Report) -> None:
    report = replace(age_report, task="ethnicity", classes=("white", "black", "asian", "indian"))
    with pytest.raises(UsageError, match="age report"):
        pictures.years_picture(report, measure(report, resamples=10))


@pytest.mark.parametrize("name", ["$\\frac$ 年齢 \udcff\n", "runs/" + 60 * "very_long_"])
def test_strange_names_are_drawn_as_they_stand(age_report: Report, name: str) -> None:
    groups = {name: (name,) * 12}
    for figure in draw(replace(age_report, groups=groups, origin=Origin(name, "split", "test", leaked=False))):
        assert pictures.png(figure).startswith(b"\x89PNG")


def test_saved_picture_is_whole_and_the_same_every_time(age_report: Report, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        pictures.save(draw(age_report)[0], tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_picture_that_cannot_be_written_is_refused(age_report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot write"):
        pictures.save(draw(age_report)[0], tmp_path / "file" / "confusion.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        pictures.save(draw(age_report)[0], tmp_path / "taken.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.png"]


def faces(n: int) -> list[Image.Image]:
    modes = ("RGB", "L", "RGBA", "P")
    return [Image.new("RGB", (60 + 7 * row, 80), (0, 200, 0)).convert(modes[row % 4]) for row in range(n)]


def test_contact_sheet_shows_every_face_and_marks_a_leak() -> None:
    captions = [["name.jpg", "age 15-30"]] * 5
    clean = np.asarray(contact_sheet(faces(5), captions, title="run"))
    leaked = np.asarray(contact_sheet(faces(5), captions, title="run", leaked=True))
    assert red_share(clean) == 0
    assert red_share(leaked) > 0.03
    assert leaked.shape[0] > clean.shape[0]
    green = (np.abs(clean.astype(int) - (0, 200, 0)) <= 2).all(axis=-1)
    assert green[:, : clean.shape[1] // 3].any()
    assert green[:, -clean.shape[1] // 3 :].any()


def test_probability_bar_is_as_long_as_the_probability() -> None:
    def bar(share: float) -> int:
        image = np.asarray(contact_sheet(faces(1), [[("female", share)]]))
        return int((image == (42, 77, 126)).all(axis=-1).sum())

    assert bar(0.0) == 0
    assert bar(0.5) * 2 == bar(1.0) > 0


def test_contact_sheet_stops_at_64_faces_and_says_so() -> None:
    full = contact_sheet(faces(64), [["a"]] * 64)
    more = contact_sheet(faces(70), [["a"]] * 70)
    assert more.width == full.width
    assert 0 < more.height - full.height < 40


def test_long_and_strange_captions_stay_in_their_column() -> None:
    caption = ["very_" * 60 + ".jpg", "two\nlines", "\udcff$x$"]
    sheet = np.asarray(contact_sheet(faces(1), [caption]))
    assert (sheet[:, -100:] == 255).all()


@pytest.mark.parametrize(("n", "captions"), [(0, []), (2, [["a"]])])
def test_contact_sheet_needs_a_caption_for_each_face(n: int, captions: list[list[str]]) -> None:
    with pytest.raises(UsageError, match="one caption for each"):
        contact_sheet(faces(n), captions)
