"""Keys and tokens never come to light: not in what is said, not in a traceback, a file, an object or an argument."""

import base64
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from b2_server import BUCKET, B2Server, Keys

import agecls as package
from agecls.data.split import Split

PACKAGE = Path(str(package.__file__)).parent


@pytest.fixture
def server() -> Iterator[B2Server]:
    with B2Server(part_size=100_000) as running:
        yield running


def secrets_of(server: B2Server, keys: Keys) -> set[bytes]:
    """All that must not be seen: the keys, as they are and as they are sent, and every token that was given."""
    pair = f"{keys.id}:{keys.key}".encode()
    basic = {header.removeprefix("Basic ") for header in server.basic}
    texts = {keys.id, keys.key, base64.b64encode(pair).decode(), *basic, *server.tokens}
    return {text.encode() for text in texts}


def seen(places: dict[str, bytes], secrets: set[bytes]) -> list[str]:
    """Which places hold a secret."""
    return [place for place, content in places.items() if any(secret in content for secret in secrets)]


def files_below(folder: Path) -> dict[str, bytes]:
    found = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {**found, "names": "\n".join(found).encode()}


def run(
    folder: Path, server: B2Server, keys: Keys, *arguments: object, code: Path = PACKAGE.parent
) -> tuple[int, dict[str, bytes]]:
    """Run a command in a process of its own; its exit code, what it said, and what its processes were started with."""
    environment = {
        **os.environ, **server.environment(keys), "AGECLS_RETRY_SECONDS": "0.001", "PYTHONPATH": str(code)
    }  # fmt: skip
    out, err = folder / "stdout", folder / "stderr"
    lines: set[bytes] = set()
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            [sys.executable, "-m", "agecls", *map(str, arguments)],
            cwd=folder, env=environment, stdout=to_out, stderr=to_err,
        )  # fmt: skip
        while process.poll() is None:
            lines |= set(arguments_of(process.pid))
            time.sleep(0.05)
    said = {"stdout": out.read_bytes(), "stderr": err.read_bytes(), "arguments": b"\n".join(lines)}
    assert lines
    out.unlink()
    err.unlink()
    return process.returncode, said


def arguments_of(pid: int) -> Iterator[bytes]:
    try:
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            yield Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except (psutil.Error, OSError):
        return


def test_nothing_of_a_pull_a_training_and_a_push_holds_a_secret(
    server: B2Server, workplace: Path, drawn_split: Split, drawn_faces: Path, tiny: tuple[str, ...]
) -> None:
    server.put("data/notes.txt", b"of the images")
    code, pulled = run(
        workplace, server, server.keys, "pull", f"b2://{BUCKET}/data/notes.txt", "--to", "data", "--json", "pulled.json"
    )
    assert code == 0, pulled["stderr"].decode()
    server.fail("b2_list_file_names", status=503)
    server.fail("upload", status=401, code="expired_auth_token")
    server.fail("b2_get_upload_url", status=429, code="too_many_requests")
    settings = [f"--set={setting}" for setting in tiny]
    named = ["--task", "gender", "--bins", "4", "--config", "agecnn-cpu", "--out", "runs/gender", "--json", "told.json"]
    code, trained = run(
        workplace, server, server.keys, "train", *named, *settings, "--split", drawn_split.folder,
        "--root", drawn_faces,
        "--push", f"b2://{BUCKET}/runs", "--push-every", "0.1",
    )  # fmt: skip
    assert code == 0, trained["stderr"].decode()
    (workplace / "large").write_bytes(bytes(500_000))
    code, pushed = run(workplace, server, server.keys, "push", "large", f"b2://{BUCKET}/box")
    assert code == 0, pushed["stderr"].decode()
    secrets = secrets_of(server, server.keys)
    assert len(secrets) >= 5
    for said in (pulled, trained, pushed):
        assert b"agecls" in said["arguments"]
        assert seen(said, secrets) == []
    files = files_below(workplace)
    assert any("tensorboard" in name for name in files)
    assert {"told.json", "pulled.json", "run.json"} <= {Path(name).name for name in files}
    assert seen(files, secrets) == []
    objects = server.objects()
    assert "runs/gender/run.json" in objects
    assert "box/large" in objects
    assert seen({**objects, "names": "\n".join(objects).encode()}, secrets) == []


