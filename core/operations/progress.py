"""How far a long job has come: told while it runs, so that a run that dies has told what it has done."""

import logging
from collections.abc import Iterable
from time import monotonic
from types import TracebackType
from typing import Self

logger = logging.getLogger(__name__)

LOG_INTERVAL = 30.0
"""Seconds between two lines in the log of a run that goes on."""


class Progress:
    """What one run has done so far, by kind. The log says so now and then, and when the run ends by an exception."""

    def __init__(self, job: str, kinds: Iterable[str]) -> None:
        self.done = dict.fromkeys(kinds, 0)
        self._job = job
        self._said_at = monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is not None and any(self.done.values()):
            logger.warning("%s ends early, with %s done", self._job, str(self))

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in self.done.items())

    def add(self, kind: str, count: int) -> None:
        """So many more are done."""
        self.done[kind] += count
        now = monotonic()
        if count and now - self._said_at >= LOG_INTERVAL:
            self._said_at = now
            logger.info("%s goes on, with %s done", self._job, str(self))  # a handler may write it later
