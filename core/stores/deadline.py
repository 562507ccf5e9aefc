"""The deadline of a block of database work: one for all its waits, in whatever function they are."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_until: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give the block so many seconds. Nothing is ended by it: each wait inside asks how much is `left`."""
    token = _until.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until.reset(token)


def left(otherwise: float) -> float:
    """The seconds until the current block's deadline, 0 when it has passed; `otherwise` outside of any block."""
    until = _until.get()
    return otherwise if until is None else max(0.0, until - time.monotonic())
