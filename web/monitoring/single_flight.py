"""A look at a part that may be away. It takes the time it takes; whoever wants to know waits as long as they like."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Glance(Generic[Found]):
    """One part, looked at once at a time.

    Who comes while a look is under way gets that one's result: a part that hangs holds up one thread, and not one
    more with every question.
    """

    def __init__(self, name: str, look: Callable[[], Found]) -> None:
        self._name = name
        self._look = look
        self._lock = Lock()
        self._last: Future[Found] | None = None

    def begin(self) -> "Future[Found]":
        """Start to look, unless that is under way."""
        with self._lock:
            if self._last is None or self._last.done():
                self._last = Future()
                # Not an executor's: at the end of the process those are waited for.
                Thread(target=self._run, args=(self._last,), name=self._name, daemon=True).start()
            return self._last

    def _run(self, future: "Future[Found]") -> None:
        try:
            future.set_result(self._look())
        except Exception as error:
            future.set_exception(error)
