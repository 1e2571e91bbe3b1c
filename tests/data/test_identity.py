"""Photographs of one person: pairs from given embeddings, the kept embeddings, and real faces where they lie near."""

import hashlib
import io
import os
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agecls.data.duplicates import components
from agecls.data.embedded import FACE, NO_FACE, UNREADABLE, Embedded, embed_files, embedding_folder, keep_embeddings
from agecls.data.embedding import LENGTH, embed
from agecls.data.identity import ADULT, PERSON, close_pairs, find_persons, link_persons
from agecls.data.synthetic import draw_face
from agecls.errors import DataError, UsageError

ROW_BYTES = 32 + 1 + 4 * LENGTH
"""Of a shard."""

EMBED = """
import sys
from pathlib import Path
from agecls.data.embedded import embed_files
if __name__ == "__main__":
    files = {each: Path(sys.argv[1], f"{each}.png") for each in sys.argv[4:]}
    result = embed_files(files, workers=int(sys.argv[2]), shard_seconds=float(sys.argv[3]))
    order = sorted(range(len(files)), key=list(files).__getitem__)
    print(result.state[order].tolist(), result.vectors[order].astype(float).sum(axis=1).tolist())
"""


@pytest.fixture(autouse=True)
def no_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawn images named after their content; dlib finds a face in the first four. Treat it as read-only."""
    folder = tmp_path_factory.mktemp("drawn")
    for number in range(24):
        buffer = io.BytesIO()
        draw_face(5, number, 160 if number < 4 else 48)[1].save(buffer, "PNG")
        (folder / f"{hashlib.sha256(buffer.getvalue()).hexdigest()}.png").write_bytes(buffer.getvalue())
    return folder


@pytest.fixture
def drawn(originals: Path, tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "faces"
    folder.mkdir()
    for path in originals.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return {path.stem: path for path in sorted(folder.iterdir())}


def in_process(
    files: Iterable[str], folder: Path, workers: int, shard_seconds: float, output: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Embed ``folder/faces`` in the order of ``files``."""
    (folder / "embed.py").write_text(EMBED, encoding="utf-8")
    command = [sys.executable, str(folder / "embed.py"), str(folder / "faces"), str(workers), str(shard_seconds)]
    return subprocess.Popen([*command, *files], stdout=output, stderr=output, text=True)


def runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def shards() -> list[Path]:
    return sorted(embedding_folder().glob("*.faces"))


def name(content: int) -> str:
    return hashlib.sha256(bytes([content])).hexdigest()


def make_table(rows: list[tuple[int, int]]) -> pd.DataFrame:
    """One row for each (content, age)."""
    return pd.DataFrame(
        {
            "path": [f"{number:03}.jpg" for number in range(len(rows))],
            "source": "utkface",
            "sha256": [name(content) for content, _ in rows],
            "age_low": [age for _, age in rows],
        }
    )


def on_a_line(table: pd.DataFrame, places: list[float], states: list[int]) -> Embedded:
    """Embeddings of the adult contents of ``table``, content k at ``places[k]``."""
    number = {name(content): content for content in range(len(places))}
    chosen = [number[each] for each in sorted(set(table["sha256"][table["age_low"] >= ADULT]))]
    vectors = np.zeros((len(chosen), LENGTH), dtype=np.float32)
    vectors[:, 3] = [places[content] for content in chosen]
    return Embedded(vectors, np.array([states[content] for content in chosen], dtype=np.int8))


CONTENTS = 8
LINES = st.lists(st.integers(0, 20).map(lambda step: step * 0.15), min_size=CONTENTS, max_size=CONTENTS)
STATES = st.lists(st.sampled_from([FACE, FACE, FACE, NO_FACE, UNREADABLE]), min_size=CONTENTS, max_size=CONTENTS)
ROWS = st.lists(st.tuples(st.integers(0, CONTENTS - 1), st.integers(10, 20)), max_size=20)


@given(rows=ROWS, places=LINES, states=STATES, seed=st.integers(0, 99))
def test_the_same_persons_whatever_the_order_of_the_rows(
    rows: list[tuple[int, int]], places: list[float], states: list[int], seed: int
) -> None:
    table = make_table(rows)
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    shuffled = table.iloc[order].reset_index(drop=True)
    ways = []
    for each in (table, shuffled):
        found = link_persons(each, on_a_line(each, places, states))
        number = components(len(each), [found.links])
        groups = {frozenset(each["path"][number == one]) for one in set(number.tolist())}
        ways.append((groups, found.too_young, found.without_face, found.unreadable, sorted(found.distances.tolist())))
    assert ways[0] == ways[1]


