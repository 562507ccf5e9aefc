"""A call that is under way only once at a time, such as asking a store that may be away."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """One call, in a thread of its own; its caller waits as long as it likes.

    Callers that come while it is under way share its result: a store that hangs holds up one thread, and not one more
    with every question.
    """

    def __init__(self, name: str, call: Callable[[], Result]) -> None:
        self._name = name
        self._call = call
        self._lock = Lock()
        self._last: Future[Result] | None = None

    def start(self) -> "Future[Result]":
        """Start the call, unless it is under way."""
        with self._lock:
            if self._last is None or self._last.done():
                self._last = Future()
                # Not an executor's: at the end of the process those are waited for.
                Thread(target=self._run, args=(self._last,), name=self._name, daemon=True).start()
            return self._last

    def _run(self, future: "Future[Result]") -> None:
        try:
            future.set_result(self._call())
        except Exception as error:
            future.set_exception(error)
