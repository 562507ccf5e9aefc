"""A call that is under way only once at a time, such as asking a store that may be away."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """One call. Callers that come while it is under way share its result: a store that hangs holds up one thread, and
    not one more with every question."""

    def __init__(self, name: str, call: Callable[[], Result]) -> None:
        self._name = name
        self._call = call
        self._lock = Lock()
        self._last: Future[Result] | None = None

    def start(self) -> "Future[Result]":
        """Start the call in a thread of its own, unless it is under way. The caller waits as long as it likes."""
        future, leads = self._join()
        if leads:
            # Not an executor's: at the end of the process those are waited for.
            Thread(target=self._run, args=(future,), name=self._name, daemon=True).start()
        return future

    def call(self) -> Result:
        """The call's result, for callers that would wait for it anyhow: the first of them makes it."""
        future, leads = self._join()
        if leads:
            self._run(future)
        return future.result()

    def _join(self) -> "tuple[Future[Result], bool]":
        """The call that is under way, or else a new one, which is then the caller's to make."""
        with self._lock:
            leads = self._last is None or self._last.done()
            if self._last is None or leads:
                self._last = Future()
            return self._last, leads

    def _run(self, future: "Future[Result]") -> None:
        try:
            future.set_result(self._call())
        except Exception as error:
            future.set_exception(error)
