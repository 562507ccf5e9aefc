"""Connections to SQLite that wait for its locks without holding up the whole process.

The driver's own waiting sleeps inside of SQLite: in a gevent process nothing else happens meanwhile, no event stream
and no health check. So the driver does not wait at all, and a statement that finds the database locked is tried again
until its block's deadline (core/stores/deadline.py). One that is refused as busy has changed nothing.
"""

import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from core.stores import deadline

DEFAULT_TIMEOUT = 5.0
"""Seconds to wait for a lock outside of any block: when a connection that was forgotten is collected, say."""
MIN_RETRY_DELAY, MAX_RETRY_DELAY = 0.001, 0.02
"""Seconds between two tries: at first the one, doubled each time up to the other."""

Result = TypeVar("Result")


class Cursor(sqlite3.Cursor):
    """A cursor of Connection."""

    def execute(self, *args: Any) -> "Cursor":
        """Execute a statement. Raises OperationalError when the database stays locked until the deadline."""
        super_execute = super().execute
        _patiently(lambda: super_execute(*args))
        return self


class Connection(sqlite3.Connection):
    """A connection whose waits let others work, and have an end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.isolation_level = None  # the driver must not begin transactions of its own
        cursor = self.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")  # readers and the writer don't block each other
        cursor.execute("PRAGMA synchronous=NORMAL")  # safe under WAL but for the last commits at a power cut
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, not just unlinked
        cursor.close()

    def cursor(self, factory: Any = Cursor) -> Any:
        """A cursor that waits as the connection does."""
        return super().cursor(factory)

    def commit(self) -> None:
        """Commit. Raises OperationalError when the database stays locked until the deadline."""
        _patiently(super().commit)


def connect_options() -> dict[str, Any]:
    """The driver's options."""
    return {"timeout": 0, "check_same_thread": False, "factory": Connection}


def _patiently(act: Callable[[], Result]) -> Result:
    until = time.monotonic() + deadline.left(otherwise=DEFAULT_TIMEOUT)
    pause = MIN_RETRY_DELAY
    while True:
        try:
            return act()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= until:
                raise
        time.sleep(pause)
        pause = min(2 * pause, MAX_RETRY_DELAY)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether another connection holds a lock that it will give back. Not SQLITE_BUSY_SNAPSHOT: what this transaction
    has read is outdated, and stays so."""
    code = getattr(error, "sqlite_errorcode", None)  # the driver's own errors have none
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY and code != sqlite3.SQLITE_BUSY_SNAPSHOT


def exclusive_engine(url: URL, timeout: float) -> Engine:
    """An engine whose transactions take the lock at their beginning, for which they wait `timeout` seconds, and keep
    nothing of a change of tables that fails."""
    options = {"timeout": timeout, "isolation_level": None}  # the driver begins no transactions of its own
    engine = create_engine(url, poolclass=NullPool, connect_args=options)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine
