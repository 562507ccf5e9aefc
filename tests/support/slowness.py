"""How slow the machine is at the moment, for tests that bound what something costs."""

import time

LOOPS = 100_000
NORMAL = 0.025
"""Seconds of a core that `_work` takes on the machines on which the tests' bounds were found."""


def slowness() -> float:
    """How many times as long as there work takes here and now, at least 1. A machine that is shared is three times
    slower on some days, and even a count of its core's own time shows that."""
    began = time.thread_time()
    _work()
    return max(1.0, (time.thread_time() - began) / NORMAL)


def _work() -> None:
    """What Python programs do all day: small objects, texts, a dictionary."""
    known: dict[int, str] = {}
    for number in range(LOOPS):
        known[number % 1000] = str([number])
