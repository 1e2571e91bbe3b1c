"""Training on one gender or ethnicity alone."""

import dataclasses
import json
from pathlib import Path

import pytest

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.split import Split
from agecls.errors import DataError, RunError, UsageError
from agecls.evaluate import evaluate_part
from agecls.learn.lineage import Lineage
from agecls.learn.only import keep_only, parse_only, write_only
from agecls.train import TrainRequest, train


def test_words_are_read_and_written() -> None:
    assert parse_only([]) == {}
    assert parse_only(["ethnicity=black", "gender=male"]) == {"gender": "male", "ethnicity": "black"}
    assert write_only({"ethnicity": "black", "gender": "male"}) == "gender=male and ethnicity=black"
    assert write_only({}) == ""


@pytest.mark.parametrize("given", [["gender"], ["gender=man"], ["age=3"], ["gender=male", "gender=female"], ["=male"]])
def test_other_words_are_refused(given: list[str]) -> None:
    with pytest.raises(UsageError, match="--only"):
        parse_only(given)


def test_no_image_left_is_refused(drawn_split: Split) -> None:
    men = keep_only(drawn_split.parts["test"], {"gender": "male"}, "test")
    assert set(men.table["gender"]) == {"male"}
    with pytest.raises(DataError, match="no image of test is gender=female"):
        keep_only(men, {"gender": "female"}, "test")


def test_such_a_run_sees_and_is_scored_on_such_images_alone(
    drawn_split: Split, drawn_faces: Path, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    config = load_config("agecnn-cpu", "age", [*tiny, "train.epochs=1"])
    roots = drawn_split.roots([drawn_faces])
    request = TrainRequest("age", Bins.parse("4"), "4", drawn_split, roots, config, tmp_path / "men")
    lines: list[str] = []
    run = train(dataclasses.replace(request, only={"gender": "male"}), lines.append)
    assert any("gender=male" in line for line in lines)
    assert json.loads((run.folder / "run.json").read_text())["only"] == {"gender": "male"}
    men = {part: int((faces.table["gender"] == "male").sum()) for part, faces in drawn_split.parts.items()}
    assert len(Lineage.load(run.folder).digests) == men["train"] + men["valid"]
    evaluation = evaluate_part(run, "test", drawn_split, roots)
    assert evaluation.measured["n"] == men["test"] < len(drawn_split.parts["test"])
    told = (
        f"trained on gender=male alone, so only the {men['test']} such images of the {len(drawn_split.parts['test'])}"
    )
    assert any(told in note for note in evaluation.notes)
    with pytest.raises(RunError, match="other --only") as refusal:
        train(dataclasses.replace(request, resume=True), lambda line: None)
    assert "gender=male, now all images" in refusal.value.got
