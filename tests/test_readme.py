"""The README's commands, run as they stand, on drawn faces; trainings get settings that take a second."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agecls.cli import app

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line[2:], comments=True) for line in README.splitlines() if line.startswith("$ agecls ")]


def test_readme_shows_every_command() -> None:
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {words[1] for words in COMMANDS} == names


def test_every_command_of_the_readme_works_in_its_order(
    agecls: Callable[..., Any],
    utk_folder: Path,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny: tuple[str, ...],
) -> None:
    monkeypatch.setenv("AGECLS_ROOT", str(utk_folder))
    images = sorted(utk_folder.glob("*.jpg"))
    (workplace / "holiday").mkdir()
    for image in images[:3]:
        shutil.copy(image, workplace / "holiday")
    shutil.copy(images[3], workplace / "photo.jpg")
    for words in COMMANDS:
        trains = words[1] in ("train", "hierarchy", "search-bins")
        extra = [word for setting in tiny for word in ("--set", setting)] if trains else []
        if words[1] == "hierarchy":
            extra += ["--min-images", "1"]  # few faces are drawn
        code, out, err = agecls(*words[1:], *extra)
        assert code == 0, f"{shlex.join(words)}\n{out}{err}"


def test_every_file_the_readme_names_is_there() -> None:
    folder = Path(__file__).parents[1]
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert linked
    assert not [name for name in linked if not (folder / name).exists()]
    assert not [name for name in re.findall(r"scripts/\w+", README) if not (folder / name).exists()]
