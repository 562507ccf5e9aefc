"""Circuit breaker: of many callers one waits for a part that is known to be silent, and the others are refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class CircuitOpen(Exception):
    """The part is silent, and another caller is trying it already."""


class Breaker:
    """After a call without an answer one caller at a time asks; the others are refused at once until one is answered.

    It measures no time: a part that is back is found by the next caller, and a silent one holds up one caller.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._silent = False
        self._asking = False
        """Whether a caller is finding out if it is still silent."""

    @contextmanager
    def call(self, silence: type[Exception]) -> Iterator[None]:
        """A call, which raises `silence` when it gets no answer; anything else is one. Raises CircuitOpen."""
        asks = self._begin()
        try:
            yield
        except silence:
            self._end(asks, silent=True)
            raise
        except BaseException:
            self._end(asks, silent=False)
            raise
        else:
            self._end(asks, silent=False)

    def _begin(self) -> bool:
        with self._lock:
            if self._silent and self._asking:
                raise CircuitOpen
            asks = self._asking = self._silent
            return asks

    def _end(self, asked: bool, *, silent: bool) -> None:
        with self._lock:
            if asked:
                self._asking = False
            if silent or asked:
                self._silent = silent
