"""Errors: one tree, its exit codes, and messages that say what to do."""

import inspect
import pickle

import pytest

from agecls import errors
from agecls.errors import AgeclsError, DataError, LeakageError, SplitError

TREE = [each for _, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__]


def test_leakage_has_an_exit_code_of_its_own() -> None:
    assert {each.__name__: each.exit_code for each in TREE if each.exit_code != 2} == {"LeakageError": 3}


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_drawn_in_the_tree_below_its_base(kind: type[AgeclsError]) -> None:
    drawn: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip(" │├└─").split(" ")[0]
        if name.endswith("Error"):
            drawn.append((line.index(name), name))
    place = [name for _, name in drawn].index(kind.__name__)
    depth = drawn[place][0]
    above = [name for indent, name in drawn[:place] if indent < depth]
    assert (above[-1] if above else "Exception") == kind.__base__.__name__


def test_the_message_says_what_was_found_and_what_to_do() -> None:
    error = SplitError("the split is damaged", got="3 rows", remedy="restore it")
    assert str(error) == "the split is damaged\n  found: 3 rows\n  do:    restore it"
    assert (error.what, error.got, error.remedy) == ("the split is damaged", "3 rows", "restore it")


def test_what_is_not_known_is_left_out_of_the_message() -> None:
    assert str(DataError("no faces")) == "no faces"
    assert str(LeakageError("a leak", remedy="split anew")) == "a leak\n  do:    split anew"


@pytest.mark.parametrize("kind", TREE)
def test_an_error_crosses_a_process_boundary_whole(kind: type[AgeclsError]) -> None:
    error = pickle.loads(pickle.dumps(kind("no image", got="a text", remedy="give an image")))
    assert type(error) is kind
    assert (error.what, error.got, error.remedy) == ("no image", "a text", "give an image")
