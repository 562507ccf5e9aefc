"""The SQL database: engine and transactions."""

import json
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, cast

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, func, make_url, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import QueuePool

from core.errors import NotMigrated, RightMissing, Unavailable, WritesRefused
from core.stores import sqlite
from core.stores.breaker import Breaker, CircuitOpen
from core.stores.deadline import within
from core.stores.disk import full_disk
from core.text.characters import storable_value

TRANSACTION_TIMEOUT = 6.0
"""Seconds for a whole block in workers and commands: longer than PostgreSQL needs to take the locks from a process
that has been frozen."""


READ_ONLY = "the database is read-only, or a standby"
NO_SPACE = "the disk of the database is full"
REFUSAL_TTL = 10.0
"""Seconds for which a write that was refused for want of space tells of the next: a reader does not see it."""


class _Silent(Unavailable):
    """The database has not said a word."""


class Database:
    """Transactions over one engine. Nothing else may happen inside one: no Redis, no network, no queue.

    A block has `patience` seconds in all: for a free connection, its check, every statement and the commit. After
    that it raises Unavailable, and so it does at once while another caller waits for a database that is silent.
    When it was the commit that was not answered, it is not known whether it holds: every caller can be repeated.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        patience: float = TRANSACTION_TIMEOUT,
        queue_timeout: float | None = None,
    ) -> None:
        """`queue_timeout`: seconds that a block may wait for a free connection before its own time begins, for
        processes with many more threads than connections."""
        self.patience = patience
        self._queue_timeout = queue_timeout
        self._max_connections = 2 * pool_size
        self._turns = BoundedSemaphore(self._max_connections)
        self.engine = make_engine(url, pool_size, patience)
        self._file = _sqlite_file(url)
        self._refused_at = -math.inf
        """When a write was refused for want of space, with none carried out since."""
        self._reader = self.engine.execution_options(each_alone=True)
        self._index_reader = self.engine.execution_options(by_index=True)
        self._writer = self.engine.execution_options(writes=True)
        self._lone_writer = self.engine.execution_options(writes=True, each_alone=True)
        self._sessions = sessionmaker(expire_on_commit=False)
        self._breaker = Breaker()

    @contextmanager
    def reading(self, patience: float | None = None) -> Iterator[Session]:
        """A block that only reads, within `patience` seconds or the usual ones. What it reads later may be newer: on
        PostgreSQL each statement is a transaction of its own.

        Raises Unavailable when the database is away.
        """
        with self._block(patience), self._sessions(bind=self._reader) as session:
            yield session

    @contextmanager
    def reading_by_index(self) -> Iterator[Session]:
        """A transaction that only reads, and on PostgreSQL takes an index wherever there is one: for conditions of
        which the planner does not know how few rows meet them.

        Raises Unavailable when the database is away.
        """
        with self._block(), self._sessions(bind=self._index_reader) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is committed at the end of the block, or rolled back when it raises.

        Raises Unavailable when the database is away.
        """
        with self._block(), self._sessions(bind=self._writer) as session, session.begin():
            yield session
        self._refused_at = -math.inf

    @contextmanager
    def writing_once(self) -> Iterator[Session]:
        """A block of one statement, which writes: on PostgreSQL it is a transaction without a round trip for its
        begin and one for its commit. What the block raises after it takes nothing back.

        Raises Unavailable when the database is away.
        """
        with self._block(), self._sessions(bind=self._lone_writer) as session, session.begin():
            yield session
        self._refused_at = -math.inf

    def ping(self, patience: float | None = None) -> None:
        """Raise Unavailable when the database does not answer within `patience` seconds, or the usual ones."""
        with self._block(patience), self._reader.connect() as connection:
            connection.execute(select(1))

    def require_writable(self, patience: float | None = None) -> None:
        """Raise as `ping` does, and WritesRefused when the database would answer, and take no writes."""
        if self._file is not None:
            self.ping(patience)
            if lack := full_disk(self._file.absolute().parent):
                raise WritesRefused(lack, retry_after=2)
            return
        with self.reading(patience) as db:
            if db.scalar(select(func.current_setting("transaction_read_only"))) == "on":
                db.connection().invalidate()  # it stays so for as long as it lasts
                raise WritesRefused(READ_ONLY, retry_after=2)
        if time.monotonic() < self._refused_at + REFUSAL_TTL:
            raise WritesRefused(NO_SPACE, retry_after=2)

    def pool_use(self) -> tuple[int, int]:
        """How many connections are in use, and how many there may be."""
        return cast("QueuePool", self.engine.pool).checkedout(), self._max_connections

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    @contextmanager
    def _block(self, patience: float | None = None) -> Iterator[None]:
        try:
            with self._turn(), self._breaker.call(_Silent), within(patience or self.patience), _translate_errors():
                yield
        except CircuitOpen:
            raise Unavailable("The database is away; try again in a moment.", retry_after=2) from None
        except WritesRefused as error:
            if error.why == NO_SPACE:
                self._refused_at = time.monotonic()
            raise

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._queue_timeout is None:
            yield
        elif self._turns.acquire(timeout=self._queue_timeout):
            try:
                yield
            finally:
                self._turns.release()
        else:
            raise Unavailable("The database is busy; try again in a moment.", retry_after=2)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("The database is busy; try again in a moment.", retry_after=2) from error
    except DBAPIError as error:
        if _is_read_only(error.orig):
            raise WritesRefused(READ_ONLY, retry_after=2) from error
        if _lacks_space(error.orig):
            raise WritesRefused(NO_SPACE, retry_after=2) from error
        if right := _lacking_right(error.orig):
            raise RightMissing(right, retry_after=2) from error
        if _lacks_schema(error.orig):
            raise NotMigrated(retry_after=2) from error
        if getattr(error.orig, "silent", False):
            raise _Silent("The database is away; try again in a moment.", retry_after=2) from error
        if error.connection_invalidated or type(error).__name__ == "OperationalError":
            raise Unavailable("The database is away; try again in a moment.", retry_after=2) from error
        raise


