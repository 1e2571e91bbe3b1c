"""Where tests find faces: drawn ones always, real ones where they lie beside the checkout."""

import os
import tarfile
from pathlib import Path

import pytest


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
