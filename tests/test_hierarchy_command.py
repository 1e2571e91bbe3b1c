"""``agecls hierarchy`` as a user meets it: bare, with runs named, from a configuration, refused, interrupted."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agecls.config_files import load_config, load_hierarchy
from agecls.data.synthetic import draw_faces
from agecls.errors import ConfigError
from agecls.learn.run import Run

Call = Callable[..., Any]
BINS = ("--bins", "0-29,30-59,60-116")
SMALL = ("--min-images", "1")


def settings(tiny: tuple[str, ...], epochs: int = 1) -> tuple[str, ...]:
    return tuple(word for each in (*tiny, f"train.epochs={epochs}") for word in ("--set", each))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, tiny: tuple[str, ...]) -> Path:
    """A working folder with faces, a split and an age run, as the first two commands leave it."""
    folder = tmp_path_factory.mktemp("hierarchy-command")
    draw_faces(folder / "data", 160, seed=5, size=48)
    for words in (
        ("split", "--source", "synthetic", "--out", "splits/utkface", "--bins", "3"),
        ("train", "--task", "age", *BINS, *settings(tiny)),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "agecls", *words], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def place(started: Path, workplace: Path) -> Path:
    for name in ("data", "splits", "runs"):
        shutil.copytree(started / name, workplace / name)
    return workplace


def test_bare_command_trains_only_what_is_missing(agecls: Call, place: Path, tiny: tuple[str, ...]) -> None:
    made = agecls("hierarchy", *BINS, *SMALL, *settings(tiny), "--json", "h.json", "--report", "report")
    assert made.code == 0, made.err
    for said in (
        "--by not given: using gender",
        "--split not given: using splits/utkface",
        "flat model: using runs/age-own-1",
        "router by gender: training runs/gender-own-1 on all images",
        "expert male: training runs/age-own-male-1 on gender=male",
        "expert female: training runs/age-own-female-1 on gender=female",
    ):
        assert said in made.err
    assert "runs/hierarchy-gender-own-1: answers by" in made.out
    measured = json.loads((place / "h.json").read_text())
    assert list(measured["routings"]) == ["flat", "hard", "soft", "oracle", "abstain"]
    assert measured["part"] == "valid"
    for routing in measured["routings"].values():
        assert 0 <= routing["macro_f1"] <= 1
    assert (place / "report" / "hierarchy.html").stat().st_size
    again = agecls("hierarchy", *BINS, *SMALL, *settings(tiny))
    assert again.code == 0, again.err
    assert "training" not in again.err
    assert "runs/hierarchy-gender-own-2" in again.out


def test_the_result_is_a_run_for_every_other_command(agecls: Call, place: Path, tiny: tuple[str, ...]) -> None:
    chain = ("--by", "gender,ethnicity", "--routing", "soft", "--out", "runs/deep")
    made = agecls("hierarchy", *BINS, *SMALL, *settings(tiny), *chain)
    assert made.code == 0, made.err
    scored = agecls("evaluate", "runs/deep", "--part", "test", "--json", "score.json", "--report", "report")
    assert scored.code == 0, scored.err
    assert json.loads((place / "score.json").read_text())["classes"] == ["0-29", "30-59", "60-116"]
    images = sorted(map(str, (place / "data" / "faces").glob("*.jpg")))[:4]
    predicted = agecls("predict", "runs/deep", *images, "--json", "p.json", "--plot", "p.png")
    assert predicted.code == 0, predicted.err
    rows = json.loads((place / "p.json").read_text())
    assert [sum(row["tasks"]["age"]["probabilities"].values()) for row in rows] == pytest.approx([1] * 4)
    audited = agecls("audit", "splits/utkface", "--run", "runs/deep", "--json", "audit.json")
    lineage = [
        check for check in json.loads((place / "audit.json").read_text())["checks"] if "lineage" in check["name"]
    ]
    assert audited.code in (0, 1)  # drawn faces of one seed may be near twins; the run itself is clean
    assert [check["ok"] for check in lineage] == [True]


def test_runs_can_be_named(agecls: Call, place: Path, tiny: tuple[str, ...]) -> None:
    made = agecls("hierarchy", *BINS, *SMALL, *settings(tiny), "--warm-start")
    assert made.code == 0, made.err
    (place / "runs" / "age-own-male-1").rename(place / "men, all of them")
    named = (
        "--flat", "runs/age-own-1", "--router", "runs/gender-own-1",
        "--experts", "male=men, all of them,female=runs/age-own-female-1",
    )  # fmt: skip
    joined = agecls("hierarchy", *BINS, *named, "--part", "test", "--out", "runs/joined")
    assert joined.code == 0, joined.err
    assert "training" not in joined.err
    assert "runs/joined has opened the test part of utkface 1 time" in joined.err
    assert "runs/age-own-1 has opened the test part of utkface 1 time" in joined.err
    assert [Path(parent.folder).name for parent in Run.load(place / "runs/joined").parents] == [
        "age-own-1", "gender-own-1", "men, all of them", "age-own-female-1",
    ]  # fmt: skip


def test_runs_of_another_split_are_refused_with_3(agecls: Call, place: Path, tiny: tuple[str, ...]) -> None:
    assert agecls("split", "--source", "synthetic", "--seed", "7", "--bins", "3", "--out", "splits/other").code == 0
    trained = agecls(
        "train", *BINS, "--split", "splits/other", "--only", "gender=male", *settings(tiny), "--out", "runs/stranger"
    )
    assert trained.code == 0, trained.err
    words = ("hierarchy", *BINS, *SMALL, *settings(tiny), "--experts", "male=runs/stranger", "--out", "runs/mixed")
    refused = agecls(*words)
    assert refused.code == 3
    assert "trained on another split" in refused.err
    assert not (place / "runs" / "gender-own-1").exists()  # refused before anything was trained
    assert not (place / "runs" / "mixed").exists()
    forced = agecls(*words, "--allow-leakage", "--json", "h.json")
    assert forced.code == 0, forced.err
    assert "LEAKED" in forced.out
    assert json.loads((place / "h.json").read_text())["leaked"] is True
    assert agecls("evaluate", "runs/mixed", "--part", "test").code == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--by", "age"), "gender, ethnicity, or gender,ethnicity"),
        (("--by", "gender,gender"), "each label once"),
        (("--by", ""), "each label once"),
        (("--experts", "male"), "GROUP=RUN"),
        (("--experts", "white=runs/age-own-1"), "there is no group white by gender"),
        (("--experts", "male=a", "--experts", "male=b"), "two experts are given for male"),
        (("--experts", "male=nowhere"), "there is no run at nowhere"),
        (("--flat", "nowhere"), "there is no run at nowhere"),
        (("--router", "runs/age-own-1"), "must tell apart what the hierarchy routes by"),
        (("--flat", "runs/age-own-1"), "--set network.image_size=32"),
        (("--bins", "7", "--flat", "runs/age-own-1", "--set", "image_size=32"), "other bins"),
        (("--min-images", "5000"), "no group has images enough"),
        (("--out", "runs/age-own-1"), "exists already"),
        (("--routing", "oracle"), "oracle"),
        (("--config", "hierarchy-gendr"), "did you mean hierarchy-gender?"),
    ],
)
def test_wrong_usage_is_refused_before_any_training(
    words: tuple[str, ...], expected: str, agecls: Call, place: Path
) -> None:
    before = sorted((place / "runs").iterdir())
    code, out, err = agecls("hierarchy", *BINS, *words)
    assert code == 2, err
    assert expected in " ".join(err.replace("│", " ").split())
    assert out == ""
    assert sorted((place / "runs").iterdir()) == before


def test_shipped_files_say_how_a_hierarchy_is_made() -> None:
    for label in ("gender", "ethnicity"):
        made = load_hierarchy(f"hierarchy-{label}")
        assert made.by == (label,)
        assert made.warm_start
        expert = load_config(f"hierarchy-{label}", "age", role="expert")
        assert (expert.train.epochs, expert.optimizer.lr) == (15, 0.0005)
        assert load_config(f"hierarchy-{label}", "age", role="flat") == load_config("agecnn-cpu", "age")
    assert load_hierarchy("agecnn").by == ("gender",)  # what a file without the table means
    assert not load_hierarchy("agecnn").warm_start


def test_a_file_without_a_base_stands_on_the_configuration_of_the_machine(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("hierarchy: {by: [ethnicity]}\n")
    for machine in ("agecnn", "agecnn-cpu"):
        assert load_config(str(mine), "age", role="flat", machine=machine) == load_config(machine, "age")


def test_members_may_have_settings_of_their_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "base: agecnn-cpu\nhierarchy:\n  by: [ethnicity, gender]\n  warm_start: true\n"
        "  members: {expert: {train: {epochs: 5}, optimizer: {lr: 0.0005}}}\n"
    )
    assert load_hierarchy(str(mine)).by == ("ethnicity", "gender")
    assert load_hierarchy(str(mine)).warm_start
    assert load_config(str(mine), "age", role="expert").train.epochs == 5
    assert load_config(str(mine), "age", role="flat") == load_config("agecnn-cpu", "age")
    assert load_config(str(mine), "age", ["epochs=7"], role="expert").train.epochs == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hierarchy: {bye: [gender]}", "did you mean by"),
        ("hierarchy: {by: [age]}", "hierarchy.by"),
        ("hierarchy: {by: []}", "at least one"),
        ("hierarchy: {min_images: 0}", "hierarchy.min_images"),
        ("hierarchy: {members: {exprt: {}}}", "did you mean expert"),
        ("hierarchy: 5", "no table of settings"),
        ("hierarchy: {members: {expert: {train: {epoch: 5}}}}", "did you mean epochs"),
    ],
)
def test_wrong_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(str(mine), "age", role="expert")


def test_ctrl_c_stops_the_whole_and_leaves_the_training_to_go_on_with(place: Path, tiny: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "agecls", "hierarchy", *BINS, *SMALL, *settings(tiny, 400)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        flat = place / "runs" / "age-own-2" / "last.ckpt"  # the run that is there has other settings
        limit = time.monotonic() + 120
        while not flat.exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "the same command goes on where this one stopped" in err
    assert "Traceback" not in err
    assert Run.load(place / "runs" / "age-own-2").status == "interrupted"
