"""Defaults: used only where nothing was given, and said when they are."""

import os
from pathlib import Path

import pytest

from agecls.defaults import default, default_roots, default_split


def test_what_is_given_is_used_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_ROOT", "elsewhere")
    said: list[str] = []
    assert default_roots([Path("a"), Path("b")], said.append) == [Path("a"), Path("b")]
    assert default_split(Path("splits/mine"), said.append) == Path("splits/mine")
    assert default(0, 7, "--seed", said.append) == 0
    assert said == []


def test_roots_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    named = os.pathsep.join(["one", "", "two"])
    monkeypatch.setenv("AGECLS_ROOT", named)
    said: list[str] = []
    assert default_roots([], said.append) == [Path("one"), Path("two")]
    assert said == [f"--root not given: using AGECLS_ROOT={named}"]


@pytest.mark.parametrize("named", [None, "", os.pathsep])
def test_roots_fall_back_to_data(named: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGECLS_ROOT", raising=False)
    if named is not None:
        monkeypatch.setenv("AGECLS_ROOT", named)
    said: list[str] = []
    assert default_roots([], said.append) == [Path("data")]
    assert said == ["--root not given and AGECLS_ROOT not set: using data/"]


def test_other_defaults_are_said_with_their_flag() -> None:
    said: list[str] = []
    assert default_split(None, said.append) == Path("splits/utkface")
    assert default(None, 42, "--seed", said.append) == 42
    assert said == ["--split not given: using splits/utkface", "--seed not given: using 42"]
