"""Where a new entry of the cache goes: refused with the sizes before anything is written or dropped."""

from pathlib import Path

import numpy as np
import pytest

from agecls.data.cache import Making, hold
from agecls.data.cache_folder import cache_places, clear_cache, list_entries
from agecls.data.cache_place import Candidate, choose_place, find_place
from agecls.data.faces import Faces
from agecls.data.split import Split
from agecls.errors import DataError
from agecls.machine.memory import Memory, find_memory

GB = 10**9
LARGE = Memory(machine=64 * GB, limit=64 * GB, free=32 * GB)
NO_ROOM = Path("/proc/agecls")
"""A folder on a disk without a free byte."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of each test's own."""
    monkeypatch.setenv("AGECLS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photograph(drawn_split: Split) -> Faces:
    """One image, as a set."""
    return drawn_split.everything.select(np.arange(1))


def ones(*shape: int) -> Making:
    return Making(f"ones-{shape[0]}", shape, lambda content: np.ones(shape, np.uint8))


def test_the_first_folder_with_room_is_taken() -> None:
    small, large = Candidate(Path("small"), GB, False), Candidate(Path("large"), 9 * GB, False)
    assert choose_place(GB, [small, large], LARGE) == Path("small")
    assert choose_place(GB + 1, [small, large], LARGE) == Path("large")


def test_a_folder_in_memory_takes_half_of_what_is_free_at_most() -> None:
    disk, memory = Candidate(Path("disk"), GB, False), Candidate(Path("memory"), 64 * GB, True)
    assert choose_place(16 * GB, [disk, memory], LARGE) == Path("memory")
    with pytest.raises(DataError) as refused:
        choose_place(16 * GB + 1, [disk, memory], LARGE)
    assert refused.value.got == "1.0 GB in disk, 16.0 GB in memory"


def test_what_is_larger_than_memory_is_refused_unless_it_is_wanted() -> None:
    disk = Candidate(Path("disk"), 900 * GB, False)
    within = Memory(machine=64 * GB, limit=8 * GB, free=4 * GB)
    with pytest.raises(DataError, match=r"need 8\.1 GB, and there are 8\.0 GB of memory") as refused:
        choose_place(8 * GB + GB // 10, [disk], within)
    assert "of 64.0 GB, its container is given less" in refused.value.got
    assert "AGECLS_CACHE_OVERSIZE=1" in refused.value.remedy
    assert choose_place(8 * GB, [disk], within) == Path("disk")
    assert choose_place(80 * GB, [disk], within, oversize=True) == Path("disk")


def test_more_than_memory_is_refused_before_anything_is_written_or_dropped(
    cache: Path, photograph: Faces, drawn_faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = {"synthetic": drawn_faces}
    hold(photograph, roots, ones(1000))
    monkeypatch.setenv("AGECLS_CACHE_GB", "1e-6")  # the entry there would have to go
    before = sorted(path.relative_to(cache) for path in cache.rglob("*"))
    with pytest.raises(DataError, match="of memory to read them from"):
        hold(photograph, roots, ones(find_memory().limit + 1))
    assert sorted(path.relative_to(cache) for path in cache.rglob("*")) == before
    assert len(list_entries()) == 1


def test_more_than_the_disk_holds_is_refused_before_anything_is_written_or_dropped(
    cache: Path, photograph: Faces, drawn_faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = {"synthetic": drawn_faces}
    hold(photograph, roots, ones(1000))
    monkeypatch.setenv("AGECLS_CACHE_GB", "1e-6")
    monkeypatch.setenv("AGECLS_CACHE_OVERSIZE", "1")
    with pytest.raises(DataError, match=r"need 1000000000.0 GB, and the cache has room for less") as refused:
        hold(photograph, roots, ones(10**18))
    assert str(cache) in refused.value.got
    assert len(list_entries()) == 1


def test_a_cache_that_cannot_be_there_is_not_made(
    cache: Path, photograph: Faces, drawn_faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGECLS_CACHE_OVERSIZE", "1")
    with pytest.raises(DataError):
        hold(photograph, {"synthetic": drawn_faces}, ones(10**18))
    assert not cache.exists()


def test_a_named_cache_is_the_only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_CACHE", str(NO_ROOM))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert cache_places() == [NO_ROOM]
    with pytest.raises(DataError, match=r"need 1\.0 MB, and the cache has room for less") as refused:
        find_place(10**6)
    assert refused.value.got == f"0.0 MB in {NO_ROOM}"


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whose own cache folder has no room; the temporary folder that has."""
    monkeypatch.delenv("AGECLS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(NO_ROOM))
    spare = tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setenv("TMPDIR", str(spare))
    return spare


def test_a_full_disk_sends_the_entry_to_the_temporary_folder_where_it_is_found_again(
    full: Path, photograph: Faces, drawn_faces: Path, tmp_path: Path
) -> None:
    made = hold(photograph, {"synthetic": drawn_faces}, ones(1000))
    place = made.place
    assert place is not None
    assert place.parent == full
    assert place.stat().st_mode & 0o777 == 0o700
    again = hold(photograph, {"synthetic": tmp_path / "gone"}, ones(1000))
    np.testing.assert_array_equal(again.images, made.images)
    assert [entry.folder.parent for entry in list_entries()] == [place]
    assert clear_cache() > 1000
    assert list_entries() == []


@pytest.mark.parametrize("trap", ["link", "open to all", "file"])
def test_a_temporary_folder_that_others_may_have_filled_is_not_used(trap: str, full: Path, tmp_path: Path) -> None:
    spare = next(each for each in cache_places() if each.parent == full)
    match trap:
        case "link":
            spare.symlink_to(tmp_path)
        case "open to all":
            spare.mkdir()
            spare.chmod(0o777)
        case _:
            spare.touch()
    assert spare not in cache_places()
