"""The start script of rented boxes, run for real on drawn faces, with a folder as the bucket: it is killed, comes back
on another box, and ends with a scored and pushed run. And the guide to such boxes: its commands and variables exist."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import typer
from b2_server import BUCKET, B2Server

from agecls.cli import app
from agecls.config_files import load_config
from agecls.data.split import Split

TOP = Path(__file__).parents[1]
SCRIPT = TOP / "scripts" / "onstart"
PATIENCE = 600
"""Seconds after which something hangs, also on a machine that has much else to do."""

GUIDE = (TOP / "docs" / "gpu-box.md").read_text(encoding="utf-8")
KEY_OF_THE_GUIDE = "listBuckets,listFiles,readFiles,writeFiles"


class Box:
    """A rented box: a folder of its own, and the variables that were given."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("AGECLS_", "B2_"))}
        # The environment that runs these tests is the one that the script would find in the checkout.
        kept = {"AGECLS_CACHE": os.environ["AGECLS_CACHE"], "AGECLS_VENV": str(Path(sys.executable).parents[1])}
        self.environment = {**plain, "OMP_NUM_THREADS": "1", **kept, "AGECLS_WORK": str(folder), **variables}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, **variables: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [SCRIPT],
            cwd=self.folder,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, **variables: str) -> tuple[int, str]:
        process = self.start(**variables)
        said, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, said

    def end(self) -> None:
        """Leave nothing running, whatever became of the test."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=PATIENCE)


def wait_for_line(process: "subprocess.Popen[str]", pattern: str) -> str:
    """Read what a process says up to a line; fail where it ends before."""
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if re.search(pattern, line):
            return said
    raise AssertionError(f"no line like {pattern}:\n{said}")


def wait_for_epochs(run: Path, epochs: int) -> None:
    """Wait until a run in the bucket has come so far, and can be gone on with."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (run / "last.ckpt").is_file() and reached(run) >= epochs:
            return
        time.sleep(0.05)
    raise AssertionError(f"{run} has not come to epoch {epochs}")


def reached(run: Path) -> int:
    try:
        return int(json.loads((run / "run.json").read_text(encoding="utf-8"))["metrics"].get("epochs", 0))
    except FileNotFoundError:
        return 0


