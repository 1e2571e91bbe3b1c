"""``agecls pull``: what is there afterwards, what is said, and what a second pull does."""

import base64
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_server import Fault, FaultServer

from agecls.data.storage.records import FOLDER

FILES = {"d/1.txt": b"one", "d/2.txt": b"two\n" * 100}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_RETRY_SECONDS", "0.005")


def tar(files: dict[str, bytes] = FILES) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def names(folder: Path) -> list[str]:
    """The files of a folder, without what pulling keeps for itself."""
    found = (each.relative_to(folder) for each in folder.rglob("*") if each.is_file())
    return sorted(each.as_posix() for each in found if each.parts[0] != FOLDER)


def test_an_archive_is_verified_unpacked_and_deleted_and_neither_fetched_nor_unpacked_again(
    agecls: Callable, tmp_path: Path
) -> None:
    with FaultServer({"faces.tar.gz": tar()}) as server:
        server.add_sums()
        first = agecls("pull", server.url("faces.tar.gz"), "--to", tmp_path / "data")
        assert first.code == 0, first.err
        assert names(tmp_path / "data") == ["d/1.txt", "d/2.txt"]
        assert "faces.tar.gz: 2 files unpacked" in first.out
        assert "faces.tar.gz.sha256 says" in first.out
        assert f"next: agecls split --root {tmp_path / 'data'}" in first.out
        served = server.served
        again = agecls("pull", server.url("faces.tar.gz"), "--to", tmp_path / "data")
        assert again.code == 0, again.err
        assert "2 files are there already" in again.out
        assert server.served - served < 100  # one byte of the archive, and the checksum
        (tmp_path / "data/d/1.txt").unlink()
        assert agecls("pull", server.url("faces.tar.gz"), "--to", tmp_path / "data").code == 0
        assert names(tmp_path / "data") == ["d/1.txt", "d/2.txt"]


@pytest.mark.parametrize("flags", [("--keep",), ("--no-unpack",)])
def test_an_archive_stays_where_that_is_asked_for(agecls: Callable, tmp_path: Path, flags: tuple[str]) -> None:
    with FaultServer({"faces.tar.gz": tar()}) as server:
        assert agecls("pull", server.url("faces.tar.gz"), "--to", tmp_path, *flags).code == 0
        assert names(tmp_path) == [*(["d/1.txt", "d/2.txt"] if flags == ("--keep",) else []), "faces.tar.gz"]
        served = server.served
        assert agecls("pull", server.url("faces.tar.gz"), "--to", tmp_path, "--keep").code == 0
        assert server.served - served < 50  # one byte of the archive, and that there is no checksum
        assert names(tmp_path) == ["d/1.txt", "d/2.txt", "faces.tar.gz"]


def test_a_new_version_of_an_archive_is_fetched_again(agecls: Callable, tmp_path: Path) -> None:
    with FaultServer({"a.tar.gz": tar({"x.txt": b"old"})}) as server:
        assert agecls("pull", server.url("a.tar.gz"), "--to", tmp_path).code == 0
        server.files["a.tar.gz"] = tar({"y.txt": b"new"})
        assert agecls("pull", server.url("a.tar.gz"), "--to", tmp_path).code == 0
        assert names(tmp_path) == ["x.txt", "y.txt"]


def test_a_folder_is_pulled_by_the_same_path_and_a_changed_file_anew(agecls: Callable, tmp_path: Path) -> None:
    source, target = tmp_path / "run", tmp_path / "copy"
    (source / "deep").mkdir(parents=True)
    (source / "run.json").write_text("{}")
    for number in range(40):
        (source / "deep" / f"{number}.bin").write_bytes(os.urandom(number * 100))
    first = agecls("pull", source, "--to", target, "--json", tmp_path / "first.json")
    assert first.code == 0, first.err
    assert names(target) == names(source)
    assert all((target / each).read_bytes() == (source / each).read_bytes() for each in names(source))
    assert "next: agecls evaluate" in first.out
    told = json.loads((tmp_path / "first.json").read_text())
    assert len(told["files"]) == 41
    assert told["bytes_fetched"] == sum(each["bytes"] for each in told["files"])
    (target / "deep/7.bin").write_bytes(b"x" * 700)
    (source / "deep/8.bin").write_bytes(b"y" * 801)
    again = agecls("pull", source, "--to", target, "--json", tmp_path / "again.json")
    assert again.code == 0, again.err
    told = json.loads((tmp_path / "again.json").read_text())
    assert sorted(each["path"] for each in told["files"] if each["fetched"]) == ["deep/7.bin", "deep/8.bin"]
    assert all((target / each).read_bytes() == (source / each).read_bytes() for each in names(source))


