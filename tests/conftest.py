"""Where tests find faces: drawn ones always, real ones where they lie beside the checkout."""

import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from drawn import draw_utkface
from hypothesis import HealthCheck, settings

from agecls.bins import Bins
from agecls.cli import main
from agecls.config_files import load_config
from agecls.data.freeze import freeze_split
from agecls.data.sources import SourceName
from agecls.data.split import Split
from agecls.data.synthetic import draw_faces
from agecls.learn.run import Run
from agecls.train import TrainRequest, train

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real faces: ``AGECLS_SHARED``, else ``../shared/data`` beside the checkout; skips where absent."""
    named = os.environ.get("AGECLS_SHARED")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "utkface.tar").is_file():
        pytest.skip(f"no real faces: neither AGECLS_SHARED nor {folder} holds utkface.tar")
    return folder


@pytest.fixture(scope="session")
def utkface(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every shared UTKFace image, unpacked once a test session."""
    folder = tmp_path_factory.mktemp("utkface")
    with tarfile.open(shared_data / "utkface.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def drawn_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 360 drawn faces with their labels."""
    folder = tmp_path_factory.mktemp("drawn") / "faces"
    draw_faces(folder, 360, seed=1, size=64)
    return folder


@pytest.fixture(scope="session")
def drawn_split(drawn_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """The drawn faces, split."""
    out = tmp_path_factory.mktemp("splits") / "drawn"
    source: list[tuple[SourceName, Path]] = [("synthetic", drawn_faces)]
    return freeze_split(source, out, fractions=(0.6, 0.2, 0.2), seed=0, bins=Bins.parse("4")).split


@pytest.fixture(scope="session")
def utk_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``utk_folder`` is copied from; treat it as read-only."""
    folder = tmp_path_factory.mktemp("utk") / "faces"
    draw_utkface(folder)
    return folder


@pytest.fixture
def utk_folder(utk_original: Path, tmp_path: Path) -> Path:
    """64 drawn faces under UTKFace's names, every label among them, with ``drawn.STAMP_TWINS`` and ``BYTE_TWINS``."""
    return shutil.copytree(utk_original, tmp_path / "utkface")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the cache of decoded images out of the user's own; one for the whole session."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("AGECLS_CACHE", str(folder))
    monkeypatch.delenv("AGECLS_ROOT", raising=False)
    return folder


TINY = (
    "network.image_size=32", "network.features=8", "network.hidden=32", "network.dropout=0.2",
    "train.batch_size=32", "train.epochs=2", "train.precision=fp32", "optimizer.lr=0.003", "optimizer.weight_decay=0.0",
)  # fmt: skip
"""Settings with which a network learns something from drawn faces in a second or two."""


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Settings of a training that takes a second or two."""
    return TINY


@pytest.fixture(scope="session")
def drawn_run(drawn_split: Split, drawn_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A gender classifier trained on the drawn split; treat it as read-only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGECLS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        request = TrainRequest(
            task="gender",
            bins=Bins.parse("4"),
            bins_name="4",
            split=drawn_split,
            roots=drawn_split.roots([drawn_faces]),
            config=load_config("agecnn-cpu", "gender", [*TINY, "train.epochs=12"]),
            out=tmp_path_factory.mktemp("runs") / "gender",
        )
        return train(request, lambda line: None)


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def agecls(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command in this process: ``agecls("split", "--root", folder)``."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["agecls", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else 0, *capsys.readouterr())

    return call


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and the present one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
