"""Waiting for something to become true, with a deadline instead of a sleep that hopes."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

PATIENCE = 40.0
"""Seconds that a busy machine may take for what a quiet one does at once; a test that passes uses up none of them."""


def wait_for(look: Callable[[], Value | None], *, seconds: float = PATIENCE, what: str = "") -> Value:
    """The first true value that `look` returns. Fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or look}")
        time.sleep(0.02)