def test_a_file_forged_to_its_old_size_and_time_is_not_trusted(agecls: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"right" * 100)
    target = tmp_path / "to"
    assert agecls("pull", tmp_path / "a.bin", "--to", target).code == 0
    status = (target / "a.bin").stat()
    (target / "a.bin").write_bytes(b"wrong" * 100)
    os.utime(target / "a.bin", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert agecls("pull", tmp_path / "a.bin", "--to", target).code == 0
    assert (target / "a.bin").read_bytes() == b"right" * 100


def test_a_pull_onto_its_own_source_is_refused_and_nothing_is_deleted(agecls: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(tar())
    for source, target in ((tmp_path / "a.tar.gz", tmp_path), (tmp_path, tmp_path / "in")):
        outcome = agecls("pull", source, "--to", target)
        assert outcome.code == 2
        assert "lies where it is pulled to" in outcome.err
    assert (tmp_path / "a.tar.gz").is_file()


def test_wrong_bytes_are_fetched_anew_once_and_then_refused(agecls: Callable, tmp_path: Path) -> None:
    content = b"face" * 1000
    right = hashlib.sha256(content).hexdigest()
    with FaultServer({"a.bin": content}) as server:
        server.plan([None, Fault("flip", at=77)])
        healed = agecls("pull", server.url("a.bin"), "--to", tmp_path / "one", "--sha256", right)
        assert healed.code == 0, healed.err
        assert "fetching all of it anew" in healed.err
        assert (tmp_path / "one/a.bin").read_bytes() == content
        wrong = agecls("pull", server.url("a.bin"), "--to", tmp_path / "two", "--sha256", "0" * 64)
    assert wrong.code == 2
    assert "does not hash to what --sha256 says" in wrong.err
    assert names(tmp_path / "two") == []
    assert not list((tmp_path / "two" / FOLDER).glob("*.part"))


def test_a_checksum_beside_it_that_contradicts_the_store_is_said_before_anything_is_fetched(
    agecls: Callable, tmp_path: Path
) -> None:
    with FaultServer({"a.bin": b"1" * 5000, "a.bin.sha256": b"0" * 64}) as server:
        digest = hashlib.sha256(b"1" * 5000).digest()
        server.headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(digest).decode()}:"
        good = agecls("pull", server.url("a.bin"), "--to", tmp_path / "good")
        assert good.code == 0, good.err  # what the server says of its own content is enough
        served = server.served
        outcome = agecls("pull", server.url("a.bin"), "--to", tmp_path / "bad", "--sha256", "0" * 64)
        assert outcome.code == 2
        assert "contradict" in outcome.err
        assert server.served - served <= 1


SIGNATURE = "sig=SECRET0123"


@pytest.mark.parametrize(
    ("path", "faults", "says"),
    [
        ("a.bin", [Fault("status", status=403)], "may not be read"),
        ("a.bin", [Fault("status", status=401)], "may not be read"),
        ("none.bin", [], "is not there"),
        ("a.bin", [Fault("page")], "is a page for people"),
        ("a.bin", [Fault("status", status=503)] * 30, "gave up after 8 attempts"),
        ("loop", [], "leads in a circle"),
        ("away", [], "http:// is read from this machine alone"),
    ],
)
def test_each_refusal_is_a_sentence_of_its_own_that_holds_no_secret(
    agecls: Callable, tmp_path: Path, path: str, faults: list[Fault], says: str
) -> None:
    with FaultServer({"a.bin": b"face" * 1000}) as server:
        server.links = {"loop": f"/loop?{SIGNATURE}", "away": f"http://example.invalid/x?{SIGNATURE}"}
        server.plan(faults)
        outcome = agecls("pull", f"{server.url(path)}?{SIGNATURE}", "--to", tmp_path / "to")
    assert outcome.code == 2
    assert says in outcome.err
    assert "SECRET" not in outcome.err + outcome.out
    assert names(tmp_path / "to") == []


def test_a_signature_never_reaches_a_file_a_message_or_a_traceback(tmp_path: Path) -> None:
    with FaultServer({"a.bin": b"face" * 1000}) as server:
        for faults in ([None, Fault("reset", at=5), Fault("nonsense")], [Fault("reset")] * 30):
            server.faults.clear()
            server.plan(faults)
            address, result = f"{server.url('a.bin')}?{SIGNATURE}", tmp_path / "result.json"
            told = start("pull", address, "--to", tmp_path / "to", "--debug", "--json", result)
            out, err = told.communicate()
            assert "SECRET" not in out + err
            assert ("Traceback" in err) == (told.returncode != 0)
    assert result.is_file()
    for each in tmp_path.rglob("*"):
        assert each.is_dir() or b"SECRET" not in each.read_bytes()


def test_what_is_unsafe_or_senseless_is_refused_before_anything_is_asked(agecls: Callable, tmp_path: Path) -> None:
    for source, says in {
        "https://user:hunter2@127.0.0.1/a.tar": "user name or a password",
        "http://example.invalid/a.tar": "--sha256 HEX",
        "ftp://127.0.0.1/a.tar": "nothing to read ftp://",
        "b2://id:hunter2@bucket/key": "holds no key",
        "https:///a.tar": "names no host",
        str(tmp_path / "none"): "is not there",
        "": "names nothing",
    }.items():
        outcome = agecls("pull", source, "--to", tmp_path / "to")
        assert outcome.code == 2, source
        assert says in outcome.err
        assert "hunter2" not in outcome.err
    short = agecls("pull", tmp_path, "--to", tmp_path / "to", "--sha256", "abc")
    assert "takes 64 hex digits" in short.err


def test_a_file_that_there_is_no_room_for_is_refused_with_both_sizes(agecls: Callable, tmp_path: Path) -> None:
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(10**13)  # no block of it is written
    outcome = agecls("pull", tmp_path / "huge.bin", "--to", tmp_path / "to")
    assert outcome.code == 2
    assert "no room" in outcome.err
    assert "10,000,000.0 MB are still to come" in outcome.err
    assert "MB are free" in outcome.err
    assert not list((tmp_path / "to" / FOLDER).glob("*.part"))


def test_each_retry_is_said_once_and_the_bytes_are_right(agecls: Callable, tmp_path: Path) -> None:
    content = os.urandom(50_000)
    with FaultServer({"a.bin": content}) as server:
        server.plan([Fault("status", status=429, retry_after="0"), None, None, Fault("reset", at=20_000)])
        outcome = agecls("pull", server.url("a.bin"), "--to", tmp_path)
        assert outcome.code == 0, outcome.err
        assert outcome.err.count("trying again") == 2
        assert (tmp_path / "a.bin").read_bytes() == content
        assert server.requests[-1][1] == "bytes=20000-49999"


def start(*arguments: object) -> subprocess.Popen[str]:
    """``agecls`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "agecls", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "AGECLS_RETRY_SECONDS": "0.005"},
    )


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_pull_that_is_killed_goes_on_with_the_rest_alone(tmp_path: Path, end: signal.Signals) -> None:
    content = os.urandom(6_000_000)
    with FaultServer({"a.bin": content}, block=1 << 15, pause=0.01) as server:
        server.add_sums()
        killed = start("pull", server.url("a.bin"), "--to", tmp_path)
        state = next_state(tmp_path, killed, above=1_500_000)
        killed.send_signal(end)
        out, err = killed.communicate()
        assert killed.returncode == (-end if end == signal.SIGKILL else 130), out + err
        assert "Traceback" not in err
        assert ("goes on from here" in err) == (end == signal.SIGINT)
        assert names(tmp_path) == []
        held = max(state, held_by(tmp_path))
        served, server.pause = server.served, 0.0
        rest = start("pull", server.url("a.bin"), "--to", tmp_path)
        _, err = rest.communicate()
        assert rest.returncode == 0, err
        assert "are here already" in err
        assert (tmp_path / "a.bin").read_bytes() == content
        # More by a byte to find it, its checksum, and the blocks that were on their way to the one that was killed.
        assert server.served - served <= len(content) - held + 4 * server.block


def held_by(folder: Path) -> int:
    """Bytes that the note beside a part file says are there."""
    notes = [each for each in (folder / FOLDER).glob("*.json") if "have" in each.read_text()]
    return sum(json.loads(notes[0].read_text())["have"]) if notes else 0


def next_state(folder: Path, process: "subprocess.Popen[str]", above: int) -> int:
    """Wait until so many bytes are noted as held."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if (folder / FOLDER).is_dir() and (held := held_by(folder)) > above:
            return held
        time.sleep(0.01)
    raise AssertionError("nothing was noted: " + "".join(process.communicate()))


def test_two_pulls_to_one_folder_take_turns(tmp_path: Path) -> None:
    content = os.urandom(2_000_000)
    with FaultServer({"a.bin": content}, block=1 << 15, pause=0.4) as server:
        first = start("pull", server.url("a.bin"), "--to", tmp_path)
        next_state(tmp_path, first, above=1)
        second = start("pull", server.url("a.bin"), "--to", tmp_path)
        assert second.stderr is not None
        assert "another pull is at work" in second.stderr.readline()
        server.pause = 0.0
        told = [each.communicate() for each in (first, second)]
        assert [first.returncode, second.returncode] == [0, 0], told
        assert "there and right already" in told[1][0]
        assert server.served < len(content) + 100
    assert (tmp_path / "a.bin").read_bytes() == content


def test_what_was_pulled_can_be_split_at_once(agecls: Callable, utk_folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "faces.tar", "w") as archive:
        archive.add(utk_folder, "UTKFace")
    assert agecls("pull", tmp_path / "faces.tar", "--to", tmp_path / "data").code == 0
    outcome = agecls("split", "--root", tmp_path / "data", "--out", tmp_path / "split", "--largest-group", "0.5")
    assert outcome.code == 0, outcome.err
