"""A step that runs beside the next one's beginning."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, Self

Arguments = ParamSpec("Arguments")


class OneBehind:
    """Calls in a thread beside the caller's, one after the other. Who asks for the next waits for the last, so that
    what is not done yet stays bounded; leaving waits too. Either raises what the call has raised."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self._wait()

    def run(self, call: Callable[Arguments, None], *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        """Begin a call, once the last is over."""
        self._wait()
        self._last = self._thread.submit(call, *args, **kwargs)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()
