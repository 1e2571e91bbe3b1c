"""Try again what may go well another time: longer and longer waits, an end, and one calm line for each."""

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import tenacity

from agecls.data.storage.store import PassingError
from agecls.errors import StorageError, UsageError

VARIABLE: Final = "AGECLS_RETRY_SECONDS"

Say = Callable[[str], None]
_T = TypeVar("_T")


class GaveUpError(StorageError):
    """Something that might have gone well another time failed as often as patience allows."""


@dataclass(frozen=True)
class Patience:
    """How long to bear with a store that fails."""

    first: float = 0.5
    """Seconds before the second attempt; doubled for each further one that brings nothing new."""

    longest: float = 30.0
    """Seconds between two attempts at most, where the store does not ask for more."""

    longest_asked: float = 300.0
    """Seconds between two attempts at most, where the store asks to be left alone (``Retry-After``)."""

    attempts: int = 8
    """Attempts in a row that may bring nothing new; one that moved bytes starts the count again."""

    silence: float = 60.0
    """Seconds without a byte after which a connection counts as broken."""

    def wait(self, fruitless: int, asked: float | None) -> float:
        """Seconds to wait after so many fruitless attempts: doubled each time, and up to half of it left to chance."""
        doubled = min(self.longest, self.first * 2.0 ** min(fruitless - 1, 30)) * random.uniform(0.5, 1.0)
        return max(doubled, min(asked or 0.0, self.longest_asked))


def patience_of_environment() -> Patience:
    """The usual patience; ``AGECLS_RETRY_SECONDS`` sets the first wait, and scales the longest ones with it.

    Raises:
        UsageError: the variable is no number of seconds.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return Patience()
    try:
        first = float(text)
    except ValueError:
        first = -1.0
    if not 0 <= first <= 3600:
        raise UsageError(
            f"{VARIABLE} is no number of seconds", got=text, remedy="give the first wait, 0 to 3600, such as 0.5"
        )
    usual = Patience()
    scale = first / usual.first
    return Patience(first, usual.longest * scale, usual.longest_asked * scale)


class Calm:
    """Says the same trouble once where several threads meet it at a time."""

    def __init__(self, say: Say, seconds: float = 1.0) -> None:
        self._say, self._seconds = say, seconds
        self._last: tuple[str, float] = ("", 0.0)
        self._lock = threading.Lock()

    def __call__(self, line: str) -> None:
        """Say a line, unless its like has been said a moment ago."""
        trouble, now = line.rpartition(";")[0], time.monotonic()
        with self._lock:
            repeated = trouble == self._last[0] and now - self._last[1] < self._seconds
            self._last = (trouble, self._last[1] if repeated else now)
        if not repeated:
            self._say(line)


def patiently(
    work: Callable[[], _T],
    doing: str,
    patience: Patience,
    say: Say,
    *,
    moved: Callable[[], int] = lambda: 0,
    stop: threading.Event | None = None,
) -> _T:
    """Call ``work`` until it ends without a ``PassingError``, or too many attempts in a row brought nothing new.

    Args:
        work: is called again after a wait; where ``stop`` is set it should raise at once.
        doing: what is tried, such as ``reading https://host/faces.tar``; holds no secret.
        patience: waits and number of attempts.
        say: is told of each new attempt, in one line.
        moved: what grows while ``work`` gets on, such as the bytes read so far.
        stop: cuts waits short.

    Raises:
        GaveUpError: it failed as often as patience allows; other errors of ``work`` pass through.
    """
    mark, fruitless = moved(), 0

    def count(_: tenacity.RetryCallState) -> None:
        nonlocal mark, fruitless
        fruitless = 1 if moved() != mark else fruitless + 1
        mark = moved()

    def wait(state: tenacity.RetryCallState) -> float:
        return patience.wait(fruitless, _failure(state).wait)

    def announce(state: tenacity.RetryCallState) -> None:
        say(f"{doing}: {_failure(state).what}; trying again in {state.upcoming_sleep:.1f} s")

    def give_up(state: tenacity.RetryCallState) -> _T:
        raise GaveUpError(
            f"{doing}: gave up after {fruitless} attempts in a row that brought nothing new",
            got=_failure(state).what,
            remedy="look whether the other side is well, then give the same command again: it goes on from there",
        ) from None

    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(PassingError),
        after=count,
        wait=wait,
        stop=lambda _: fruitless >= patience.attempts,
        before_sleep=announce,
        retry_error_callback=give_up,
        sleep=tenacity.sleep_using_event(stop or threading.Event()),
    )
    return attempts(work)


def _failure(state: tenacity.RetryCallState) -> PassingError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, PassingError):  # tenacity hands only such to these hooks
        raise TypeError(f"unexpected outcome {error!r}")
    return error
