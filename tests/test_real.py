"""Every command on real faces, where they lie beside the checkout: a part of UTKFace and the FairFace sample."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytestmark = pytest.mark.real

TINY = (
    "network.features=8",
    "network.image_size=32",
    "network.dropout=0.1",
    "train.epochs=8",
    "train.batch_size=16",
    "optimizer.lr=0.003",
    "optimizer.weight_decay=0",
)
SETTINGS = [word for setting in TINY for word in ("--set", setting)]


@pytest.fixture(scope="module")
def utkface_part(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every twentieth UTKFace image, and the three whose names lack a field."""
    folder = tmp_path_factory.mktemp("part")
    with tarfile.open(shared_data / "utkface.tar") as archive:
        members = archive.getmembers()
        short = [member for member in members if member.name.count("_") == 2]
        archive.extractall(folder, members=[*members[::20], *short], filter="data")
    return folder


@pytest.fixture(scope="module")
def fairface(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The FairFace sample."""
    folder = tmp_path_factory.mktemp("fairface")
    with tarfile.open(shared_data / "fairface_sample.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_split_train_evaluate_predict(
    agecls: Callable[..., Any], utkface_part: Path, fairface: Path, workplace: Path
) -> None:
    code, out, err = agecls("split", "--root", utkface_part)
    assert code == 0, err
    assert "3  name lacks a field: expected age_gender_race_stamp" in out
    for task in ("age", "ethnicity"):
        code, _, err = agecls("train", "--task", task, "--root", utkface_part, "--out", f"runs/{task}", *SETTINGS)
        assert code == 0, err
    code, _, err = agecls("evaluate", "runs/age", "--part", "test", "--json", "age.json", "--report", "report")
    assert code == 0, err
    measured = json.loads((workplace / "age.json").read_text())
    assert measured["classes"] == ["0-2", "3-6", "7-14", "15-30", "31-40", "41-65", "66-116"]
    assert measured["macro_f1"] > measured["majority_macro_f1"]
    code, _, err = agecls("evaluate", "runs/age", "--source", "utkface", "--root", utkface_part)
    assert code == 3
    code, _, err = agecls("evaluate", "runs/ethnicity", "--source", "fairface", "--root", fairface, "--json", "f.json")
    assert code == 0, err
    assert json.loads((workplace / "f.json").read_text())["n"] == 2959
    images = sorted(utkface_part.iterdir())[:5]
    code, _, err = agecls("predict", "runs/age", "runs/ethnicity", *images, "--plot", "p.png", "--json", "p.json")
    assert code == 0, err
    assert all(set(row["tasks"]) == {"age", "ethnicity"} for row in json.loads((workplace / "p.json").read_text()))


def test_hierarchy_and_searched_bins(agecls: Callable[..., Any], utkface_part: Path, workplace: Path) -> None:
    root = ("--root", utkface_part)
    assert agecls("split", *root).code == 0
    bins = ("--bins", "3")
    code, _, err = agecls(
        "hierarchy", *bins, *root, *SETTINGS, "--min-images", "5", "--json", "h.json", "--report", "r"
    )
    assert code == 0, err
    measured = json.loads((workplace / "h.json").read_text())
    assert measured["routings"]["flat"]["macro_f1"] > measured["majority_macro_f1"]
    assert measured["misrouting"]["n"] == measured["n"]
    code, _, err = agecls("evaluate", "runs/hierarchy-gender-3-1", "--part", "test", *root)
    assert code == 0, err
    code, _, err = agecls("search-bins", *root, *SETTINGS, "--max-bins", "5", "--resamples", "20", "--json", "b.json")
    assert code == 0, err
    found = json.loads((workplace / "b.json").read_text())
    assert [each["n_bins"] for each in found["results"]] == [3, 4, 5]
    published = {each["n_bins"]: each["score"] for each in found["published"] if each["exact"]}
    assert all(each["score"] >= published.get(each["n_bins"], 0) for each in found["results"])
    code, _, err = agecls("train", "--bins", "bins.json", *root, *SETTINGS)
    assert code == 0, err
    assert "searched on valid of utkface" in err
    code, _, err = agecls("evaluate", "runs/age-own-1", "--part", "valid", *root)
    assert "(bin search)" in err


def test_two_sources_in_one_split(
    agecls: Callable[..., Any], utkface_part: Path, fairface: Path, workplace: Path
) -> None:
    sources = ("--source", "utkface", "--root", utkface_part, "--source", "fairface", "--root", fairface)
    code, _, err = agecls("split", *sources, "--out", "splits/both")
    assert code == 0, err
    train = pd.read_csv(workplace / "splits" / "both" / "train.csv", keep_default_na=False)
    assert set(train["source"]) == {"utkface", "fairface"}
    ranged = train[train["source"] == "fairface"]
    assert (ranged["age"] == "").all()
    assert set(ranged["age_low"].astype(int)) == {0, 3, 10, 20, 30, 40, 50, 60, 70}
    roots = ("--root", utkface_part, "--root", fairface)
    code, _, err = agecls("train", "--split", "splits/both", "--bins", "0-9,10-39,40-116", *roots, *SETTINGS)
    assert code == 0, err
    assert "have no label" not in err
    code, _, err = agecls("train", "--split", "splits/both", "--bins", "7", *roots, *SETTINGS)
    assert code == 0, err
    assert "images of train have no label for these classes and are left out" in err
