"""Several threads at one piece of work; the first error stops all, and nobody waits for one that hangs."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

LEAVING: Final = 2.0
"""Seconds that each thread is given to end; one that waits for a server's next byte is left behind."""


class StoppedError(Exception):
    """Raised within a thread that has been told to end; nobody sees it."""


class Crew:
    """Threads that run one function each until it returns. Leaving the block tells those at work to stop.

    Args:
        work: calls ``self.keep_on`` between two steps, which raises once the crew is to stop.
        size: number of threads.
        stop: an event that stops this crew too, such as the one of the crew around it.
    """

    def __init__(self, work: Callable[["Crew"], None], size: int, stop: threading.Event | None = None) -> None:
        self.stop = threading.Event()
        self._above = stop
        self._news = threading.Condition()
        self._error: BaseException | None = None
        self._working = size
        # Daemons: the interpreter does not wait for one that hangs in a read when the user has pressed Ctrl-C.
        self._threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for _ in range(size)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.stop.set()
        for thread in self._threads:
            thread.join(LEAVING)

    def keep_on(self) -> None:
        """Raise ``StoppedError`` where the crew is to stop."""
        if self.stop.is_set() or (self._above is not None and self._above.is_set()):
            raise StoppedError

    def wait(self, seconds: float) -> bool:
        """Wait so long at most, less where a thread ends; return whether one was at work when the waiting began.

        Raises:
            Exception: the first error of a thread.
        """
        with self._news:
            working = self._working > 0
            if working and self._error is None:
                self._news.wait(seconds)
        if self._error is not None:
            raise self._error
        return working

    def _run(self, work: Callable[["Crew"], None]) -> None:
        try:
            work(self)
        except StoppedError:
            pass
        except BaseException as error:  # handed to whoever waits
            if self._error is None:
                self._error = error
            self.stop.set()
        finally:
            with self._news:
                self._working -= 1
                self._news.notify_all()
