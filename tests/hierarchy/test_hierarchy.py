"""Hierarchies of drawn faces: made, reused, refused, and taken by every command as the runs they are."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.freeze import freeze_split
from agecls.data.split import Split
from agecls.errors import DataError, LeakageError, RunError, UsageError
from agecls.evaluate import evaluate_part
from agecls.hierarchy import Built, HierarchyRequest, hierarchy
from agecls.hierarchy.choose import choose
from agecls.learn.hierarchy import network_of, open_members
from agecls.learn.lineage import Lineage
from agecls.learn.run import Run
from agecls.predict import predict_images
from agecls.train import TrainRequest, train

Say = Callable[[str], None]
BINS = Bins.parse("0-29,30-59,60-116")
ROUTINGS = ["flat", "hard", "soft", "oracle", "abstain"]


@pytest.fixture(scope="module")
def asked(
    drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> HierarchyRequest:
    config = load_config("agecnn-cpu", "age", [*tiny, "train.epochs=2"])
    return HierarchyRequest(
        by=("gender",),
        bins=BINS,
        bins_name="own",
        split=drawn_split,
        roots=drawn_split.roots([drawn_faces]),
        flat_config=config,
        expert_config=config,
        router_configs=dict.fromkeys(("gender", "ethnicity"), config),  # type: ignore[misc]
        out=tmp_path_factory.mktemp("hierarchies") / "first",
    )


@pytest.fixture(scope="module")
def built(asked: HierarchyRequest) -> Built:
    return hierarchy(asked, lambda line: None)


def again(asked: HierarchyRequest, name: str, **changes: Any) -> HierarchyRequest:
    assert asked.out is not None
    return dataclasses.replace(asked, out=asked.out.parent / name, **changes)


def test_one_call_trains_a_router_two_experts_and_the_flat_model(asked: HierarchyRequest, built: Built) -> None:
    members = open_members(built.run)
    assert members.flat.only == {}
    assert [router.task for router in members.routers] == ["gender"]
    assert {group: dict(run.only) for group, run in members.experts.items()} == {
        "male": {"gender": "male"},
        "female": {"gender": "female"},
    }
    assert {run.split.fingerprint for _, _, run in members} == {asked.split.fingerprint}
    assert list(built.measured["routings"]) == ROUTINGS
    assert built.measured["n"] == len(asked.split.parts["valid"])
    assert not any(each["reused"] for each in built.measured["members"].values())
    assert built.measured["members"]["expert male"]["train_images"] == int(
        (asked.split.parts["train"].table["gender"] == "male").sum()
    )


def test_the_second_hierarchy_trains_nothing(asked: HierarchyRequest, built: Built) -> None:
    said: list[str] = []
    request = again(asked, "second", routing="soft")
    second = hierarchy(request, said.append)
    assert all(each["reused"] for each in second.measured["members"].values())
    assert not [line for line in said if "training" in line]
    assert second.measured["routing"] == "soft"
    assert second.run.chain is not None
    assert second.run.chain.routing == "soft"
    for routing in ROUTINGS:
        assert second.measured["routings"][routing]["confusion"] == built.measured["routings"][routing]["confusion"]


def test_the_best_routing_on_valid_is_kept(built: Built) -> None:
    scores = built.measured["valid_macro_f1"]
    assert built.measured["routing"] == max(("hard", "abstain", "soft"), key=lambda name: scores[name])
    assert scores["abstain"] >= scores["hard"]
    for name in ROUTINGS:
        assert built.measured["routings"][name]["macro_f1"] == pytest.approx(scores[name])


def test_evaluate_scores_a_hierarchy_as_any_run(asked: HierarchyRequest, built: Built) -> None:
    loaded = Run.load(built.run.folder)
    evaluation = evaluate_part(loaded, "valid", asked.split, asked.roots)
    chosen = built.measured["routing"]
    assert evaluation.measured["confusion"] == built.measured["routings"][chosen]["confusion"]
    np.testing.assert_allclose(
        evaluation.report.probabilities, built.report.probabilities[chosen], rtol=1e-4, atol=1e-5
    )
    assert any("choice of routing" in note for note in evaluation.notes)
    with pytest.raises(LeakageError):
        evaluate_part(loaded, "valid", dataclasses.replace(asked.split, parts=_swapped(asked.split)), asked.roots)


def _swapped(split: Split) -> Any:
    return {"train": split.parts["valid"], "valid": split.parts["train"], "test": split.parts["test"]}


def test_the_flat_row_is_what_evaluate_says_of_the_flat_run(asked: HierarchyRequest, built: Built) -> None:
    flat = open_members(built.run).flat
    evaluation = evaluate_part(flat, "valid", asked.split, asked.roots)
    assert evaluation.measured["confusion"] == built.measured["routings"]["flat"]["confusion"]
    assert evaluation.measured["macro_f1_ci95"] == built.measured["routings"]["flat"]["macro_f1_ci95"]


def test_predict_takes_a_hierarchy_beside_other_runs(built: Built, drawn_faces: Path, drawn_run: Run) -> None:
    images = sorted(drawn_faces.glob("faces/*"))[:3]
    answers = predict_images([Run.load(built.run.folder)], images)
    for each in answers:
        assert set(each.tasks["age"]["probabilities"]) == set(BINS.names)
        assert sum(each.tasks["age"]["probabilities"].values()) == pytest.approx(1)


def test_the_folder_stands_alone(built: Built, tmp_path: Path) -> None:
    moved = shutil.copytree(built.run.folder, tmp_path / "moved")
    assert network_of(Run.load(moved)) is not None
    folders = {path.parent.name for path in moved.glob("members/*/run.json")}
    assert folders == {"flat", "router-gender", "expert-male", "expert-female"}


def test_lineage_holds_what_every_member_has_seen(asked: HierarchyRequest, built: Built) -> None:
    lineage = Lineage.load(built.run.folder)
    for _, _, run in open_members(built.run):
        assert set(Lineage.load(run.folder).ancestors) <= set(lineage.ancestors)
    train_hashes = asked.split.parts["train"].table["sha256"].tolist()
    thumbnails = np.zeros((len(train_hashes), 64, 64), np.uint8)
    assert lineage.meet(train_hashes, thumbnails, asked.split.fingerprint).count == len(train_hashes)


def test_experts_start_from_the_flat_model_where_asked(asked: HierarchyRequest, built: Built) -> None:
    said: list[str] = []
    warm = hierarchy(again(asked, "warm", warm_start=True), said.append)
    members = open_members(warm.run)
    assert [len(run.parents) for run in members.experts.values()] == [1, 1]
    assert {run.parents[0].folder for run in members.experts.values()} == {str((asked.folder / "age-own-1").resolve())}
    assert sum("tensors taken" in line for line in said) == 2
    assert not members.flat.parents


def test_given_runs_are_used(asked: HierarchyRequest, built: Built) -> None:
    folder = asked.folder
    request = again(
        asked,
        "given",
        flat=folder / "age-own-1",
        routers=(folder / "gender-own-1",),
        experts={"male": folder / "age-own-female-1"},
    )
    with pytest.raises(RunError, match="expert male of the hierarchy was trained on other images"):
        hierarchy(request, lambda line: None)
    both = {group: folder / f"age-own-{group}-1" for group in ("male", "female")}
    made = hierarchy(dataclasses.replace(request, experts=both), lambda line: None)
    assert made.measured["routings"]["hard"]["confusion"] == built.measured["routings"]["hard"]["confusion"]


def test_a_small_group_falls_back_to_the_flat_model(asked: HierarchyRequest, built: Built) -> None:
    train_faces = asked.split.parts["train"]
    bins = train_faces.targets("age", BINS)
    fewest = {
        gender: int(np.bincount(bins[(train_faces.table["gender"] == gender).to_numpy()], minlength=3).min())
        for gender in ("male", "female")
    }
    assert fewest["male"] != fewest["female"]
    small, large = sorted(fewest, key=lambda name: fewest[name])
    said: list[str] = []
    made = hierarchy(again(asked, "fallback", min_images=fewest[large]), said.append)
    assert list(made.measured["fallback"]) == [small]
    assert f"{fewest[small]} training images" in made.measured["fallback"][small]
    assert any(line.startswith(f"{small}: {fewest[small]} training images") for line in said)
    rows = np.array(made.report.true_group) == ["male", "female"].index(small)
    np.testing.assert_allclose(made.report.probabilities["oracle"][rows], made.report.probabilities["flat"][rows])
    assert evaluate_part(Run.load(made.run.folder), "valid", asked.split, asked.roots).measured["n"] > 0
    with pytest.raises(DataError, match="no group has images enough"):
        hierarchy(again(asked, "nobody", min_images=10_000), said.append)


def test_a_chain_of_two_routers_works_by_the_same_code(asked: HierarchyRequest, built: Built) -> None:
    made = hierarchy(again(asked, "deep", by=("gender", "ethnicity"), min_images=4), lambda line: None)
    members = open_members(made.run)
    assert [router.task for router in members.routers] == ["gender", "ethnicity"]
    assert members.experts
    assert all(len(run.only) == 2 for run in members.experts.values())
    assert len(made.report.group_names) == 10
    found = evaluate_part(Run.load(made.run.folder), "valid", asked.split, asked.roots)
    assert found.measured["confusion"] == made.measured["routings"][made.measured["routing"]]["confusion"]


@pytest.fixture(scope="module")
def stranger(asked: HierarchyRequest, drawn_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An expert for men from another draw of the same faces: the published mistake."""
    out = tmp_path_factory.mktemp("other") / "split"
    split = freeze_split(
        [("synthetic", drawn_faces)], out, fractions=(0.6, 0.2, 0.2), seed=1, bins=Bins.parse("4")
    ).split
    request = TrainRequest(
        task="age", bins=BINS, bins_name="own", split=split, roots=split.roots([drawn_faces]),
        config=asked.expert_config, out=out.parent / "male", only={"gender": "male"},
    )  # fmt: skip
    return train(request, lambda line: None)


