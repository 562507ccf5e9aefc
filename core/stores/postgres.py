"""Connections to PostgreSQL that give up a server that does not answer.

A server that is frozen, or behind a cut cable, looks like one that is slow: its kernel may still acknowledge what
is sent, and libpq waits. So every wait of the driver ends with its block's deadline (core/stores/deadline.py), and
the connection with it: what would still come in on it would be the answer to an older question.
"""

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Self, TypeVar

import psycopg
from psycopg.errors import OperationalError
from sqlalchemy import URL, make_url, text
from sqlalchemy import Connection as SqlConnection
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError

from core.stores import deadline

CONNECT_TIMEOUT = 3
"""Seconds to reach one of the server's addresses, where no deadline is sooner. libpq knows none below 2 s."""
DEFAULT_TIMEOUT = 5.0
"""Seconds for an answer outside of any block: when a connection that was forgotten is collected, say."""
KEEPALIVE_OPTIONS = {
    # The kernel, too, is to notice a cut cable; without these it keeps on sending for a quarter of an hour, and
    # keeps a connection on which nothing is sent for hours.
    "tcp_user_timeout": 5_000,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
}
"""libpq's options for connections over TCP: milliseconds for the first, then seconds and a number."""
IDLE_TIMEOUT = 5.0
"""Seconds that a transaction may rest in PostgreSQL between two statements. None of ours does; one of a process that
has been frozen in the middle of it is ended, and its locks are given back."""
MAX_IDLE = 5.0
"""Seconds after which a connection may have been ended by what says nothing, such as a firewall."""
READ_ONLY_TTL = 1.0
"""Seconds that a connection may be used on which the database takes no writes by its own setting: it keeps what it
was made with, also when the setting is long another one."""
READABLE = {"DateStyle": "ISO", "IntervalStyle": "postgres"}
"""What the driver can read, whatever the database's, the role's or the environment's defaults are."""
POLL_INTERVAL = 0.05
"""Seconds between two looks at the clock, and that a statement has at the least, however late its block is."""
STATEMENT_TIMEOUT_SHARE = 0.9
"""What part of our patience the server may work on one statement. It gives up before we do, so that a statement that
waits for a lock is answered with an error, and only a server that says nothing at all counts as silent."""
BY_INDEX = "SET LOCAL enable_seqscan = off"
"""Has a transaction read by an index wherever there is one, however many rows the planner expects."""
LACKING_RIGHTS = text(
    """
    SELECT relname FROM pg_class AS c WHERE pg_table_is_visible(oid) AND CASE
        WHEN relname = 'alembic_version' THEN NOT has_table_privilege(oid, 'SELECT')
        WHEN relkind IN ('r', 'p') AND relname = ANY(:tables) THEN
            NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
        WHEN relkind = 'S' AND EXISTS (
            SELECT FROM pg_depend JOIN pg_class AS owner ON owner.oid = refobjid
            WHERE objid = c.oid AND owner.relname = ANY(:tables)
        ) THEN NOT has_sequence_privilege(oid, 'USAGE')
    END ORDER BY relname
    """
)
"""The tables among `tables`, and what belongs to them, that the user may not read and write."""

Answer = TypeVar("Answer")


class NoAnswer(OperationalError):
    """The server has said nothing until the deadline. Whether it has done what it was asked to is not known."""

    silent = True


class Connection(psycopg.Connection[Any]):
    """A connection whose waits have an end."""

    used_at = 0.0
    """When the server has been waited for last."""
    taken_at: float | None = None
    """When it was taken from the pool first."""

    def wait(
        self, gen: Generator[Any, Any, Answer], interval: float = POLL_INTERVAL, timeout: float | None = None
    ) -> Answer:
        """Wait for the server's answer, up to the block's deadline and in any case for a moment. Raises NoAnswer; the
        connection is closed then."""
        left = max(deadline.left(otherwise=DEFAULT_TIMEOUT), POLL_INTERVAL)
        try:
            answer = super().wait(
                _until(gen, left if timeout is None else min(left, timeout)), min(interval, POLL_INTERVAL)
            )
        except NoAnswer:
            self.close()
            raise
        self.used_at = time.monotonic()
        return answer

    @property
    def is_outdated(self) -> bool:
        """Whether another may take writes, where this one takes none. The server reports it without being asked,
        from version 14 on."""
        read_only = _reported(self, "default_transaction_read_only") == "on"
        return read_only and self.taken_at is not None and time.monotonic() > self.taken_at + READ_ONLY_TTL

    def check(self) -> None:
        """Raise OperationalError when the server has ended the connection, as one does that is restarted: that can be
        read from the socket, without asking. Only one that has been idle for longer is asked."""
        for _ in range(2):  # the first may read why
            self.pgconn.consume_input()
        if time.monotonic() > self.used_at + MAX_IDLE:
            self.autocommit = True
            self.execute(";")

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Self]:
        return _until(super()._connect_gen(conninfo), deadline.left(otherwise=DEFAULT_TIMEOUT))


