"""``agecls search-bins`` as a user meets it, and what becomes of a run that is trained with the bins it wrote."""

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agecls import __version__
from agecls.bin_search.asked import Asked
from agecls.bin_search.constraints import Constraints
from agecls.bin_search.matrix import FineMatrix
from agecls.bin_search.search import search
from agecls.bin_search.table import print_search
from agecls.bins import Bins
from agecls.config_files import load_config
from agecls.data.freeze import freeze_split
from agecls.data.looks import look_at
from agecls.data.sources import SourceName
from agecls.data.split import Split
from agecls.data.synthetic import draw_faces
from agecls.errors import BinsError, LeakageError, RunError
from agecls.evaluate import evaluate_part
from agecls.learn.bins_origin import BinsOrigin, Inherited, lineage_file
from agecls.learn.datamodule import FaceData
from agecls.learn.lineage import Lineage
from agecls.learn.run import Run
from agecls.train import TrainRequest, train

Call = Callable[..., Any]
FINE = "0-6,7-12,13-19,20-29,30-44,45-59,60-74,75-116"


def quiet(line: str) -> None:
    pass


def freeze(faces: Path, out: Path, seed: int) -> Split:
    source: list[tuple[SourceName, Path]] = [("synthetic", faces)]
    return freeze_split(source, out, fractions=(0.6, 0.2, 0.2), seed=seed, bins=Bins.parse("4")).split


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def fine_run(drawn_split: Split, drawn_faces: Path, folder: Path, tiny: tuple[str, ...]) -> Run:
    """A run of eight bins on the drawn split; treat it as read-only."""
    config = load_config("agecnn-cpu", "age", (*tiny, "train.epochs=3"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGECLS_CACHE", str(folder / "cache"))
        bins = Bins.parse(FINE)
        asked = TrainRequest("age", bins, "own", drawn_split, drawn_split.roots([drawn_faces]), config, folder / "fine")
        return train(asked, quiet)


@pytest.fixture(scope="module")
def other_split(drawn_faces: Path, folder: Path) -> Split:
    """The images of ``drawn_split``, split again with another seed."""
    return freeze(drawn_faces, folder / "other", seed=1)


@pytest.fixture
def bins_file(agecls: Call, fine_run: Run, workplace: Path) -> Path:
    """``bins.json`` in the working folder, searched in ``fine_run``."""
    outcome = agecls("search-bins", "--run", fine_run.folder, "--bins", 3, "--resamples", 10)
    assert outcome.code == 0, outcome.err
    return Path("bins.json")


def ask(split: Split, faces: Path, bins: Path, out: Path, settings: tuple[str, ...]) -> TrainRequest:
    config = load_config("agecnn-cpu", "age", [*settings, "train.epochs=1"])
    chosen = Bins.parse(str(bins))
    return TrainRequest("age", chosen, "own", split, split.roots([faces]), config, out, bins_file=bins)


def inherit(
    split: Split, faces: Path, bins: Path, settings: tuple[str, ...], *, allow: bool = False
) -> tuple[Inherited, list[str]]:
    """What a training on the split would take over from the bins, and what it would say."""
    asked = ask(split, faces, bins, Path("run"), settings)
    data = FaceData(split, asked.roots, "age", asked.bins, asked.config)
    lines: list[str] = []
    origin = BinsOrigin.load(bins)
    assert origin is not None
    return origin.guard(data, split.fingerprint, allow_leakage=allow, say=lines.append), lines


def test_json_holds_what_the_contract_says(agecls: Call, fine_run: Run, drawn_split: Split, workplace: Path) -> None:
    outcome = agecls(
        "search-bins", "--run", fine_run.folder, "--min-bins", 2, "--max-bins", 4, "--resamples", 20, "--min-support",
        4, "--json", "s.json", "--report", "report", "--out", "b.json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    told = json.loads(Path("s.json").read_text())
    assert {"objective", "results", "recommended", "published"} <= told.keys()
    assert told["objective"] == "macro-f1"
    assert [each["n_bins"] for each in told["results"]] == [2, 3, 4]
    for each in told["results"]:
        assert {"n_bins", "edges", "names", "score", "majority", "stability"} <= each.keys()
        assert Bins.from_names(each["names"]).to_json()["edges"] == each["edges"]
        assert sum(each["support"]) == told["n"] == len(drawn_split.parts["valid"])
        assert [edge["edge"] for edge in each["stability"]] == each["edges"][1:]
        assert min(each["support"]) >= 4
    assert told["recommended"]["n_bins"] in (2, 3, 4)
    assert "one-standard-error" in told["recommended"]["rule"]
    assert [each["name"] for each in told["published"]] == ["3", "4", "7", "7-first", "8"]
    assert (told["run"], told["part"], told["fingerprint"]) == ("fine", "valid", drawn_split.fingerprint)
    assert "recommended: " in outcome.out
    assert "--objective not given: using macro-f1" in outcome.err
    for name in ("blocks.png", "curve.png", "results.csv", "fine.csv", "results.json"):
        assert (Path("report") / name).stat().st_size
    again = agecls(
        "search-bins", "--confusion", "report/fine.csv", "--min-bins", 2, "--max-bins", 4, "--resamples", 20,
        "--min-support", 4, "--json", "again.json", "--out", "c.json",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert json.loads(Path("again.json").read_text())["results"] == told["results"]
    assert "does not say which images it counts" in again.err


def test_table_says_leaks_presets_and_runners_up(workplace: Path) -> None:
    counts = np.diag([30] * 8) + 8
    found = search(FineMatrix(Bins.parse(FINE), counts), Asked("kappa", [3, 4], Constraints(), resamples=5))
    told = {**found.to_json(), "run": "", "split": "", "part": "", "leaked": True, "leaked_count": 7}
    console = Console(file=io.StringIO(), width=80)
    print_search(told, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.startswith("LEAKED (7 images)")
    assert "752 images of a confusion matrix; 8 fine bins" in shown
    assert "* preset 7 cannot be scored" in shown
    assert "* preset 3 is scored as 0-12,13-44,45-116" in shown
    assert "that resampling cannot tell from the best" in " ".join(shown.split())
    assert max(map(len, shown.splitlines()[:20])) <= 80
    print_search({**told, "leaked": False}, clean := Console(file=io.StringIO(), width=80))
    assert "LEAKED" not in clean.file.getvalue()  # type: ignore[attr-defined]


def test_bins_file_says_what_it_was_derived_from(bins_file: Path, fine_run: Run, drawn_split: Split) -> None:
    content = json.loads(bins_file.read_text())
    assert list(content) == ["schema", "names", "edges", "gaps", "derived"]
    assert len(content["names"]) == 3
    assert isinstance(content["derived"].pop("score"), float)
    assert content["derived"] == {
        "run": "fine", "split": drawn_split.name, "fingerprint": drawn_split.fingerprint, "part": "valid",
        "leaked": False, "leaked_count": 0, "objective": "macro-f1", "n_bins": 3, "agecls": __version__,
    }  # fmt: skip
    lineage = Lineage.read(Path("bins.lineage.npz"), "bins")
    assert [each.name for each in lineage.ancestors] == ["bins", "fine"]
    shares = {(share.run, share.reason): share.count for share in lineage.selectors_of(
        drawn_split.parts["valid"].table["sha256"].tolist()
    )}  # fmt: skip
    valid = len(drawn_split.parts["valid"])
    assert shares == {("bins", "bin search"): valid, ("fine", "early stopping"): valid}
    assert not lineage.selectors_of(drawn_split.parts["test"].table["sha256"].tolist())


def test_the_same_bins_are_left_alone_and_others_never_written_over(
    agecls: Call, bins_file: Path, fine_run: Run
) -> None:
    before = bins_file.read_bytes()
    same = agecls("search-bins", "--run", fine_run.folder, "--bins", 3, "--resamples", 10)
    assert same.code == 0
    assert "the same bins are there already" in same.out
    other = agecls("search-bins", "--run", fine_run.folder, "--bins", 4, "--resamples", 10)
    assert other.code == 2
    assert "never written over" in other.err
    assert "recommended: 4 bins" in other.out, "the result is still shown"
    assert bins_file.read_bytes() == before


def test_a_run_of_searched_bins_carries_their_lineage(
    agecls: Call, bins_file: Path, drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...]
) -> None:
    settings = [word for setting in (*tiny, "train.epochs=1") for word in ("--set", setting)]
    outcome = agecls(
        "train", "--bins", "bins.json", "--split", drawn_split.folder, "--root", drawn_faces, "--config", "agecnn-cpu",
        *settings, "--out", "run",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "bins       bins.json, searched on valid of drawn with fine" in outcome.err
    run = Run.load(Path("run"))
    assert not run.leaked
    assert run.parents == (), "the search is no warm start"
    assert [each.name for each in Lineage.load(run.folder).ancestors] == ["run", "bins", "fine"]
    roots = drawn_split.roots([drawn_faces])
    notes = evaluate_part(run, "valid", drawn_split, roots).notes
    valid = len(drawn_split.parts["valid"])
    assert any(f"{valid} images to be scored helped to select run bins (bin search)" in note for note in notes)
    assert not any("bin search" in note for note in evaluate_part(run, "test", drawn_split, roots).notes)


def test_searched_bins_are_refused_where_their_images_would_judge(
    agecls: Call, bins_file: Path, other_split: Split, drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...]
) -> None:
    settings = [word for setting in (*tiny, "train.epochs=1") for word in ("--set", setting)]
    command = (
        "train", "--bins", "bins.json", "--split", other_split.folder, "--root", drawn_faces, "--config", "agecnn-cpu",
        *settings, "--out", "run",
    )  # fmt: skip
    refused = agecls(*command)
    assert refused.code == 3
    assert "run fine, an ancestor of bins, was fitted on" in refused.err
    assert not Path("run").exists()
    allowed = agecls(*command, "--allow-leakage")
    assert allowed.code == 0, allowed.err
    run = Run.load(Path("run"))
    fitted = set(drawn_split.parts["train"].table["sha256"])
    judged = sum(other_split.parts[part].table["sha256"].isin(fitted).sum() for part in ("valid", "test"))
    seen = other_split.parts["test"].table["sha256"].isin(set(drawn_split.parts["valid"].table["sha256"])).sum()
    assert (run.leaked, run.leaked_count) == (True, judged + seen)


def test_bins_that_were_chosen_on_images_of_test_are_refused(
    bins_file: Path, drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...]
) -> None:
    chosen = drawn_split.parts["test"].table["sha256"].tolist()[:5]
    looks = look_at(drawn_split.everything, drawn_split.roots([drawn_faces]))
    seen = (chosen, looks.perceptual(chosen))
    Lineage.of("bins", drawn_split.fingerprint, selected=seen, reason="bin search").write(lineage_file(bins_file))
    with pytest.raises(LeakageError, match="5 images of test helped to select the bins") as refusal:
        inherit(drawn_split, drawn_faces, bins_file, tiny)
    assert refusal.value.got.count(".jpg") == 3
    found, lines = inherit(drawn_split, drawn_faces, bins_file, tiny, allow=True)
    assert (found.leaked, found.leaked_count) == (True, 5)
    assert any(line.startswith("LEAKED: 5 images of test") for line in lines)


def test_without_the_lineage_the_same_split_is_enough_and_another_is_refused(
    bins_file: Path, drawn_split: Split, other_split: Split, drawn_faces: Path, tiny: tuple[str, ...]
) -> None:
    lineage_file(bins_file).unlink()
    found, lines = inherit(drawn_split, drawn_faces, bins_file, tiny)
    assert any("valid is marked as selected on" in line for line in lines)
    valid = drawn_split.parts["valid"].table["sha256"].tolist()
    assert found.lineage is not None
    assert {share.reason: share.count for share in found.lineage.selectors_of(valid)} == {"bin search": len(valid)}
    request = ask(other_split, drawn_faces, bins_file, Path("other"), tiny)
    with pytest.raises(LeakageError, match=r"bins\.lineage\.npz does not lie beside them"):
        train(request, quiet)
    assert train(dataclasses.replace(request, allow_leakage=True), quiet).leaked


def test_a_damaged_or_foreign_lineage_is_refused(bins_file: Path, other_split: Split) -> None:
    lineage_file(bins_file).write_bytes(b"PK")
    with pytest.raises(RunError, match=r"no readable bins\.lineage\.npz"):
        BinsOrigin.load(bins_file)
    Lineage.of("bins", other_split.fingerprint).write(lineage_file(bins_file))
    with pytest.raises(RunError, match="is not the lineage of"):
        BinsOrigin.load(bins_file)


@pytest.mark.parametrize("derived", [3, [], {}, {"split": "a", "fingerprint": 3, "run": "a", "part": "valid"}])
def test_a_damaged_origin_is_refused(derived: object, tmp_path: Path) -> None:
    path = tmp_path / "bins.json"
    path.write_text(json.dumps({"names": ["0-2", "3-116"], "derived": derived}))
    with pytest.raises(BinsError, match='damaged entry "derived"'):
        BinsOrigin.load(path)


def test_bins_written_by_hand_have_no_origin(tmp_path: Path) -> None:
    path = tmp_path / "bins.json"
    for content in ('{"names": ["0-2", "3-116"]}', '["0-2", "3-116"]'):
        path.write_text(content)
        assert BinsOrigin.load(path) is None


def test_a_leaked_search_marks_its_bins_and_what_is_trained_with_them(
    bins_file: Path, drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...]
) -> None:
    content = json.loads(bins_file.read_text())
    content["derived"] |= {"leaked": True, "leaked_count": 7}
    bins_file.write_text(json.dumps(content))
    found, _ = inherit(drawn_split, drawn_faces, bins_file, tiny)
    assert (found.leaked, found.leaked_count) == (True, 7)


def test_resuming_takes_the_bins_it_was_started_with(
    bins_file: Path, drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...]
) -> None:
    request = ask(drawn_split, drawn_faces, bins_file, Path("run"), tiny)
    by_hand = train(dataclasses.replace(request, bins_file=None), quiet)
    with pytest.raises(RunError, match="was not started with the searched bins"):
        train(dataclasses.replace(request, resume=True), quiet)
    shutil.rmtree(by_hand.folder)
    train(request, quiet)
    assert train(dataclasses.replace(request, resume=True), quiet).status == "finished"
    lineage_file(bins_file).unlink()
    assert train(dataclasses.replace(request, resume=True), quiet).status == "finished"


def test_bins_of_unknown_images_are_trained_with_a_word(
    agecls: Call, drawn_split: Split, drawn_faces: Path, workplace: Path, tiny: tuple[str, ...]
) -> None:
    Path("m.csv").write_text("0-12,13-39,40-59,60-116\n9,1,0,0\n1,9,1,0\n0,1,9,1\n0,0,1,9\n")
    outcome = agecls("search-bins", "--confusion", "m.csv", "--bins", 3, "--resamples", 5)
    assert outcome.code == 0, outcome.err
    assert not Path("bins.lineage.npz").exists()
    derived = json.loads(Path("bins.json").read_text())["derived"]
    assert (derived["run"], derived["split"], derived["fingerprint"]) == ("", "", "")
    found, lines = inherit(drawn_split, drawn_faces, Path("bins.json"), tiny)
    assert any("a confusion matrix of images that agecls does not know" in line for line in lines)
    assert (found.lineage, found.leaked, found.leaked_count) == (None, False, 0)


def test_the_test_part_is_refused(agecls: Call, fine_run: Run, drawn_faces: Path, workplace: Path) -> None:
    asked = agecls("search-bins", "--run", fine_run.folder, "--part", "test")
    assert (asked.code, asked.out) == (3, "")
    assert "never searched on the test part" in asked.err
    assert not (fine_run.folder / "ledger.json").exists()
    assert agecls("search-bins", "--run", fine_run.folder, "--part", "train").code == 2
    scored = agecls("evaluate", fine_run.folder, "--part", "test", "--root", drawn_faces, "--json", "t.json")
    assert scored.code == 0, scored.err
    (fine_run.folder / "ledger.json").unlink()
    refused = agecls("search-bins", "--confusion", "t.json", "--bins", 3)
    assert refused.code == 3
    assert "test part" in refused.err
    assert not Path("bins.json").exists()


def test_json_of_a_valid_evaluation_is_searched(agecls: Call, fine_run: Run, workplace: Path) -> None:
    assert agecls("evaluate", fine_run.folder, "--part", "valid", "--json", "v.json").code == 0
    outcome = agecls("search-bins", "--confusion", "v.json", "--bins", 3, "--resamples", 5, "--part", "valid")
    assert outcome.code == 0, outcome.err
    derived = json.loads(Path("bins.json").read_text())["derived"]
    assert (derived["run"], derived["split"], derived["part"], derived["fingerprint"]) == ("fine", "drawn", "valid", "")


def test_names_in_a_file_reach_no_terminal(agecls: Call, workplace: Path) -> None:
    measured = {"task": "age", "classes": ["0-2", "3-14", "15-116"], "confusion": np.diag([9, 9, 9]).tolist()}
    told = {**measured, "part": "valid", "run": "\x1b[31m[bold]red", "split": "s" * 5000}
    Path("v.json").write_text(json.dumps(told))
    outcome = agecls("search-bins", "--confusion", "v.json", "--bins", 2, "--resamples", 5)
    assert outcome.code == 0, outcome.err
    assert "\x1b" not in outcome.out
    assert "[31m[bold]red" in outcome.out
    assert "s" * 101 not in outcome.out.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--run", "nowhere"), "there is no run at nowhere"),
        (("--run", "FINE", "--confusion", "m.csv"), "either --run or --confusion"),
        (("--run", "FINE", "--folds", "3"), "--folds"),
        (("--confusion", "m.csv", "--set", "train.epochs=1"), "--set"),
        (("--confusion", "m.csv"), "cannot read m.csv"),
        (("--run", "FINE", "--bins", "9"), "8 fine bins cannot be merged into 9"),
        (("--run", "FINE", "--bins", "1"), "2 or more"),
        (("--run", "FINE", "--min-bins", "9", "--max-bins", "3"), "--min-bins is above --max-bins"),
        (("--run", "FINE", "--bins", "3", "--max-bins", "3"), "a range"),
        (("--run", "FINE", "--edge", "18"), "no boundary of the fine bins"),
        (("--run", "FINE", "--edge", "eighteen"), "--edge takes years"),
        (("--run", "FINE", "--edge", "13", "--no-edge", "13"), "both required and forbidden"),
        (("--run", "FINE", "--min-support", "60"), "--min-support 60"),
        (("--run", "FINE", "--out", "bins.txt"), "ends in .json"),
        (("--run", "FINE", "--resamples", "1"), "--resamples"),
        (("--run", "FINE", "--split", "nowhere"), "there is no split at nowhere"),
        (("--run", "FINE", "--objective", "beauty"), "beauty"),
        (("--split", "nowhere"), "there is no split at nowhere"),
        (("--fine", "0-2", "--split", "nowhere"), "at least two"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_to_do(
    arguments: tuple[str, ...], expected: str, agecls: Call, fine_run: Run, workplace: Path
) -> None:
    code, out, err = agecls("search-bins", *(fine_run.folder if each == "FINE" else each for each in arguments))
    assert code == 2
    assert expected in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert out == ""
    assert not Path("bins.json").exists()


def test_a_run_of_another_task_is_refused(agecls: Call, drawn_run: Run, workplace: Path) -> None:
    outcome = agecls("search-bins", "--run", drawn_run.folder)
    assert outcome.code == 2
    assert "predicts gender, which has no bins to search" in outcome.err


def test_a_run_whose_split_is_gone_is_refused(agecls: Call, fine_run: Run, workplace: Path) -> None:
    shutil.copytree(fine_run.folder, "moved")
    record = json.loads(Path("moved/run.json").read_text())
    record["split"] |= {"folder": str(workplace / "gone"), "name": "gone"}
    Path("moved/run.json").write_text(json.dumps(record))
    outcome = agecls("search-bins", "--run", "moved")
    assert outcome.code == 2
    assert "is not where it was trained" in outcome.err


def test_bare_search_trains_what_is_missing_and_then_reuses_it(
    agecls: Call, workplace: Path, monkeypatch: pytest.MonkeyPatch, tiny: tuple[str, ...]
) -> None:
    faces = workplace / "faces"
    draw_faces(faces, 300, seed=8, size=48)
    frozen = freeze(faces, workplace / "splits" / "utkface", seed=0)
    monkeypatch.setenv("AGECLS_ROOT", str(faces))
    settings = [word for setting in (*tiny, "train.epochs=1") for word in ("--set", setting)]
    first = agecls("search-bins", "--resamples", 5, *settings)
    assert first.code == 0, first.err
    for said in ("--split not given: using splits/utkface", "training one", "--out not given: using bins.json"):
        assert said in first.err
    run = Run.load(Path("runs/age-fine-1"))
    assert len(run.bins) >= 24
    assert np.bincount(frozen.parts["train"].targets("age", run.bins)).min() >= 2
    second = agecls("search-bins", "--resamples", 5)
    assert second.code == 0, second.err
    assert "--run not given: using runs/age-fine-1" in second.err
    assert "the same bins are there already" in second.out
    assert [path.name for path in Path("runs").iterdir()] == ["age-fine-1"]
    folds = agecls("search-bins", "--folds", 2, "--resamples", 5, "--out", "folds.json", *settings)
    assert folds.code == 0, folds.err
    derived = json.loads(Path("folds.json").read_text())["derived"]
    assert derived["part"] == "train, out of fold"
    assert derived["run"] == "age-fine-fold-1-of-2-1, age-fine-fold-2-of-2-1"
    lineage = Lineage.read(Path("folds.lineage.npz"), "folds")
    chosen = {share.run for share in lineage.selectors_of(frozen.parts["train"].table["sha256"].tolist())}
    assert chosen == {"folds"}
    assert not lineage.selectors_of(frozen.parts["test"].table["sha256"].tolist())
    assert not inherit(frozen, faces, Path("folds.json"), tiny)[0].leaked
    lineage_file(Path("folds.json")).unlink()
    orphan = inherit(frozen, faces, Path("folds.json"), tiny)[0].lineage
    assert orphan is not None
    reasons = {share.reason for share in orphan.selectors_of(frozen.parts["train"].table["sha256"].tolist())}
    assert reasons == {"bin search"}


def test_a_lineage_of_other_bins_is_never_left_beside_new_ones(agecls: Call, bins_file: Path, workplace: Path) -> None:
    bins_file.unlink()
    Path("m.csv").write_text("9,1,0\n1,9,1\n0,1,9\n")
    outcome = agecls("search-bins", "--confusion", "m.csv", "--bins", 2, "--resamples", 5)
    assert outcome.code == 2
    assert "is of other bins" in outcome.err
    assert not bins_file.exists()