def test_a_hierarchy_of_runs_of_different_splits_is_refused(
    asked: HierarchyRequest, built: Built, stranger: Run
) -> None:
    request = again(asked, "mixed", experts={"male": stranger.folder})
    with pytest.raises(LeakageError, match="trained on another split"):
        hierarchy(request, lambda line: None)
    assert request.out is not None
    assert not request.out.exists()


def test_forced_it_is_marked_for_good(asked: HierarchyRequest, built: Built, stranger: Run) -> None:
    request = again(asked, "forced", experts={"male": stranger.folder}, allow_leakage=True)
    said: list[str] = []
    made = hierarchy(request, said.append)
    assert made.run.leaked
    assert made.run.leaked_count > 0
    assert made.measured["leaked"]
    assert any(line.startswith("LEAKED") for line in said)
    with pytest.raises(LeakageError):
        evaluate_part(Run.load(made.run.folder), "test", asked.split, asked.roots)
    later = evaluate_part(Run.load(made.run.folder), "test", asked.split, asked.roots, allow_leakage=True)
    assert later.measured["leaked"]


def test_a_member_of_another_split_put_into_the_folder_is_found(built: Built, stranger: Run, tmp_path: Path) -> None:
    moved = shutil.copytree(built.run.folder, tmp_path / "tampered")
    for name in ("run.json", "model.safetensors", "lineage.npz"):
        shutil.copy(stranger.folder / name, moved / "members" / "expert-male" / name)
    with pytest.raises(LeakageError, match="expert male"):
        network_of(Run.load(moved))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "gender", "classes": ["male", "female"]}, "must be a run of task age"),
        ({"only": {"gender": "male"}}, "trained on other images"),
        ({"hierarchy": "own"}, "itself a hierarchy"),
        ({"preprocessing": {"image_size": 64, "channels": 1, "scale": 1.0}}, "same input"),
    ],
)
def test_members_that_do_not_fit_are_refused(
    built: Built, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    moved = shutil.copytree(built.run.folder, tmp_path / "broken")
    record = moved / "members" / "flat" / "run.json"
    content = json.loads(record.read_text())
    if "hierarchy" in change:
        change = {"hierarchy": json.loads((moved / "run.json").read_text())["hierarchy"]}
    record.write_text(json.dumps({**content, **change}))
    with pytest.raises(RunError, match=message):
        network_of(Run.load(moved))


def test_a_hierarchy_has_no_weights_to_start_from(asked: HierarchyRequest, built: Built) -> None:
    request = TrainRequest(
        task="age", bins=BINS, bins_name="own", split=asked.split, roots=asked.roots, config=asked.flat_config,
        out=asked.folder / "child", init_from=built.run.folder,
    )  # fmt: skip
    with pytest.raises(RunError, match="is a hierarchy and has no weights of its own"):
        train(request, lambda line: None)


def test_wrong_words_are_refused(asked: HierarchyRequest, built: Built) -> None:
    with pytest.raises(UsageError, match="no group white by gender"):
        again(asked, "x", experts={"white": asked.folder / "age-own-1"})
    with pytest.raises(RunError, match="must tell apart what the hierarchy routes by"):
        hierarchy(again(asked, "x", routers=(asked.folder / "age-own-1",)), lambda line: None)
    with pytest.raises(RunError, match="exists already"):
        hierarchy(asked, lambda line: None)


def test_an_unfinished_member_is_gone_on_with(asked: HierarchyRequest, built: Built, tmp_path: Path) -> None:
    request = dataclasses.replace(asked, out=tmp_path / "later")
    for folder in asked.folder.glob("*-own-*"):
        if (folder / "run.json").exists():
            shutil.copytree(folder, tmp_path / folder.name)
    record = tmp_path / "age-own-male-1" / "run.json"
    record.write_text(record.read_text().replace('"finished"', '"interrupted"'))
    said: list[str] = []
    made = hierarchy(request, said.append)
    assert f"expert male: going on with {tmp_path / 'age-own-male-1'}" in said
    assert [name for name, each in made.measured["members"].items() if not each["reused"]] == ["expert male"]


def test_test_is_opened_only_where_asked_and_then_counted(asked: HierarchyRequest, built: Built) -> None:
    assert not (built.run.folder / "ledger.json").exists()
    made = hierarchy(again(asked, "opened", part="test"), lambda line: None)
    assert made.measured["part"] == "test"
    assert made.measured["n"] == len(asked.split.parts["test"])
    assert (made.run.folder / "ledger.json").exists()
    assert (asked.folder / "age-own-1" / "ledger.json").exists()
    # What was chosen does not depend on the part that is scored.
    assert made.run.chain == built.run.chain


def test_costs_are_those_of_what_has_to_run(built: Built) -> None:
    members, routings = built.measured["members"], built.measured["routings"]
    total = sum(each["parameters"] for each in members.values())
    assert routings["flat"]["parameters"] == members["flat"]["parameters"]
    assert routings["hard"]["parameters"] == total - members["flat"]["parameters"]
    assert routings["abstain"]["parameters"] == total
    assert all(routings[name]["ms_per_image"] > 0 for name in ROUTINGS if name != "oracle")


def test_choose_takes_the_lowest_of_equal_thresholds(asked: HierarchyRequest, built: Built) -> None:
    from agecls.hierarchy.answers import ask_members

    members = open_members(built.run)
    valid = ask_members(members.load(), asked.by, BINS, asked.split, "valid", asked.roots, members.flat.preprocessing)
    chosen = choose(valid, "best")
    assert built.run.chain is not None
    assert chosen.threshold == built.run.chain.threshold
    assert choose(valid, "hard").routing == "hard"