def _until(steps: Generator[Any, Any, Answer], seconds: float) -> Generator[Any, Any, Answer]:
    """The driver's steps, each of which waits for the socket, with an end after so many seconds. Raises NoAnswer.

    When the time is over the socket is looked at once more: a process that was busy with something else for so long
    has not looked, and its database is not to blame.
    """
    until, last_look = time.monotonic() + seconds, False
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready:
                if last_look:
                    raise NoAnswer("no answer in time")
                last_look = time.monotonic() >= until
            wanted = steps.send(ready)
    except StopIteration as end:
        answer: Answer = end.value
        return answer
    finally:
        steps.close()


def connect(_dialect: object, _record: object, args: Sequence[Any], options: Mapping[str, Any]) -> Connection:
    """Make a connection, as SQLAlchemy's event `do_connect` asks for it. Raises NoAnswer, or psycopg's errors."""
    if not deadline.left(otherwise=DEFAULT_TIMEOUT):  # the one before has used it up
        raise NoAnswer("no time for a connection")
    connection = Connection.connect(*args, **options)
    # The server reports them, so that asking for what is there already costs nothing.
    unreadable = [name for name, style in READABLE.items() if not _reported(connection, name).startswith(style)]
    if unreadable:
        connection.autocommit = True
        connection.execute("".join(f"SET {name} = {READABLE[name]};" for name in unreadable))
        connection.autocommit = False
    connection.used_at = time.monotonic()
    return connection


def _reported(connection: Connection, name: str) -> str:
    return (connection.pgconn.parameter_status(name.encode()) or b"").decode()


def check(connection: Connection, _record: object, _proxy: object) -> None:
    """Let no connection that has ended, or is outdated, be taken from the pool, as SQLAlchemy's event `checkout` asks
    for it."""
    try:
        connection.check()
    except psycopg.Error as error:
        raise InvalidatePoolError from error
    if connection.is_outdated:
        raise DisconnectionError
    connection.taken_at = connection.taken_at or time.monotonic()


def begin(connection: SqlConnection) -> None:
    """Begin a transaction, or let each statement be one, as SQLAlchemy's event `begin` asks for it.

    The server is told with the first statement. Each sees what others have committed meanwhile in any case.
    """
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, Connection)
    options = connection.get_execution_options()
    alone = bool(options.get("each_alone"))
    if driver.autocommit != alone:
        driver.autocommit = alone
    if options.get("by_index"):
        driver.execute(BY_INDEX)


def split_pooler(url: str) -> tuple[URL, bool]:
    """The URL without its parameter `pooler`, and whether that says `transaction`: that a pooler such as PgBouncer
    gives each transaction whichever connection is free, so that none may leave anything behind. Raises ValueError."""
    address = make_url(url)
    pooler = address.query.get("pooler")
    if pooler not in (None, "transaction"):
        raise ValueError("pooler in DATABASE_URL is not `transaction`; leave it out for a direct connection")
    return address.difference_update_query(["pooler"]), pooler is not None


def connect_options(address: URL, patience: float, *, pooled: bool = False) -> dict[str, Any]:
    """The driver's options to connect to `address`, for blocks of up to `patience` seconds."""
    options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT, "client_encoding": "UTF8", **KEEPALIVE_OPTIONS}
    if pooled:  # a prepared statement would be another connection's
        return {**options, "prepare_threshold": None}
    ours = [f"-c {name}={value}" for name, value in _server_options(patience).items()]
    return {**options, "options": " ".join([*_operators_options(address), *ours])}


def _operators_options(address: URL) -> Sequence[str]:
    """What the operator has every connection begin with, such as a search_path: libpq takes them from the URL, or
    else from the environment, and would lose them to ours. The last of two values holds."""
    told = address.query.get("options", os.environ.get("PGOPTIONS", ""))
    return [told] if isinstance(told, str) else told


def begin_pooled(patience: float) -> Callable[[SqlConnection], None]:
    """How a transaction over a pooler begins: it sets, in one round trip, what is set for a whole connection
    elsewhere."""
    limits = ";".join(f"SET LOCAL {name} = '{value}'" for name, value in _server_options(patience).items())

    def begin_transaction(connection: SqlConnection) -> None:
        by_index = connection.get_execution_options().get("by_index")
        connection.exec_driver_sql(f"{limits};{BY_INDEX}" if by_index else limits)

    return begin_transaction


def _server_options(patience: float) -> dict[str, int | str]:
    return {
        "statement_timeout": int(patience * STATEMENT_TIMEOUT_SHARE * 1000),
        "idle_in_transaction_session_timeout": int(IDLE_TIMEOUT * 1000),
        "timezone": "UTC",
        # Compiling a statement takes longer than any of ours runs: 60 ms for a search that is expected to find much.
        "jit": "off",
    }
