"""How much time is left: one deadline over all the waits of a block, whoever does the waiting."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_until: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give the block so many seconds. Ends nothing by itself: those who wait inside ask what is `left`."""
    token = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(token)


def left(otherwise: float) -> float:
    """The seconds until the current block's deadline, 0 when it has passed; `otherwise` outside of any block."""
    until = _until.get()
    return otherwise if until is None else max(0.0, until - time.monotonic())
