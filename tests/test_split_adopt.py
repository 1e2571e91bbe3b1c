"""``agecls split --adopt``: exit codes, what is said, and which flags do not go together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn import BYTE_TWINS, STAMP_TWINS

from agecls.data.split import Split

Call = Callable[..., Any]


@pytest.fixture
def leaky(utk_folder: Path, workplace: Path) -> Path:
    """A working folder with ``utkface`` and three tables: the stamp twins lie in train and test."""
    names = sorted(path.name for path in utk_folder.iterdir() if path.name not in (*STAMP_TWINS, *BYTE_TWINS))
    parts = {
        "train": [*names[:30], STAMP_TWINS[0]],
        "valid": [*names[30:45], *BYTE_TWINS],
        "test": [*names[45:-2], STAMP_TWINS[1]],
    }
    for part, each in parts.items():
        lines = [f"{number},{name},{name.split('_')[0]}" for number, name in enumerate(each)]
        (workplace / f"{part}.csv").write_text("\n".join([",filename,age", *lines, ""]), encoding="utf-8")
    return workplace


TABLES = "train.csv,valid.csv,test.csv"


def test_as_it_is_exits_with_1_after_everything_is_written(agecls: Call, leaky: Path) -> None:
    code, out, err = agecls("split", "--root", "utkface", "--adopt", TABLES, "--out", "theirs")
    assert code == 1, err
    assert "LEAKS: 1 of train and 0 of valid" in out
    assert "1 by stamp" in out
    assert "refuse it (exit 3) without --allow-leakage" in out
    assert "--repair would drop 1 of train and 0 of valid" in out
    assert "left out: 2 images that no table names" in out
    assert "ages: 0 rows give another age than the source" in out
    assert "conflicts: 2 images" in out
    assert "left where they fell" in out
    assert "groups that share a part" not in out
    assert "Traceback" not in err
    assert Split.load(leaky / "theirs", allow_leakage=True).leaks == 1
    refused = agecls("train", "--split", "theirs", "--root", "utkface", "--task", "age", "--bins", "4")
    assert refused.code == 3, refused.err


def test_repaired_exits_with_0_and_says_what_was_dropped(agecls: Call, leaky: Path) -> None:
    code, out, err = agecls("split", "--root", "utkface", "--adopt", TABLES, "--repair", "--out", "fixed")
    assert code == 0, err
    assert "repaired: 1 of train and 0 of valid dropped" in out
    assert "1  belongs with an image of test [train.csv]" in out
    assert "LEAKS" not in out
    assert Split.load(leaky / "fixed").leaks == 0


def test_clean_exits_with_0(agecls: Call, leaky: Path) -> None:
    train = leaky / "train.csv"
    train.write_text("\n".join(line for line in train.read_text().splitlines() if STAMP_TWINS[0] not in line) + "\n")
    code, out, err = agecls("split", "--root", "utkface", "--adopt", TABLES, "--conflicts", "keep", "--out", "theirs")
    assert code == 0, err
    assert "no leak" in out
    assert "LEAKS" not in out


def test_the_tables_are_the_labels_of_source_csv(agecls: Call, leaky: Path) -> None:
    source = ("--source", "csv", "--root", "utkface", "--column", "path=filename")
    code, out, err = agecls("split", *source, "--adopt", TABLES, "--out", "theirs")
    assert code == 0, err
    assert "no leak" in out  # a source that knows no stamps
    assert Split.load(leaky / "theirs").sources == ("csv",)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--repair",), "--repair mends an adopted split"),
        (("--adopt", "train.csv,test.csv"), "the tables of train, valid and test"),
        (("--adopt", "train.csv,valid.csv,nowhere.csv"), "there is no table nowhere.csv"),
        (("--adopt", "train.csv,valid.csv,./train.csv"), "names train.csv twice"),
        (("--adopt", TABLES, "--seed", "42"), "--seed has no say in an adopted split"),
        (("--adopt", TABLES, "--fractions", "0.6,0.2,0.2"), "--fractions has no say in an adopted split"),
        (("--adopt", TABLES, "--conflicts", "train"), "--conflicts has no say in an adopted split"),
        (("--adopt", TABLES, "--column", "path=picture"), "lacks the column picture"),
        (("--adopt", TABLES, "--root", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], expected: str, agecls: Call, leaky: Path) -> None:
    root = () if "--root" in arguments else ("--root", "utkface")
    code, out, err = agecls("split", *root, *arguments, "--out", "theirs")
    assert code == 2
    assert expected in " ".join(err.replace("│", " ").split())
    assert out == ""
    assert not (leaky / "theirs").exists()


def test_a_split_that_names_an_image_in_two_parts_can_be_trained_on_where_allowed(
    agecls: Callable[..., Any], utk_folder: Path, workplace: Path, tiny: tuple[str, ...]
) -> None:
    names = sorted(path.name for path in utk_folder.glob("*.jpg"))
    for part, chosen in (("train", names[:44]), ("valid", names[44:54]), ("test", [names[0], *names[54:]])):
        (workplace / f"{part}.csv").write_text("file\n" + "\n".join(chosen) + "\n", encoding="utf-8")
    outcome = agecls("split", "--root", utk_folder, "--adopt", "train.csv,valid.csv,test.csv", "--out", "adopted")
    assert outcome.code == 1
    settings = [word for setting in tiny for word in ("--set", setting)]
    command = ("train", "--task", "gender", "--split", "adopted", "--root", utk_folder, "--out", "run", *settings)
    assert agecls(*command).code == 3
    assert agecls(*command, "--allow-leakage").code == 0
    assert agecls("evaluate", "run", "--part", "test", "--root", utk_folder).code == 3
    outcome = agecls("evaluate", "run", "--part", "test", "--root", utk_folder, "--allow-leakage")
    assert outcome.code == 0
    assert "LEAKED" in outcome.out