def all_text(folder: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.log")) if path.is_file())


@pytest.fixture
def rent() -> Iterator[Callable[..., Box]]:
    """Rent a box: ``rent(folder, VARIABLE=value)``."""
    boxes: list[Box] = []

    def get(folder: Path, **variables: str) -> Box:
        boxes.append(Box(folder, **variables))
        return boxes[-1]

    yield get
    for box in boxes:
        box.end()


@pytest.fixture(scope="module")
def server(drawn_faces: Path, drawn_split: Split, tmp_path_factory: pytest.TempPathFactory) -> Iterator[B2Server]:
    """Backblaze on loopback, its bucket with an archive of faces and their split."""
    archive = tmp_path_factory.mktemp("packed") / "faces.tar"
    subprocess.run(["tar", "-cf", archive, "-C", drawn_faces, "."], check=True)
    with B2Server() as running:
        running.put("data/faces.tar", archive.read_bytes())
        for path in drawn_split.folder.iterdir():
            running.put(f"splits/drawn/{path.name}", path.read_bytes())
        yield running


@pytest.fixture(scope="module")
def keys(server: B2Server) -> dict[str, str]:
    """What the environment holds of a key that may do what the guide says, and no more."""
    assert KEY_OF_THE_GUIDE in GUIDE
    environment = server.environment(server.make_key(KEY_OF_THE_GUIDE.split(","), [BUCKET]))
    return {**environment, "AGECLS_RETRY_SECONDS": "0.01"}


@pytest.fixture
def variables(keys: dict[str, str], tiny: tuple[str, ...]) -> dict[str, str]:
    settings = [each for each in tiny if not each.startswith("train.epochs")]
    return {
        **keys,
        "AGECLS_DATA": f"b2://{BUCKET}/data/faces.tar",
        "AGECLS_SPLIT": f"b2://{BUCKET}/splits/drawn",
        "AGECLS_TASK": "gender",
        "AGECLS_BINS": "4",
        "AGECLS_CONFIG": "agecnn-cpu",
        "AGECLS_SET": " ".join([*settings, "train.epochs=40"]),
        "AGECLS_PUSH_EVERY": "0.2",
        "AGECLS_STOP_FAILED": "0",
    }


def test_a_box_that_is_killed_and_one_that_is_stopped_go_on_to_the_end(
    variables: dict[str, str], rent: Callable[..., Box], tmp_path: Path
) -> None:
    runs, stopped = tmp_path / "runs", tmp_path / "stopped"
    run = runs / "gender"
    variables["AGECLS_RUN"] = str(run)
    variables["AGECLS_STOP"] = f"touch {stopped}"

    # Lost without a word, in the middle of the training.
    lost = rent(tmp_path / "lost", **variables).start()
    wait_for_epochs(run, 2)
    os.killpg(lost.pid, signal.SIGKILL)
    lost.communicate(timeout=PATIENCE)
    assert reached(run) < 40
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["status"] == "training"
    assert not stopped.exists()

    # Another box, of which only the bucket is known; outbid in the middle, with a warning.
    box = rent(tmp_path / "box", **variables)
    before = reached(run)
    outbid = box.start()
    said = wait_for_line(outbid, r"^epoch \d+/40")
    assert "gender: going on with the run in the bucket" in said
    first = re.search(r"^epoch (\d+)/40", said, re.MULTILINE)
    assert first
    assert int(first[1]) > before
    outbid.terminate()
    said = outbid.communicate(timeout=PATIENCE)[0]
    assert outbid.returncode == 143
    assert "stopped by a signal in step 'train, evaluate, push'" in said
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    assert not stopped.exists()

    # The same box once more.
    code, said = box.run()
    assert code == 0, said
    assert "found clean before" in said
    assert "gender: going on with the run on this box" in said
    assert stopped.exists()
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert (record["status"], record["metrics"]["epochs"]) == ("finished", 40)
    score = json.loads((run / "evaluate-valid.json").read_text(encoding="utf-8"))
    assert (score["part"], score["leaked"]) == ("valid", False)
    assert not (run / "evaluate-test.json").exists()

    # The logs of all but the lost box are there, and none holds a key.
    logs = sorted((runs / "gender.log").glob("start-*.log"))
    assert len(logs) >= 2
    text = all_text(runs)
    assert "== check the split" in text
    for name in ("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"):
        assert variables[name] not in text + said


def test_each_variant_is_a_run_of_its_own_and_one_that_fails_holds_up_no_other(
    variables: dict[str, str], rent: Callable[..., Box], server: B2Server, tmp_path: Path
) -> None:
    variables["AGECLS_RUN"] = f"b2://{BUCKET}/runs/gender"
    variables["AGECLS_SET"] = variables["AGECLS_SET"].replace("train.epochs=40", "train.epochs=1")
    variables["AGECLS_VARIANTS"] = "plain: ; broken: network.layers=many\nwide: network.features=16"
    variables["CUDA_VISIBLE_DEVICES"] = "0,1"
    variables["AGECLS_EVALUATE"] = "none"
    code, said = rent(tmp_path / "box", **variables).run()
    assert code == 1
    assert "onstart: broken: started on GPU 1" in said
    assert "onstart: broken: FAILED" in said
    there, features = server.objects(), {}
    for name in ("plain", "wide"):
        assert f"onstart: {name}: started on GPU 0" in said
        assert f"onstart: {name}: finished and pushed" in said
        record = json.loads(there[f"runs/gender-{name}/run.json"])
        assert record["status"] == "finished"
        features[name] = record["config"]["network"]["features"]
    assert features == {"plain": 8, "wide": 16}
    assert b"network.layers" in there["runs/gender.log/broken.log"]
    assert not [name for name in there if name.startswith("runs/gender-broken/")]
    for secret in (variables["B2_APPLICATION_KEY_ID"], variables["B2_APPLICATION_KEY"]):
        assert secret not in said
        assert not [name for name, content in there.items() if secret.encode() in content]


def test_a_failed_step_is_named_logged_without_secrets_and_stops_the_box(
    variables: dict[str, str], rent: Callable[..., Box], tmp_path: Path
) -> None:
    runs, stopped, key = tmp_path / "runs", tmp_path / "stopped", variables["B2_APPLICATION_KEY"]
    variables["AGECLS_RUN"] = str(runs / "gender")
    variables["AGECLS_DATA"] = str(tmp_path / f"faces-{key}.tar")
    box = rent(tmp_path / "box", **variables)
    code, said = box.run(AGECLS_STOP=f"touch {stopped}; echo gone")
    assert code == 2
    assert "onstart: FAILED in step 'pull the data' (exit code 2)" in said
    assert "the box is stopped in 0 minutes" in said
    assert stopped.exists()
    assert "faces-[secret].tar" in said
    kept = all_text(runs)
    assert "FAILED in step 'pull the data'" in kept
    assert key not in said + kept + all_text(box.folder)


def test_keys_that_do_not_work_end_the_box_at_its_first_step(
    variables: dict[str, str], rent: Callable[..., Box], tmp_path: Path
) -> None:
    variables["B2_APPLICATION_KEY"] = "K005AnotherKeyThanTheRightOne"
    variables["AGECLS_RUN"] = str(tmp_path / "runs" / "gender")
    code, said = rent(tmp_path / "box", **variables).run()
    assert code == 1
    assert "FAILED in step 'doctor'" in said
    assert "the box is left running" in said
    assert variables["B2_APPLICATION_KEY"] not in said


REFUSED = [
    ({"AGECLS_RUN": ""}, "AGECLS_RUN is not set"),
    ({"AGECLS_RUN": "runs/age"}, "AGECLS_RUN must be"),
    ({"AGECLS_RUN": "https://host/runs/age"}, "AGECLS_RUN must be"),
    ({"AGECLS_RUN": "b2://bucket"}, "AGECLS_RUN must be"),
    ({"AGECLS_RUN": "b2:///age"}, "AGECLS_RUN must be"),
    ({"AGECLS_RUN": "/age"}, "AGECLS_RUN must be"),
    ({"AGECLS_RUN": "b2://bucket/a b"}, "AGECLS_RUN must be"),
    ({"AGECLS_EVALUATE": "train"}, "AGECLS_EVALUATE is"),
    ({"AGECLS_DEVICES": "all"}, "AGECLS_DEVICES is"),
    ({"AGECLS_STOP_FAILED": "soon"}, "AGECLS_STOP_FAILED is"),
    ({"AGECLS_PUSH_EVERY": "often"}, "AGECLS_PUSH_EVERY is"),
    ({"AGECLS_VARIANTS": "network.features=8"}, "AGECLS_VARIANTS is"),
    ({"AGECLS_VARIANTS": "../up: network.features=8"}, "AGECLS_VARIANTS is"),
    ({"AGECLS_VARIANTS": "a: x=1; a: x=2"}, "AGECLS_VARIANTS names a twice"),
    ({"AGECLS_VARIANTS": "a:", "AGECLS_DEVICES": "2"}, "set one of them"),
    ({"AGECLS_VENV": "no/such/environment"}, "run scripts/setup first"),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_variables_that_cannot_be_used_are_refused_by_name(
    given: dict[str, str], said: str, rent: Callable[..., Box], tmp_path: Path
) -> None:
    code, text = rent(tmp_path / "box", AGECLS_RUN=str(tmp_path / "runs" / "age")).run(**given)
    assert code == 2
    assert said in text
    assert "FAILED in step 'variables'" in text
    assert not list((tmp_path / "box").glob("runs/*"))


def test_a_failed_box_that_is_waiting_is_kept_by_ending_the_script(rent: Callable[..., Box], tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    box = rent(tmp_path / "box", AGECLS_RUN="nowhere", AGECLS_STOP=f"touch {stopped}")
    process = box.start()
    said = wait_for_line(process, "the box is stopped in 15 minutes")
    assert f"by kill {process.pid}" in said
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert not stopped.exists()


def test_two_starts_on_one_box_do_not_meet(rent: Callable[..., Box], tmp_path: Path) -> None:
    box = rent(tmp_path / "box", AGECLS_RUN=str(tmp_path / "runs" / "age"))
    with (box.folder / ".onstart.lock").open("w") as held:
        subprocess.run(["flock", "-n", str(held.fileno())], pass_fds=[held.fileno()], check=True)
        stopped = tmp_path / "stopped"
        code, text = box.run(AGECLS_STOP=f"touch {stopped}")
    assert code == 1
    assert "another start is at work" in text
    assert not stopped.exists()  # the first one is not to be stopped by the second


def variables_of(text: str) -> set[str]:
    return set(re.findall(r"\b(?:AGECLS|B2)_[A-Z0-9_]+\b", text))


def test_every_variable_is_in_the_help_and_in_the_guide() -> None:
    script = SCRIPT.read_text(encoding="utf-8")
    helped = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    listed = variables_of(helped)
    code = script.replace(helped.rstrip("\n"), "")
    # How it finds its environment is no setting of a training, and of the keys it has no need.
    assert variables_of(code) - {"AGECLS_VENV"} == listed - {"B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"}
    table = "\n".join(line.split("|")[1] for line in GUIDE.splitlines() if line.startswith("| `"))
    assert listed <= variables_of(table)
    package = "\n".join(path.read_text(encoding="utf-8") for path in (TOP / "agecls").rglob("*.py"))
    assert variables_of(GUIDE) <= variables_of(script) | variables_of(package)


def commands_of_the_guide() -> list[list[str]]:
    lines = re.findall(r"^\$ (.+)$", GUIDE, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_every_agecls_command_of_the_guide_parses() -> None:
    group = typer.main.get_command(app)
    ours = [words[1:] for words in commands_of_the_guide() if words[0] == "agecls"]
    assert {words[0] for words in ours} >= {"split", "audit", "push", "pull", "train", "evaluate"}
    for words in ours:
        with typer.Context(group, info_name="agecls") as top:
            command = group.get_command(top, words[0])  # type: ignore[attr-defined]
            assert command is not None, words
            command.make_context(words[0], words[1:], parent=top)


def test_the_variants_of_the_guide_are_settings() -> None:
    [given] = re.findall(r"AGECLS_VARIANTS='([^']+)'", GUIDE)
    loaded = [load_config("agecnn", "age", variant.partition(":")[2].split()) for variant in given.split(";")]
    assert len({each.model_dump_json() for each in loaded}) == 4


def test_every_file_and_step_that_the_guide_names_is_there() -> None:
    for name in re.findall(r"scripts/[\w-]+", GUIDE):
        assert os.access(TOP / name, os.X_OK), name
    script = SCRIPT.read_text(encoding="utf-8")
    named = set(re.findall(r"FAILED in step '([^']+)'", GUIDE))
    assert named
    for step in named:
        assert f"next '{step}'" in script, step
    for said in ("AGECLS_RUN is not set", "another start is at work", "AGECLS_STOP failed: THE BOX IS STILL RUNNING"):
        assert said in GUIDE
        assert said in script


class Vast(BaseHTTPRequestHandler):
    """The one call of Vast.ai's API that stops an instance."""

    calls: list[tuple[str, str, bytes]]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.calls.append((self.path, self.headers["Authorization"], body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"success": true}')

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def vast() -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    handler = type("Recording", (Vast,), {"calls": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler.calls
        server.shutdown()


def test_a_vast_instance_stops_itself_with_its_own_key(vast: tuple[str, list[tuple[str, str, bytes]]]) -> None:
    address, calls = vast
    there = {**os.environ, "VAST_URL": address, "CONTAINER_ID": "123", "CONTAINER_API_KEY": "key-of-this-instance"}
    done = subprocess.run([TOP / "scripts" / "stop-vast"], env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [(path, authorization, body)] = calls
    assert path == "/api/v0/instances/123/"
    assert authorization == "Bearer key-of-this-instance"
    assert json.loads(body) == {"state": "stopped"}
    elsewhere = {name: value for name, value in there.items() if name != "CONTAINER_API_KEY"}
    done = subprocess.run([TOP / "scripts" / "stop-vast"], env=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no instance of Vast.ai" in done.stderr