@given(rows=ROWS, places=LINES, states=STATES)
def test_links_are_the_close_adults_and_no_one_else(
    rows: list[tuple[int, int]], places: list[float], states: list[int]
) -> None:
    table = make_table(rows)
    found = link_persons(table, on_a_line(table, places, states))
    linked = {frozenset((rows[a][0], rows[b][0])) for a, b in zip(found.links.first, found.links.second, strict=True)}
    adults = {content for content, age in rows if age >= ADULT and states[content] == FACE}
    close = {frozenset((a, b)) for a in adults for b in adults if a < b and abs(places[a] - places[b]) < PERSON}
    assert linked == close
    assert len(found.links) == len(close) == len(found.distances)
    assert all(rows[row][1] >= ADULT for row in (*found.links.first, *found.links.second))
    assert found.too_young == sum(age < ADULT for _, age in rows)
    assert found.without_face == sum(age >= ADULT and states[content] == NO_FACE for content, age in rows)
    assert found.unreadable == sum(age >= ADULT and states[content] == UNREADABLE for content, age in rows)


def test_a_content_of_several_rows_stands_in_the_one_of_its_smallest_path() -> None:
    table = make_table([(0, 30), (0, 31), (1, 40), (1, 41)])
    for each in (table, table[::-1].reset_index(drop=True)):
        found = link_persons(each, on_a_line(each, [0.0, 0.25], [FACE, FACE]))
        linked = each["path"][[*found.links.first, *found.links.second]]
        assert sorted(linked) == ["000.jpg", "002.jpg"]


def test_the_distance_of_a_pair_is_its_score() -> None:
    table = make_table([(0, 30), (1, 40)])
    found = link_persons(table, on_a_line(table, [0.0, 0.25], [FACE, FACE]))
    assert found.links.kind == "person"
    assert found.distances.tolist() == [0.25]
    assert not len(link_persons(table, on_a_line(table, [0.0, 0.25], [FACE, FACE]), threshold=0.25).links)