FAILURES: dict[str, dict[str, Any]] = {
    "wrong key": {"says": "does not know this application key"},
    "deleted key": {"call": "b2_list_file_names", "status": 401, "code": "bad_auth_token", "says": "does not know"},
    "bucket of others": {"says": "limited to other buckets"},
    "missing bucket": {"says": "there is no bucket"},
    "may not": {"call": "b2_list_file_names", "status": 401, "code": "unauthorized", "says": "may not list"},
    "no room": {"call": "upload|b2_get_upload_url", "status": 403, "code": "storage_cap_exceeded", "says": "no room"},
    "tokens at once": {"call": "upload", "status": 400, "code": "auth_token_limit", "says": "cannot write"},
    "unknown refusal": {"call": "upload|b2_list_file_names", "status": 400, "code": "strange", "says": "cannot list"},
    "resets": {"call": "b2_.*|upload", "says": "gave up after"},
    "resets of uploads": {"call": "upload", "says": "gave up after"},
    "out of order": {"call": "b2_.*|upload", "status": 503, "says": "gave up after"},
    "no json": {"call": "b2_authorize_account", "status": 418, "says": "check B2_REALM"},
}


def prepare(failure: str, server: B2Server, workplace: Path) -> tuple[Keys, list[str]]:
    """Let a push go wrong; the keys to use, and the command."""
    fault = {name: value for name, value in FAILURES[failure].items() if name != "says"}
    if fault:
        server.fail(times=10_000, **fault)
    server.make_bucket("other")
    keys = {
        "wrong key": Keys(server.keys.id, "K005" + server.keys.key[::-1]),
        "bucket of others": server.make_key(buckets=["other"]),
    }.get(failure, server.keys)
    (workplace / "file").write_bytes(b"content")
    return keys, ["push", "file", f"b2://{'nowhere' if failure == 'missing bucket' else BUCKET}/box"]


@pytest.mark.parametrize("failure", FAILURES)
def test_no_failure_tells_a_secret(
    failure: str, server: B2Server, workplace: Path, agecls: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, command = prepare(failure, server, workplace)
    for name, value in {**server.environment(keys), "AGECLS_RETRY_SECONDS": "0.001"}.items():
        monkeypatch.setenv(name, value)
    told = agecls(*command)
    assert told.code == 2
    assert FAILURES[failure]["says"] in told.err
    said = {"stdout": told.out.encode(), "stderr": told.err.encode()}
    assert seen({**said, **files_below(workplace)}, secrets_of(server, keys)) == []


@pytest.mark.parametrize("failure", FAILURES)
def test_no_traceback_of_a_failure_tells_a_secret(failure: str, server: B2Server, workplace: Path) -> None:
    keys, command = prepare(failure, server, workplace)
    code, said = run(workplace, server, keys, *command, "--debug")
    assert code == 1
    assert b"Traceback" in said["stderr"]
    assert FAILURES[failure]["says"].encode() in said["stderr"]
    assert seen({**said, **files_below(workplace)}, secrets_of(server, keys)) == []


@pytest.mark.parametrize("failure", ["wrong key", "out of order"])
def test_no_failure_of_a_pull_tells_a_secret(failure: str, server: B2Server, workplace: Path) -> None:
    server.put("data", bytes(1000))
    keys = server.keys
    if failure == "wrong key":
        keys = Keys(server.keys.id, "K005" + server.keys.key[::-1])
    else:
        server.fail("b2_download_file_by_id", status=503, times=10_000)
    code, said = run(workplace, server, keys, "pull", f"b2://{BUCKET}/data", "--to", "data", "--debug")
    assert code == 1
    assert b"Traceback" in said["stderr"]
    assert seen({**said, **files_below(workplace)}, secrets_of(server, keys)) == []


def test_a_message_that_held_the_key_would_be_found(server: B2Server, workplace: Path, tmp_path: Path) -> None:
    """The tests above see what they look for: in a copy of the package, one message is made to hold the key."""
    shutil.copytree(PACKAGE, tmp_path / "copy" / "agecls", ignore=shutil.ignore_patterns("__pycache__"))
    told = tmp_path / "copy" / "agecls" / "data" / "storage" / "b2_errors.py"
    text = told.read_text()
    good = '        "Backblaze B2 does not know this application key",\n'
    assert good in text
    bad = (
        '        "Backblaze B2 does not know this application key " + __import__("os").environ["B2_APPLICATION_KEY"],\n'
    )
    told.write_text(text.replace(good, bad))
    (workplace / "file").write_bytes(b"content")
    keys = Keys(server.keys.id, "K005wrong-and-long-enough")
    code, said = run(workplace, server, keys, "push", "file", f"b2://{BUCKET}/box", code=tmp_path / "copy")
    assert code == 2
    assert seen(said, secrets_of(server, keys)) == ["stderr"]


def test_a_store_shows_no_secret_of_its_own(server: B2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from agecls.data.storage.b2 import open_bucket

    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    bucket = open_bucket(BUCKET)
    assert bucket.find("x") is None
    assert seen({"repr": repr(bucket).encode(), "name": bucket.name.encode()}, secrets_of(server, server.keys)) == []
