import time

import pytest

from agecls.data.storage.checksums import read_list
from agecls.data.storage.crew import Crew
from agecls.data.storage.retry import Calm, GaveUpError, Patience, patience_of_environment, patiently
from agecls.data.storage.store import PassingError
from agecls.errors import UsageError

QUICK = Patience(first=0.001, longest=0.002, longest_asked=0.05, attempts=3)


def test_work_that_fails_for_good_is_given_up_and_each_retry_said_once() -> None:
    said: list[str] = []
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        raise PassingError("the server answers 503")

    with pytest.raises(GaveUpError, match="gave up after 3 attempts"):
        patiently(work, "reading x", QUICK, said.append)
    assert len(calls) == 3
    assert len(said) == 2
    assert said[0].startswith("reading x: the server answers 503; trying again in")


def test_an_attempt_that_moves_on_starts_the_count_again() -> None:
    moved = 0

    def work() -> str:
        nonlocal moved
        moved += 1
        if moved < 10:
            raise PassingError("broke")
        return "done"

    assert patiently(work, "reading", QUICK, lambda line: None, moved=lambda: moved) == "done"


def test_the_server_is_left_alone_for_as_long_as_it_asks_within_bounds() -> None:
    asked = iter([0.03, 99.0])
    begun = time.monotonic()

    def work() -> None:
        for wait in asked:
            raise PassingError("busy", wait)

    patiently(work, "reading", QUICK, lambda line: None)
    assert 0.08 <= time.monotonic() - begun < 5


def test_waits_grow_and_are_never_all_alike() -> None:
    patience = Patience(first=1.0, longest=30.0)
    waits = [[patience.wait(number, None) for _ in range(50)] for number in (1, 2, 3, 20)]
    for drawn, most in zip(waits, (1.0, 2.0, 4.0, 30.0), strict=True):
        assert all(most / 2 <= each <= most for each in drawn)
        assert len(set(drawn)) > 10


def test_other_errors_pass_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        patiently(lambda: 1 // 0, "dividing", QUICK, lambda line: None)


@pytest.mark.parametrize(("text", "first"), [("0.01", 0.01), ("0", 0.0), ("", 0.5)])
def test_the_environment_sets_the_waits(text: str, first: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_RETRY_SECONDS", text)
    assert patience_of_environment().first == first


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_wait_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGECLS_RETRY_SECONDS", text)
    with pytest.raises(UsageError, match="AGECLS_RETRY_SECONDS"):
        patience_of_environment()


def test_what_several_threads_meet_at_a_time_is_said_once() -> None:
    said: list[str] = []
    calm = Calm(said.append)
    for line in ("reading x: reset; trying again in 1 s", "reading x: reset; trying again in 2 s", "y: reset; again"):
        calm(line)
    assert said == ["reading x: reset; trying again in 1 s", "y: reset; again"]


def test_the_first_error_of_a_crew_stops_the_others() -> None:
    ended: list[int] = []

    def work(crew: Crew) -> None:
        if not ended:
            ended.append(1)
            raise ValueError("one is enough")
        while True:
            crew.keep_on()
            time.sleep(0.001)

    begun = time.monotonic()

    def run() -> None:
        with Crew(work, 4) as crew:
            while crew.wait(0.1):
                pass

    with pytest.raises(ValueError, match="one is enough"):
        run()
    assert time.monotonic() - begun < 5


SUM, OTHER = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"{SUM}\n", SUM),
        (f"{SUM.upper()}  faces.tar\n", SUM),
        (f"{SUM} *faces.tar\r\n", SUM),
        (f"{SUM}  out/faces.tar\n{OTHER}  other.tar\n", SUM),
        (f"{OTHER}  other.tar\n{SUM}  faces.tar\n", SUM),
        (f"SHA256 (faces.tar) = {SUM}\n", SUM),
        (f"{OTHER}  other.tar\n", ""),
        (f"{SUM}\n{OTHER}\n", ""),
        ("<html>not found</html>", ""),
        ("", ""),
    ],
)
def test_checksum_files_are_read_as_sha256sum_writes_them(text: str, value: str) -> None:
    assert read_list(text, "faces.tar") == value