def _lacks_schema(error: BaseException | None) -> bool:
    """Whether the driver's error says that a table or a column does not exist."""
    if isinstance(error, sqlite3.OperationalError):
        return str(error).startswith(("no such table", "no such column")) or "has no column named" in str(error)
    return getattr(error, "sqlstate", None) in ("42P01", "42703")


def _lacking_right(error: BaseException | None) -> str | None:
    """What the driver's error says that the user may not do: `permission denied for table session`."""
    if getattr(error, "sqlstate", None) != "42501":
        return None
    return str(error).partition("\n")[0]


def _lacks_space(error: BaseException | None) -> bool:
    """Whether the driver's error says that there is no space left for what was to be written."""
    if isinstance(error, sqlite3.OperationalError):
        return str(error) == "database or disk is full"
    return getattr(error, "sqlstate", None) == "53100"


def _is_read_only(error: BaseException | None) -> bool:
    """Whether the driver's error says that the database, or this connection to it, takes no writes."""
    if isinstance(error, sqlite3.OperationalError):
        return str(error).startswith("attempt to write a readonly database")
    return getattr(error, "sqlstate", None) == "25006"


def _leave_read_only(context: ExceptionContext) -> None:
    # A connection is read-only for as long as it lasts, also when the server is no more; and so may all others be.
    if _is_read_only(context.original_exception):
        context.is_disconnect = True


def make_engine(url: str, pool_size: int, patience: float) -> Engine:
    """An engine for this URL, with up to twice `pool_size` connections, for blocks of `patience` seconds."""
    make = _sqlite if make_url(url).get_backend_name() == "sqlite" else _postgres
    engine = make(
        url,
        patience,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=patience,
        hide_parameters=True,  # or errors would quote words and hashes into logs
        json_serializer=lambda value: json.dumps(storable_value(value)),
    )
    event.listen(engine, "before_cursor_execute", _storable_parameters, retval=True)
    event.listen(engine, "handle_error", _leave_read_only)
    return engine


def _storable_parameters(
    _connection: Connection, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool
) -> tuple[str, Any]:
    """Let no database refuse a character. The doors replace or refuse what can't be stored; here comes what got past
    them: words that have been in Redis since before, and whatever a worker has received from another program."""
    return statement, storable_value(parameters)


def _sqlite_file(url: str) -> Path | None:
    parts = make_url(url)
    return Path(parts.database or "") if parts.get_backend_name() == "sqlite" else None


def _sqlite(url: str, _patience: float, **options: Any) -> Engine:
    engine = create_engine(url, connect_args=sqlite.connect_options(), **options)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def _sqlite_begin(connection: Connection) -> None:
    # SQLite takes its write lock at the first write, and a transaction that began by reading then fails at once
    # instead of waiting; so one that means to write says so when it begins.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _postgres(url: str, patience: float, **options: Any) -> Engine:
    from core.stores import postgres

    address, pooled = postgres.split_pooler(url)
    engine = create_engine(
        address, connect_args=postgres.connect_options(address, patience, pooled=pooled), **options
    )
    event.listen(engine, "do_connect", postgres.connect)
    event.listen(engine, "checkout", postgres.check)
    if pooled:
        # In a transaction each time, lone statements too: what is set for it reaches no further.
        event.listen(engine, "begin", postgres.begin_pooled(patience))
    else:
        event.listen(engine, "begin", postgres.begin)
    return engine
