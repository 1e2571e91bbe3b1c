"""agecls push and train --push, as commands: where things go, what is refused, what a failure costs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from b2_server import BUCKET, B2Server

from agecls.data.split import Split
from agecls.push import Courier

Command = Callable[..., Any]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[B2Server]:
    with B2Server() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AGECLS_RETRY_SECONDS", "0.01")
        yield running


def make_run(folder: Path, status: str = "training", epoch: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lineage.npz").write_text("of the images")
    for name in ("model.safetensors", "last.ckpt"):
        (folder / name).write_text(f"{name} of epoch {epoch}")
    (folder / "new").write_text(json.dumps({"status": status}))
    (folder / "new").replace(folder / "run.json")


def wait_for(done: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("prefix", ["", "/", "/box", "/box/", "/box//"])
def test_a_path_keeps_its_name_below_the_prefix(
    prefix: str, server: B2Server, workplace: Path, agecls: Command
) -> None:
    make_run(workplace / "runs" / "age")
    told = agecls("push", "runs/age/", f"b2://{BUCKET}{prefix}")
    assert told.code == 0
    below = "box/age" if "box" in prefix else "age"
    assert sorted(server.objects()) == [
        f"{below}/{name}" for name in ("last.ckpt", "lineage.npz", "model.safetensors", "run.json")
    ]
    assert told.out == f"runs/age -> b2://{BUCKET}/{below}: 4 files sent (0.0 MB), 0 were there already\n"
    again = agecls("push", workplace / "runs" / "age", f"b2://{BUCKET}{prefix}")
    assert "0 files sent (0.0 MB), 4 were there already" in again.out


def test_the_folder_one_stands_in_has_a_name_too(
    server: B2Server, workplace: Path, agecls: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(workplace / "age")
    monkeypatch.chdir(workplace / "age")
    assert agecls("push", ".", f"b2://{BUCKET}").code == 0
    assert "age/run.json" in server.objects()


def test_a_split_and_a_single_file_are_pushed_likewise(
    server: B2Server, workplace: Path, drawn_split: Split, agecls: Command
) -> None:
    assert agecls("push", drawn_split.folder, f"b2://{BUCKET}/splits").code == 0
    assert server.stored[-1] == "splits/drawn/manifest.json"
    (workplace / "bins.json").write_text("{}")
    assert agecls("push", "bins.json", f"b2://{BUCKET}/splits").code == 0
    assert server.objects()["splits/bins.json"] == b"{}"


def test_a_folder_is_a_target_without_any_account(
    workplace: Path, agecls: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("B2_APPLICATION_KEY_ID", raising=False)
    make_run(workplace / "runs" / "age")
    for _ in range(2):
        told = agecls("push", "runs/age", "backup/box 1")
        assert told.code == 0
    assert f"-> {workplace / 'backup'}/box 1/age: 0 files sent" in told.out or "0 files sent" in told.out
    assert (workplace / "backup" / "box 1" / "age" / "run.json").is_file()


@pytest.mark.parametrize("target", ["runs", "runs/age", "runs/age/deeper", "."])
def test_nothing_is_pushed_into_itself(target: str, workplace: Path, agecls: Command) -> None:
    make_run(workplace / "runs" / "age")
    told = agecls("push", "runs/age" if target.startswith("runs") else ".", target)
    assert told.code == 2
    assert "pushed into itself" in told.err
    assert len(list((workplace / "runs").rglob("*"))) == 5


@pytest.mark.parametrize(
    ("path", "target", "what"),
    [
        ("missing", "b2://faces/x", "there is nothing to push at missing"),
        ("runs/age", "https://example.com/x", "nothing can be pushed to a web address"),
        ("runs/age", "s3://faces/x", "nothing to read s3:// with"),
        ("runs/age", "b2://", "begins with the name of a bucket"),
        ("runs/age", "b2://nowhere/x", "there is no bucket b2://nowhere"),
    ],
)
def test_what_cannot_be_pushed_is_said(
    path: str, target: str, what: str, server: B2Server, workplace: Path, agecls: Command
) -> None:
    make_run(workplace / "runs" / "age")
    told = agecls("push", path, target)
    assert (told.code, what in told.err) == (2, True), told.err
    assert server.objects() == {}


def test_keys_that_are_missing_are_said_to_be(
    workplace: Path, agecls: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"):
        monkeypatch.delenv(name, raising=False)
    make_run(workplace / "runs" / "age")
    told = agecls("push", "runs/age", "b2://faces/x")
    assert told.code == 2
    assert "B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY are not set" in told.err


def start(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "agecls", *map(str, arguments)],
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_watching_pushes_what_changes_outlives_failures_and_ends_with_the_run(
    server: B2Server, workplace: Path
) -> None:
    # Started before there is anything to push.
    process = start("push", "runs/age", f"b2://{BUCKET}/box", "--watch", "--every", "0.1")
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "waiting for runs/age\n"
        make_run(workplace / "runs" / "age")
        wait_for(lambda: "box/age/run.json" in server.objects())
        server.fail("b2_get_upload_url|upload", status=403, code="storage_cap_exceeded", times=1)
        make_run(workplace / "runs" / "age", epoch=2)
        wait_for(lambda: server.objects()["box/age/last.ckpt"].endswith(b"2"))
        make_run(workplace / "runs" / "age", "finished", epoch=3)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "not pushed: there is no room in b2://faces" in err
    assert server.objects()["box/age/last.ckpt"] == b"last.ckpt of epoch 3"
    assert json.loads(server.objects()["box/age/run.json"]) == {"status": "finished"}
    assert "files sent" in out


def test_watching_ends_with_ctrl_c(server: B2Server, workplace: Path) -> None:
    make_run(workplace / "runs" / "age")
    process = start("push", "runs/age", f"b2://{BUCKET}/box", "--watch", "--every", "1000")
    wait_for(lambda: "box/age/run.json" in server.objects())
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "stopped; give the same command again for the rest" in err


def test_a_killed_push_leaves_nothing_that_looks_whole(server: B2Server, workplace: Path) -> None:
    make_run(workplace / "runs" / "age")
    server.fail("upload", status=503, times=10_000)
    process = start("push", "runs/age", f"b2://{BUCKET}/box")
    wait_for(lambda: "upload" in server.calls)
    process.kill()
    process.communicate(timeout=300)
    assert "box/age/run.json" not in server.objects()
    server.faults.clear()
    process = start("push", "runs/age", f"b2://{BUCKET}/box")
    assert process.wait(300) == 0
    process.communicate()
    assert len(server.objects()) == 4  # not what the killed one has kept beside the files


@pytest.fixture
def train_arguments(drawn_split: Split, drawn_faces: Path, workplace: Path, tiny: tuple[str, ...]) -> list[object]:
    settings = [each for setting in tiny for each in ("--set", setting)]
    asked = ["--task", "gender", "--bins", "4", "--split", drawn_split.folder, "--root", drawn_faces]
    return ["train", *asked, "--config", "agecnn-cpu", *settings, "--out", "runs/gender"]


def test_training_pushes_all_of_the_run(
    server: B2Server, workplace: Path, agecls: Command, train_arguments: list[object]
) -> None:
    told = agecls(*train_arguments, "--push", f"b2://{BUCKET}/runs", "--push-every", "0.1")
    assert told.code == 0, told.err
    folder = workplace / "runs" / "gender"
    here = {
        f"runs/gender/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert server.objects() == here
    names = {key.removeprefix("runs/gender/").partition("/")[0] for key in here}
    assert names == {"run.json", "model.safetensors", "last.ckpt", "lineage.npz", "tensorboard"}
    assert f"pushing    to b2://{BUCKET}/runs/gender" in told.err
    # One that is finished is pushed again where the bucket has lost it.
    server.delete("runs/gender/model.safetensors")
    told = agecls(*train_arguments, "--resume", "--push", f"b2://{BUCKET}/runs")
    assert told.code == 0, told.err
    assert server.objects() == here


def test_a_push_that_fails_does_not_fail_the_training_and_is_told_at_its_end(
    server: B2Server, workplace: Path, agecls: Command, train_arguments: list[object]
) -> None:
    server.fail("b2_get_upload_url|upload", status=403, code="storage_cap_exceeded", times=10_000)
    told = agecls(*train_arguments, "--push", f"b2://{BUCKET}/runs", "--push-every", "0.1")
    assert told.code == 2
    assert "not pushed: there is no room in b2://faces" in told.err
    assert f"not all of runs/gender is at b2://{BUCKET}/runs: agecls push runs/gender b2://{BUCKET}/runs" in told.err
    assert "status finished" in told.out
    assert json.loads((workplace / "runs/gender/run.json").read_text())["status"] == "finished"
    server.faults.clear()
    assert agecls("push", "runs/gender", f"b2://{BUCKET}/runs").code == 0


@pytest.mark.parametrize("wrong", ["key", "bucket", "web", "folds"])
def test_a_target_that_cannot_be_pushed_to_is_refused_before_the_training(
    wrong: str, server: B2Server, workplace: Path, agecls: Command, train_arguments: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if wrong == "key":
        monkeypatch.setenv("B2_APPLICATION_KEY", "K005wrong")
    target = {"bucket": "b2://nowhere/runs", "web": "https://example.com"}.get(wrong, f"b2://{BUCKET}/runs")
    told = agecls(*train_arguments, "--push", target, *(["--folds", "2"] if wrong == "folds" else []))
    assert told.code == 2
    assert not (workplace / "runs").exists()


def test_a_new_run_is_never_pushed_over_another_one(
    server: B2Server, workplace: Path, agecls: Command, train_arguments: list[object]
) -> None:
    server.put("runs/gender/last.ckpt", b"of another run")
    told = agecls(*train_arguments, "--push", f"b2://{BUCKET}/runs")
    assert told.code == 2
    assert f"another run is at b2://{BUCKET}/runs/gender" in told.err
    assert not (workplace / "runs").exists()
    # Without --out the name is found only later.
    server.put("runs/gender-4-1/last.ckpt", b"of another run")
    told = agecls(*train_arguments[:-2], "--push", f"b2://{BUCKET}/runs")
    assert told.code == 2
    assert f"another run is at b2://{BUCKET}/runs/gender-4-1" in told.err
    assert set(server.objects()) == {"runs/gender/last.ckpt", "runs/gender-4-1/last.ckpt"}


def test_a_run_that_has_come_further_in_the_bucket_is_not_resumed_from_an_older_copy(
    server: B2Server, workplace: Path, agecls: Command, train_arguments: list[object]
) -> None:
    assert agecls(*train_arguments).code == 0
    assert agecls("push", "runs/gender", f"b2://{BUCKET}/runs").code == 0
    before = server.objects()
    record = json.loads((workplace / "runs/gender/run.json").read_text())
    record["status"], record["metrics"]["epochs"] = "training", 1
    (workplace / "runs/gender/run.json").write_text(json.dumps(record))
    told = agecls(*train_arguments, "--resume", "--push", f"b2://{BUCKET}/runs")
    assert told.code == 2
    assert f"the run at b2://{BUCKET}/runs/gender has come further than runs/gender" in told.err
    assert server.objects() == before


def test_ctrl_c_pushes_once_more(server: B2Server, workplace: Path, train_arguments: list[object]) -> None:
    many = ["--set", "train.epochs=10000"]
    process = start(*train_arguments, *many, "--push", f"b2://{BUCKET}/runs", "--push-every", "1000")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 2/"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    record = json.loads(server.objects()["runs/gender/run.json"])
    assert record["status"] == "interrupted"
    assert server.objects()["runs/gender/last.ckpt"] == (workplace / "runs/gender/last.ckpt").read_bytes()


def test_a_courier_waits_for_no_store_that_stays_away(
    server: B2Server, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    make_run(workplace / "runs" / "age")
    monkeypatch.setenv("AGECLS_RETRY_SECONDS", "100")
    courier = Courier(f"b2://{BUCKET}", 1000, None, False, lines.append)
    server.fail("b2_get_upload_url", status=503, times=10_000)
    courier.start(workplace / "runs" / "age")
    wait_for(lambda: len([line for line in lines if "trying again" in line]) >= 1)
    before = time.monotonic()
    server.faults.clear()
    assert courier.finish()
    assert time.monotonic() - before < 20
    assert not [line for line in lines if line.startswith("not pushed")]
    assert len(server.objects()) == 4
