"""Unpacking what nobody means ill with: every format, what becomes of modes and times, what stands there already."""

import tarfile
from pathlib import Path

from agecls.data.archives import unpack


def test_a_tar_is_unpacked_whole(tmp_path: Path) -> None:
    source = tmp_path / "faces"
    source.mkdir()
    (source / "a.jpg").write_bytes(b"one")
    with tarfile.open(tmp_path / "faces.tar", "w") as tar:
        tar.add(source, "faces")
    into = tmp_path / "data"
    done = unpack(tmp_path / "faces.tar", into, lambda line: None)
    assert (done.files, done.bytes, done.top) == (1, 3, (into / "faces",))
    assert [each.name for each in into.iterdir()] == ["faces"]
    assert (into / "faces" / "a.jpg").read_bytes() == b"one"
