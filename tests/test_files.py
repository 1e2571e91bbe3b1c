"""Files are written whole or not at all."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agecls.errors import UsageError
from agecls.files import write_whole

WRITE_FOREVER = """
import sys
from pathlib import Path
from agecls.files import write_whole
while True:
    for letter in (b"a", b"b"):
        write_whole(Path(sys.argv[1]), letter * 1_000_000)
"""

WRITE_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from agecls.errors import UsageError
from agecls.files import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(Path(sys.argv[1]), b"x" * 5000)
except UsageError as error:
    print(error)
"""


def test_content_arrives_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "record.json"
    write_whole(path, b"first")
    write_whole(path, b"second\n\x00")
    assert path.read_bytes() == b"second\n\x00"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("blocked", ["folder", "file/below"])
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, blocked: str) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(UsageError) as refused:
        write_whole(tmp_path / blocked, b"new")
    assert str(tmp_path / blocked) in refused.value.what
    assert refused.value.remedy
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "inside"]
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", WRITE_ON_A_FULL_DISK, path], capture_output=True, text=True, check=True
    )
    assert f"cannot write {path}" in done.stdout
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "record"
    writer = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, path])
    try:
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        for _ in range(20):
            content = path.read_bytes()
            assert content in (b"a" * 1_000_000, b"b" * 1_000_000)
            time.sleep(0.01)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert path.read_bytes() in (b"a" * 1_000_000, b"b" * 1_000_000)


def test_a_device_is_written_to_and_stays_a_device() -> None:
    write_whole(Path("/dev/null"), b"gone")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(UsageError, match="cannot write /dev/full"):
        write_whole(Path("/dev/full"), b"too much")
    assert Path("/dev/full").is_char_device()


def test_a_pipe_gets_the_content(tmp_path: Path) -> None:
    code = "from pathlib import Path; from agecls.files import write_whole; write_whole(Path('/dev/stdout'), b'whole')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert answer.stdout == b"whole"


def test_a_link_keeps_pointing_at_its_file(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
