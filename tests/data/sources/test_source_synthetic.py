"""Drawn faces: the same each time, labelled, and visibly of an age, a gender and an ethnicity."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agecls.bins import Bins
from agecls.data.sources import read_source
from agecls.data.synthetic import Person, draw_face, draw_faces
from agecls.errors import DataError, UsageError
from agecls.labels import ETHNICITIES, GENDERS


def test_drawn_faces_are_read_back_with_their_labels(tmp_path: Path) -> None:
    drawn: list[None] = []
    draw_faces(tmp_path / "new" / "root", 12, seed=3, size=48, on_face=lambda: drawn.append(None))
    found = read_source("synthetic", tmp_path / "new" / "root")
    assert len(drawn) == 12
    assert found.rejected == []
    expected = [draw_face(3, number, 48)[0] for number in range(12)]
    assert [Person(label.age_low, label.gender, label.ethnicity) for label in sorted(found.labels)] == expected
    assert all(label.age_low == label.age_high for label in found.labels)
    with Image.open(tmp_path / "new" / "root" / "faces" / "00011.jpg") as face:
        assert (face.format, face.mode, face.size) == ("JPEG", "RGB", (48, 48))


def test_same_seed_same_bytes_and_more_faces_change_none(tmp_path: Path) -> None:
    for name, count, seed in (("a", 4, 1), ("b", 6, 1), ("c", 4, 2)):
        draw_faces(tmp_path / name, count, seed=seed)
    contents = {name: [(tmp_path / name / f"faces/{n:05d}.jpg").read_bytes() for n in range(4)] for name in "abc"}
    assert contents["a"] == contents["b"]
    assert not set(contents["a"]) & set(contents["c"])
    assert len(set(contents["a"])) == 4
    rows = (tmp_path / "b" / "labels.csv").read_text(encoding="utf-8")
    assert rows.startswith((tmp_path / "a" / "labels.csv").read_text(encoding="utf-8"))


def test_faces_that_are_there_are_not_drawn_over(tmp_path: Path) -> None:
    draw_faces(tmp_path, 1)
    before = (tmp_path / "labels.csv").read_bytes()
    with pytest.raises(DataError, match="exists already"):
        draw_faces(tmp_path, 2, seed=9)
    assert (tmp_path / "labels.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces", "labels.csv"]


@pytest.mark.parametrize(("count", "seed", "size"), [(0, 0, 96), (1, -1, 96), (1, 0, 31)])
def test_impossible_numbers_are_refused(tmp_path: Path, count: int, seed: int, size: int) -> None:
    with pytest.raises(UsageError):
        draw_faces(tmp_path, count, seed=seed, size=size)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(DataError, match="cannot draw faces"):
        draw_faces(tmp_path / "root", 1)


def test_every_class_has_a_decent_share() -> None:
    people = [draw_face(0, number, 32)[0] for number in range(600)]
    assert all(0 <= person.age <= 116 for person in people)
    bins = np.bincount(Bins.parse("7").index([person.age for person in people]), minlength=7)
    assert bins.min() > 0.08 * len(people)
    for names, values in ((GENDERS, [p.gender for p in people]), (ETHNICITIES, [p.ethnicity for p in people])):
        assert min(values.count(name) for name in names) > 0.6 * len(people) / len(names)


def test_labels_can_be_seen_in_grey() -> None:
    """A linear discriminant on coarse grey pixels does far better than chance: 2 ages, 2 genders, 5 ethnicities."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    drawn = [draw_face(5, number, 48) for number in range(900)]
    pixels = np.stack([np.asarray(face.convert("L").resize((16, 16))).ravel() / 255.0 for _, face in drawn])
    targets = {
        0.8: np.array([person.age < 7 for person, _ in drawn]),
        0.65: np.array([person.gender == "male" for person, _ in drawn]),
        0.4: np.array([ETHNICITIES.index(person.ethnicity) for person, _ in drawn]),
    }
    for least, target in targets.items():
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(pixels[:600], target[:600])
        assert model.score(pixels[600:], target[600:]) > least


def test_no_two_faces_look_like_one_photograph() -> None:
    """Correlations of 0.93 and above would join drawings into groups of near duplicates."""
    grey = np.stack([np.asarray(draw_face(0, n, 64)[1].convert("L"), dtype=np.float64).ravel() for n in range(300)])
    correlation = np.corrcoef(grey) - np.eye(300)
    assert correlation.max() < 0.93
