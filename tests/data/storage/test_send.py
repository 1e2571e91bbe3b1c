"""Sending files: only what changed, nothing half, and in an order that never breaks a run over there."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from b2_server import BUCKET, B2Server

from agecls.data.storage.b2 import open_bucket
from agecls.data.storage.local import FolderStore
from agecls.data.storage.parcels import gather
from agecls.data.storage.retry import Patience
from agecls.data.storage.send import Sender
from agecls.data.storage.store import Store, Stored
from agecls.errors import StorageError, UsageError

QUICK = Patience(first=0.01, longest=0.02)


def quiet(line: str) -> None:
    pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[B2Server]:
    with B2Server() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder as a training leaves it."""
    folder = tmp_path / "runs" / "age"
    fill(folder, 1)
    return folder


def fill(folder: Path, epoch: int) -> None:
    write(folder / "lineage.npz", "of the images")
    for name in ("model.safetensors", "run.json", "last.ckpt", "tensorboard/events.1"):
        write(folder / name, f"{name} of epoch {epoch}")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


def sender(store: Store, say: Callable[[str], None] = quiet) -> Sender:
    return Sender(store, "box/age", QUICK, say)


def test_only_what_changed_goes_and_what_is_only_there_stays(server: B2Server, run: Path) -> None:
    server.put("box/age/older.txt", b"of another box")
    first = sender(open_bucket(BUCKET)).send(run)
    assert (len(first.keys), first.same) == (5, 0)
    again = sender(open_bucket(BUCKET)).send(run)
    assert (again.keys, again.same, again.size) == ([], 5, 0)
    write(run / "model.safetensors", "better")
    (run / "lineage.npz").touch()  # another time, the same content
    changed = sender(open_bucket(BUCKET)).send(run)
    assert (changed.keys, changed.same, changed.size) == (["box/age/model.safetensors"], 4, 6)
    here = {f"box/age/{path.relative_to(run)}": path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert server.objects() == {**here, "box/age/older.txt": b"of another box"}


def test_a_folder_as_target_works_likewise_though_it_knows_no_sums(run: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "backup")
    assert len(sender(store).send(run).keys) == 5
    write(run / "last.ckpt", "last.ckpt of epoch 2")  # as long as before
    assert sender(FolderStore(tmp_path / "backup")).send(run).keys == ["box/age/last.ckpt"]
    names = sorted(path.name for path in (tmp_path / "backup").rglob("*") if path.is_file())
    assert names == ["events.1", "last.ckpt", "lineage.npz", "model.safetensors", "run.json"]


def test_one_that_watches_asks_the_store_once_and_reads_only_what_was_touched(server: B2Server, run: Path) -> None:
    watching = sender(open_bucket(BUCKET))
    watching.send(run)
    calls = len(server.calls)
    assert watching.send(run).same == 5
    assert len(server.calls) == calls
    write(run / "last.ckpt", "new")
    assert watching.send(run).keys == ["box/age/last.ckpt"]
    assert "b2_list_file_names" not in server.calls[calls:]


def test_records_arrive_after_what_they_vouch_for_and_members_before_the_whole(
    server: B2Server, tmp_path: Path
) -> None:
    whole = tmp_path / "hierarchy"
    for folder in (whole, whole / "members" / "male", whole / "members" / "female"):
        fill(folder, 1)
    Sender(open_bucket(BUCKET), "h", QUICK, quiet).send(whole)
    assert len(server.stored) == 15
    kinds = [Path(key).name for key in server.stored]
    assert set(kinds[:9]) == {"lineage.npz", "model.safetensors", "events.1"}
    assert kinds[9:] == ["last.ckpt"] * 3 + ["run.json"] * 3
    assert server.stored[-1] == "h/run.json"


class TrainingGoesOn:
    """A store during whose first write a training ends another epoch, and finishes."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder, self.lock, self.later = store, folder, threading.Lock(), False
        self.name = store.name

    def find(self, key: str) -> Stored | None:
        return self.store.find(key)

    def under(self, prefix: str) -> Iterator[Stored]:
        return self.store.under(prefix)

    def read(self, stored: Stored, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return self.store.read(stored, start, stop)

    def write(self, source: Path, key: str, sha1: str) -> None:
        with self.lock:
            if not self.later:
                self.later = True
                fill(self.folder, 2)
        self.store.write(source, key, sha1)


def test_a_checkpoint_is_never_newer_over_there_than_the_weights(server: B2Server, run: Path) -> None:
    store = TrainingGoesOn(open_bucket(BUCKET), run)
    watching = sender(store)
    watching.send(run)
    there = server.objects()
    # What is gone on with is the older epoch: it makes the newer weights once more. The other way round the best
    # weights of the newer epoch would be lost while the checkpoint says that they are kept.
    assert there["box/age/last.ckpt"] == b"last.ckpt of epoch 1"
    assert there["box/age/run.json"] == b"run.json of epoch 1"
    assert not list(run.rglob(".*"))
    watching.send(run)
    ends = {key.rpartition("/")[2]: content.decode()[-1] for key, content in server.objects().items()}
    assert ends == {"events.1": "2", "last.ckpt": "2", "lineage.npz": "s", "model.safetensors": "2", "run.json": "2"}


def test_a_file_that_changes_while_it_is_read_is_read_again(server: B2Server, run: Path) -> None:
    lines: list[str] = []

    class Changing(TrainingGoesOn):
        def write(self, source: Path, key: str, sha1: str) -> None:
            if key.endswith("events.1") and not self.later:
                self.later = True
                with source.open("a") as log:
                    log.write(" and more")
            self.store.write(source, key, sha1)

    sent = sender(Changing(open_bucket(BUCKET), run), lines.append).send(run)
    assert len(sent.keys) == 5
    assert server.objects()["box/age/tensorboard/events.1"] == b"tensorboard/events.1 of epoch 1 and more"
    assert len(lines) == 1
    assert "has changed while it was read; trying again" in lines[0]


def test_hidden_temporary_and_special_files_and_links_to_folders_stay_here(
    server: B2Server, run: Path, tmp_path: Path
) -> None:
    for name in (".training.lock", ".last.ckpt.x8f2", "faces.tar.part", "a.lock", "b.tmp", ".git/config"):
        write(run / name, "no")
    os.mkfifo(run / "pipe")
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere" / "file", "content of the file")
    (run / "folder").symlink_to(tmp_path / "elsewhere")
    (run / "loop").symlink_to(run)
    (run / "link").symlink_to(tmp_path / "elsewhere" / "file")
    (run / "broken").symlink_to(tmp_path / "nothing")
    sent = sender(open_bucket(BUCKET)).send(run)
    assert sent.left_out == 5
    assert len(sent.keys) == 6
    assert server.objects()["box/age/link"] == b"content of the file"


@pytest.mark.parametrize("name", [b"a\nb", b"\x1b[31m", b"caf\xe9", b"\x7f"])
def test_a_name_that_no_object_can_have_is_refused_before_anything_is_sent(
    name: bytes, server: B2Server, run: Path
) -> None:
    Path(os.fsdecode(os.fsencode(run) + b"/" + name)).write_text("x")
    with pytest.raises(UsageError, match="no object can have the name of"):
        sender(open_bucket(BUCKET)).send(run)
    assert server.objects() == {}


def test_a_single_file_takes_the_very_name(server: B2Server, tmp_path: Path) -> None:
    write(tmp_path / "model.bin", "weights")
    server.put("box/model.bin.old", b"")
    for sent in (1, 0):
        sending = Sender(open_bucket(BUCKET), "box/model.bin", QUICK, quiet)
        assert len(sending.send(tmp_path / "model.bin").keys) == sent
    assert server.objects()["box/model.bin"] == b"weights"


def test_nothing_to_send_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is nothing to push at"):
        gather(tmp_path / "missing", "x")
    assert gather(tmp_path, "x") == ([], 0)


def test_bursts_of_faults_pass_and_are_said(server: B2Server, run: Path) -> None:
    lines: list[str] = []
    server.fail("b2_list_file_names", status=503, times=2)
    server.fail("b2_get_upload_url", status=429, code="too_many_requests", times=4)
    server.fail("upload", times=3)
    sent = sender(open_bucket(BUCKET), lines.append).send(run)
    assert len(sent.keys) == 5
    assert len([line for line in lines if "listing" in line and "503" in line]) == 2
    assert server.keys.key not in "".join(lines)


def test_a_store_that_stays_away_is_given_up_on_and_the_record_stays_old(server: B2Server, run: Path) -> None:
    sender(open_bucket(BUCKET)).send(run)
    fill(run, 2)
    server.fail("upload", status=503, times=10_000)
    with pytest.raises(StorageError, match="gave up after"):
        sender(open_bucket(BUCKET)).send(run)
    assert server.objects()["box/age/run.json"] == b"run.json of epoch 1"
    assert not list(run.rglob(".*"))


def test_one_refused_file_ends_the_push_and_the_next_one_starts_anew(server: B2Server, run: Path) -> None:
    sending = sender(open_bucket(BUCKET))
    server.fail("upload", status=403, code="storage_cap_exceeded", times=100)
    with pytest.raises(StorageError, match="no room"):
        sending.send(run)
    server.faults.clear()
    assert len(sending.send(run).keys) == 5


def test_an_interrupted_push_waits_for_no_further_attempt(server: B2Server, run: Path) -> None:
    sending = Sender(open_bucket(BUCKET), "box/age", Patience(first=1000, longest=1000), quiet)
    server.fail("b2_get_upload_url", status=503, times=10_000)
    failures: list[Exception] = []

    def work() -> None:
        try:
            sending.send(run)
        except StorageError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while "b2_get_upload_url" not in server.calls:
        pass
    sending.interrupt()
    thread.join(20)
    assert [each.what for each in failures] == [f"the push to b2://{BUCKET}/box/age was stopped"]


def test_equal_bytes_of_two_files_are_two_objects(server: B2Server, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "twins" / name, "same")
    assert len(sender(open_bucket(BUCKET)).send(tmp_path / "twins").keys) == 2
    sums = {each.sha1 for each in open_bucket(BUCKET).under("box/age/")}
    assert sums == {hashlib.sha1(b"same", usedforsecurity=False).hexdigest()}


def test_another_run_of_the_same_name_is_neither_overwritten_nor_mixed_with(server: B2Server, run: Path) -> None:
    sender(open_bucket(BUCKET)).send(run)
    before = server.objects()
    write(run / "lineage.npz", "of other images")
    with pytest.raises(StorageError, match=f"another run is at b2://{BUCKET}/box/age") as raised:
        sender(open_bucket(BUCKET)).send(run)
    assert "lineage.npz is another one" in raised.value.got
    write(run / "lineage.npz", "of the images")
    (run / "last.ckpt").unlink()
    with pytest.raises(StorageError, match="another run is at") as raised:
        sender(open_bucket(BUCKET)).send(run)
    assert raised.value.got == f"it has last.ckpt, and {run} has none"
    with pytest.raises(StorageError, match="another run is at"):
        sender(open_bucket(BUCKET)).refuse_present()
    assert server.objects() == before
    Sender(open_bucket(BUCKET), "box/ag", QUICK, quiet).refuse_present()


def test_what_was_cut_off_before_it_was_a_run_is_in_nobodys_way(server: B2Server, run: Path) -> None:
    server.put("box/age/lineage.npz", b"of other images")
    server.put("box/age/tensorboard/events.0", b"")
    sending = sender(open_bucket(BUCKET))
    sending.refuse_present()
    assert len(sending.send(run).keys) == 5


def test_a_run_that_has_come_further_over_there_is_not_set_back(server: B2Server, run: Path) -> None:
    def reach(epochs: int) -> None:
        write(run / "run.json", json.dumps({"metrics": {"epochs": epochs}}))

    reach(7)
    sender(open_bucket(BUCKET)).send(run)
    before = server.objects()
    reach(4)
    write(run / "last.ckpt", "older")
    with pytest.raises(StorageError, match="has come further than") as raised:
        sender(open_bucket(BUCKET)).send(run)
    assert raised.value.got == "7 epochs there, 4 here"
    assert server.objects() == before
    reach(8)
    assert len(sender(open_bucket(BUCKET)).send(run).keys) == 2


def test_a_store_that_fails_while_runs_are_compared_is_asked_again(server: B2Server, run: Path) -> None:
    write(run / "run.json", json.dumps({"metrics": {"epochs": 1}}))
    sender(open_bucket(BUCKET)).send(run)
    server.fail("b2_download_file_by_id", after=3, times=2)
    lines: list[str] = []
    assert sender(open_bucket(BUCKET), lines.append).send(run).same == 5
    assert len(lines) == 2