def test_the_index_of_cells_finds_the_same_pairs() -> None:
    rng = np.random.default_rng(4)
    people = rng.normal(0, 0.1, (700, LENGTH))
    vectors = np.concatenate([people + rng.normal(0, 0.016, people.shape) for _ in range(3)]).astype(np.float32)
    exact = close_pairs(vectors, PERSON)
    cells = close_pairs(vectors, PERSON, exact=0)
    assert len(exact[0]) > 1500
    for ours, theirs in zip(exact, cells, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    apart = np.linalg.norm(vectors[exact[0]] - vectors[exact[1]], axis=1)
    np.testing.assert_allclose(exact[2], apart, rtol=1e-5)


def test_no_vectors_no_pairs() -> None:
    first, second, distance = close_pairs(np.empty((0, LENGTH), np.float32), PERSON)
    assert len(first) == len(second) == len(distance) == 0


def test_the_number_of_processes_changes_nothing(drawn: dict[str, Path]) -> None:
    several = embed_files(drawn, workers=2)
    for shard in shards():
        shard.unlink()
    alone = embed_files(drawn, workers=1)
    np.testing.assert_array_equal(several.vectors, alone.vectors)
    np.testing.assert_array_equal(several.state, alone.state)
    assert set(several.state.tolist()) == {FACE, NO_FACE}


def test_a_killed_process_goes_on_where_it_stopped(drawn: dict[str, Path], tmp_path: Path) -> None:
    process = in_process(drawn, tmp_path, workers=2, shard_seconds=0, output=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(shards()) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    kept = [path.read_bytes()[:32].hex() for path in shards()]
    assert 5 <= len(kept) < len(drawn)
    deadline = time.monotonic() + 10
    while (left := [each for each in workers if runs(each)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    for each in left:
        each.kill()
    assert not left
    # Whoever looked at these again would find them gone.
    for each in kept:
        drawn[each].unlink()
    resumed = embed_files(drawn, workers=1)
    assert UNREADABLE not in resumed.state
    assert sum(path.stat().st_size for path in shards()) == ROW_BYTES * len(drawn)


@pytest.mark.parametrize("damage", ["changed", "cut", "empty", "renamed"])
def test_a_damaged_shard_is_made_again(drawn: dict[str, Path], damage: str) -> None:
    whole = embed_files(drawn, workers=1)
    (shard,) = shards()
    content = shard.read_bytes()
    bad = shard.with_name("0" * 64 + ".faces") if damage == "renamed" else shard
    shard.unlink()
    bad.write_bytes(
        {
            "changed": content[:33] + b"\x01" + content[34:],
            "cut": content[: 7 * ROW_BYTES],
            "empty": b"",
            "renamed": content[: 7 * ROW_BYTES],
        }[damage]
    )
    again = embed_files(drawn, workers=1)
    np.testing.assert_array_equal(again.vectors, whole.vectors)
    np.testing.assert_array_equal(again.state, whole.state)
    assert [path.read_bytes() for path in shards()] == [content]


def test_two_processes_share_the_work(drawn: dict[str, Path], tmp_path: Path) -> None:
    # In different orders, so that work done twice would be kept twice.
    both = [in_process(order, tmp_path, workers=1, shard_seconds=60) for order in (drawn, reversed(drawn))]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0] != ""
    assert sum(path.stat().st_size for path in shards()) == ROW_BYTES * len(drawn)


def test_what_is_kept_is_found(drawn: dict[str, Path]) -> None:
    rng = np.random.default_rng(2)
    state = np.where(np.arange(24) % 5, FACE, NO_FACE).astype(np.int8)
    state[7] = UNREADABLE
    vectors = rng.normal(size=(24, LENGTH)).astype(np.float32)
    keep_embeddings(list(drawn), Embedded(vectors, state))
    some = dict(list(drawn.items())[::-1][:18])
    for path in some.values():
        path.unlink()
    found = embed_files(some, workers=1)
    np.testing.assert_array_equal(found.state, state[::-1][:18])
    there = found.state == FACE
    np.testing.assert_array_equal(found.vectors[there], vectors[::-1][:18][there])


def test_a_file_that_cannot_be_used_gets_no_link_and_is_counted(drawn: dict[str, Path], tmp_path: Path) -> None:
    files = list(drawn.items())[:4]
    files[0][1].unlink()
    files[1][1].write_bytes(files[2][1].read_bytes())
    text = b"no image"
    (tmp_path / "faces" / "text.jpg").write_bytes(text)
    table = pd.DataFrame(
        {
            "path": [*(path.name for _, path in files), "text.jpg"],
            "source": "utkface",
            "sha256": [*(sha256 for sha256, _ in files), hashlib.sha256(text).hexdigest()],
            "age_low": 30,
        }
    )
    found = find_persons(table, {"utkface": tmp_path / "faces"})
    assert found.unreadable == 3
    assert {0, 1, 4}.isdisjoint({*found.links.first.tolist(), *found.links.second.tolist()})


@pytest.mark.parametrize(("mode", "size"), [("RGB", (1, 1)), ("L", (40, 300)), ("RGBA", (2400, 30)), ("1", (90, 90))])
def test_a_picture_of_no_one_has_no_face(mode: str, size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    assert embed(buffer.getvalue()) is None


def test_a_cache_that_cannot_be_made(drawn: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGECLS_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="cache folder"):
        embed_files(drawn, workers=1)


@pytest.mark.parametrize("absent", ["dlib", "face_recognition_models"])
def test_without_the_extra_it_says_what_to_install(absent: str, tmp_path: Path) -> None:
    if absent == "dlib":
        (tmp_path / "dlib.py").write_text("raise ModuleNotFoundError(\"No module named 'dlib'\")")
    else:
        (tmp_path / absent).mkdir()
        (tmp_path / absent / "__init__.py").touch()
    code = "from agecls.data.identity import find_persons, pd\ntable = pd.DataFrame(columns=['path', 'source', "
    code += "'sha256', 'age_low'])\nfrom agecls.errors import UsageError\n"
    code += "try:\n    find_persons(table, {})\nexcept UsageError as error:\n    print(error)\n"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "pip install 'agecls[identity]'" in done.stdout, done.stderr
    assert absent in done.stdout


@pytest.fixture(scope="module")
def some_adults(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty UTKFace images of ages from 15, and a child."""
    folder = tmp_path_factory.mktemp("adults")
    with tarfile.open(shared_data / "utkface.tar") as archive:
        ages = [(int(member.name.rpartition("/")[2].split("_")[0]), member) for member in archive.getmembers()]
        adults = [member for age, member in ages if age >= ADULT]
        child = next(member for age, member in ages if age == 3)
        for member in [*adults[:: len(adults) // 60][:60], child]:
            stream = archive.extractfile(member)
            assert stream is not None
            (folder / member.name.rpartition("/")[2]).write_bytes(stream.read())
    return folder


@pytest.mark.real
def test_real_faces_find_their_own_copies(some_adults: Path, tmp_path: Path) -> None:
    before = os.times()
    paths = sorted(some_adults.iterdir())
    contents = [path.read_bytes() for path in paths]
    ages = [int(path.name.split("_")[0]) for path in paths]
    copied = next(row for row, content in enumerate(contents) if ages[row] >= ADULT and embed(content) is not None)
    buffer = io.BytesIO()
    Image.open(io.BytesIO(contents[copied])).resize((180, 180)).save(buffer, "JPEG", quality=70)
    (some_adults / "copy.jpg").write_bytes(buffer.getvalue())
    table = pd.DataFrame(
        {
            "path": [*(path.name for path in paths), "copy.jpg"],
            "source": "utkface",
            "sha256": [hashlib.sha256(content).hexdigest() for content in [*contents, buffer.getvalue()]],
            "age_low": [*ages, ages[copied]],
        }
    )
    found = find_persons(table, {"utkface": some_adults})
    pairs = set(zip(found.links.first.tolist(), found.links.second.tolist(), strict=True))
    assert {(copied, len(paths)), (len(paths), copied)} & pairs
    assert len(pairs) <= 3
    assert (found.distances < PERSON).all()
    assert found.too_young == 1
    assert found.without_face <= 6
    assert not found.unreadable
    spent = np.subtract(os.times(), before)
    assert spent[:4].sum() < 15  # of this process and its workers, however busy the machine is


def test_embed_refuses_what_is_no_image() -> None:
    with pytest.raises(DataError):
        embed(b"no image")
