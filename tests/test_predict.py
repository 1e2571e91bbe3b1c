"""Predicting: the same answers as evaluating, one row an image, and no crash on a bad one."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agecls.data.split import Split
from agecls.errors import UsageError
from agecls.evaluate import evaluate_part
from agecls.learn.run import Run
from agecls.predict import name_tasks, predict_images, sort_arguments, write_csv, write_picture


def test_answers_are_those_of_evaluate(drawn_run: Run, drawn_split: Split, drawn_faces: Path) -> None:
    report = evaluate_part(drawn_run, "valid", drawn_split, drawn_split.roots([drawn_faces])).report
    predictions = predict_images([drawn_run], [drawn_faces / path for path in report.paths])
    found = np.array([list(each.tasks["gender"]["probabilities"].values()) for each in predictions])
    np.testing.assert_allclose(found, report.probabilities, atol=1e-5)


def test_prediction_does_not_depend_on_its_company(drawn_run: Run, drawn_faces: Path) -> None:
    images = sorted((drawn_faces / "faces").iterdir())[:40]
    together = predict_images([drawn_run], images)
    alone = predict_images([drawn_run], images[7:8])
    np.testing.assert_allclose(
        list(alone[0].tasks["gender"]["probabilities"].values()),
        list(together[7].tasks["gender"]["probabilities"].values()),
        atol=1e-5,
    )


def test_bad_images_get_a_row_with_their_error(drawn_run: Run, drawn_faces: Path, tmp_path: Path) -> None:
    good = sorted((drawn_faces / "faces").iterdir())[0]
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:200])
    (tmp_path / "text.png").write_text("not an image")
    images = [good, tmp_path / "empty.jpg", tmp_path / "cut.jpg", tmp_path / "text.png", tmp_path / "none.jpg", good]
    predictions = predict_images([drawn_run], images)
    assert [each.error for each in predictions] == [
        "",
        "empty file",
        "unreadable or truncated image",
        "unreadable or truncated image",
        "cannot be read (ENOENT)",
        "",
    ]
    first, last = (predictions[number].tasks["gender"]["probabilities"] for number in (0, 5))
    assert first == pytest.approx(last, abs=1e-6)
    assert [set(each.to_json()) for each in predictions[:2]] == [{"path", "tasks"}, {"path", "error"}]


def test_any_kind_of_picture_is_taken(drawn_run: Run, tmp_path: Path) -> None:
    shapes = {
        "L": (40, 70),
        "RGB": (90, 30),
        "RGBA": (33, 33),
        "P": (64, 64),
        "CMYK": (50, 60),
        "I;16": (48, 48),
        "1": (20, 20),
    }
    paths = []
    for mode, size in shapes.items():
        suffix = ".jpg" if mode == "CMYK" else ".png"
        paths.append(tmp_path / f"{mode.replace(';', '')}{suffix}")
        Image.new(mode, size, None).save(paths[-1])
    for prediction in predict_images([drawn_run], paths):
        assert not prediction.error
        assert sum(prediction.tasks["gender"]["probabilities"].values()) == pytest.approx(1)


def test_arguments_are_sorted_into_runs_and_images(drawn_run: Run, drawn_faces: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(drawn_faces / "faces", folder)
    (folder / "notes.txt").write_text("not an image")
    one = sorted(folder.glob("*.jpg"))[0]
    asked = sort_arguments([str(one), str(drawn_run.folder), str(folder), str(folder / "0000*.jpg")])
    assert [run.folder for run in asked.runs] == [drawn_run.folder]
    assert len(asked.images) == 1 + 360 + 10
    assert asked.images[0] == one
    assert asked.left_out == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}"], "no image"),
        (["{image}"], "no run"),
        (["{run}", "runs/typo"], "neither a run nor an image"),
        (["{run}", "{empty}"], "no image"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], message: str, drawn_run: Run, drawn_faces: Path, tmp_path: Path
) -> None:
    places = {"run": drawn_run.folder, "image": drawn_faces / "faces" / "00000.jpg", "empty": tmp_path}
    with pytest.raises(UsageError, match=message):
        sort_arguments([argument.format(**places) for argument in arguments])


def test_several_runs_of_one_task_are_told_apart(drawn_run: Run, drawn_faces: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_run.folder, tmp_path / "second")
    runs = [drawn_run, Run.load(tmp_path / "second")]
    assert name_tasks(runs) == ["gender", "second"]
    (prediction,) = predict_images(runs, [drawn_faces / "faces" / "00000.jpg"])
    assert prediction.tasks["gender"] == prediction.tasks["second"]


def test_csv_and_picture(drawn_run: Run, drawn_faces: Path, tmp_path: Path) -> None:
    hostile = tmp_path / 'a,"b"\nnew line.jpg'
    shutil.copy(drawn_faces / "faces" / "00001.jpg", hostile)
    (tmp_path / "bad.jpg").write_bytes(b"")
    predictions = predict_images([drawn_run], [hostile, tmp_path / "bad.jpg", drawn_faces / "faces" / "00002.jpg"])
    write_csv(predictions, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [each.path for each in predictions]
    assert rows[1]["error"] == "empty file"
    assert float(rows[0]["gender:male"]) + float(rows[0]["gender:female"]) == pytest.approx(1, abs=1e-5)
    write_picture(predictions, tmp_path / "out.png", leaked=False)
    with Image.open(tmp_path / "out.png") as sheet:
        assert sheet.width > 300


def test_json_of_the_contract(drawn_run: Run, drawn_faces: Path) -> None:
    (prediction,) = predict_images([drawn_run], [drawn_faces / "faces" / "00003.jpg"])
    content = json.loads(json.dumps(prediction.to_json()))
    assert content["path"].endswith("00003.jpg")
    answer = content["tasks"]["gender"]
    assert answer["label"] in answer["probabilities"]
    assert max(answer["probabilities"], key=answer["probabilities"].get) == answer["label"]
