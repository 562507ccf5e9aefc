"""Clocks that differ from one host to another: what has a moment of one, is late or early on the other."""

import time
from collections.abc import Callable
from contextlib import closing

from sqlalchemy import extract, func, select

from core.errors import Unavailable
from core.operations.preflight.mistake import Mistake
from core.stores.database import Database
from core.stores.redis import connect

TOLERANCE = 2.0
"""Seconds. A lease lasts ten, and the periods of scheduled tasks are five and more."""
TIMEOUT = 2.0
"""Seconds for each answer."""


def redis_clock_mistake(url: str, now: Callable[[], float] = time.time) -> Mistake | None:
    """Whether the clock of Redis is another than this machine's. Redis that is away has none."""

    def ask() -> float:
        with closing(connect(url, timeout=TIMEOUT)) as client:
            client.ping()  # the connection's time is none of the answer's
            seconds, microseconds = client.time()
            return float(seconds) + float(microseconds) / 1e6

    return _mistake("Redis", ask, now)


def database_clock_mistake(url: str, now: Callable[[], float] = time.time) -> Mistake | None:
    """Whether the database's clock is another than this machine's. SQLite's is this machine's."""

    def ask() -> float:
        database = Database(url, pool_size=1, patience=TIMEOUT)
        try:
            with database.reading() as db:
                return float(db.scalar(select(extract("epoch", func.clock_timestamp()))) or 0)
        finally:
            database.dispose()

    return _mistake("the database", ask, now) if url.startswith("postgresql") else None


def _mistake(store: str, ask: Callable[[], float], now: Callable[[], float]) -> Mistake | None:
    before = now()
    try:
        there = ask()
    except Unavailable:
        return None
    # The answer is of some moment in between: a slow one says less.
    ahead, behind = before - there, there - now()
    off = max(ahead, behind)
    if off <= TOLERANCE:
        return None
    direction = "ahead of" if ahead > behind else "behind"
    return Mistake(
        "clock",
        f"this machine's is {off:.0f} s {direction} that of {store}",
        "set both by NTP, for example with chrony or systemd-timesyncd",
    )
