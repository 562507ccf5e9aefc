"""What was read from a store a moment ago, so that many who want to know it at the same time ask once."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The values of a few names, each read again once it is older than `max_age` seconds."""

    def __init__(self, read: Callable[[str], Value], max_age: float) -> None:
        self._read = read
        self._max_age = max_age
        self._values: dict[str, tuple[float, Value]] = {}

    def get(self, name: str) -> Value:
        """The value as it is, or was a moment ago. Raises what reading it raises."""
        now, known = time.monotonic(), self._values.get(name)
        if known is None or now > known[0] + self._max_age:
            known = self._values[name] = now, self._read(name)
        return known[1]

    def forget(self, name: str) -> None:
        """Read it again when it is wanted next."""
        self._values.pop(name, None)
