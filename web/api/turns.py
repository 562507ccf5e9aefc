"""A line for work of which only so much is begun at once.

All of a burst begun together would be done together, and late, or fail for want of a connection in the middle. What
waits behind work for which a store is away is not to find that out one after the other: it is refused with it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore

from core.errors import Unavailable


class Turns:
    """Turns that are taken by at most `at_once`; the others wait, each for at most `timeout` seconds."""

    def __init__(self, at_once: int, timeout: float) -> None:
        self._free = Semaphore(at_once)
        self._timeout = timeout
        self._failures = 0
        self._last = Unavailable()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While one has a turn. Raises Unavailable when none was to be had in time, or when a turn that was taken
        meanwhile has ended with it."""
        before = self._failures
        if not self._free.acquire(timeout=self._timeout):
            raise Unavailable("Too many requests of this kind are coming in; try again in a moment.", retry_after=2)
        try:
            if self._failures != before:
                raise self._last
            yield
        except Unavailable as error:
            self._failures += 1
            self._last = Unavailable(error.detail, retry_after=2)
            self._last.__cause__ = error.cause
            raise
        finally:
            self._free.release()
