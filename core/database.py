"""The SQL database: engine, transactions, migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from core.errors import Unavailable

BUSY_TIMEOUT = 5.0
"""Seconds that a statement waits for SQLite's write lock, or PostgreSQL may work on one statement."""
IDLE_TIMEOUT = 5.0
"""Seconds that a transaction may rest in PostgreSQL between two statements. None of ours does; one of a process that
has been frozen in the middle of it is ended, and its locks are given back."""
CONNECT_TIMEOUT = 3
"""Seconds to reach PostgreSQL."""
POOL_TIMEOUT = 5.0
"""Seconds to wait for a free pooled connection."""


class Database:
    """Transactions over one engine. Nothing else may happen inside one: no Redis, no network, no queue."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.engine = _engine(url, pool_size)
        # SQLite takes its write lock at the first write, and a transaction that began by reading then fails
        # at once instead of waiting; so one that means to write says so when it begins.
        self._writer = self.engine.execution_options(begin="BEGIN IMMEDIATE")
        self._sessions = sessionmaker(expire_on_commit=False)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads. Raises Unavailable when the database is away."""
        with _reachable(), self._sessions(bind=self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is committed at the end of the block, or rolled back when it raises.

        Raises Unavailable when the database is away.
        """
        with _reachable(), self._sessions(bind=self._writer) as session, session.begin():
            yield session

    def ping(self) -> None:
        """Raise Unavailable when the database does not answer."""
        with self.reading() as session:
            session.execute(select(1))

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("The database is busy; try again in a moment.", retry_after=2) from error
    except DBAPIError as error:
        if error.connection_invalidated or type(error).__name__ == "OperationalError":
            raise Unavailable("The database is away; try again in a moment.", retry_after=2) from error
        raise


def _engine(url: str, pool_size: int) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=POOL_TIMEOUT,
            hide_parameters=True,  # or errors would quote words and hashes into logs
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT,
                "options": " ".join(f"-c {name}={value}" for name, value in _postgres_options().items()),
            },
        )
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_TIMEOUT,
        hide_parameters=True,
        connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False},
    )
    event.listen(engine, "connect", _sqlite_connected)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def _postgres_options() -> dict[str, str | int]:
    return {
        "statement_timeout": int(BUSY_TIMEOUT * 1000),
        "idle_in_transaction_session_timeout": int(IDLE_TIMEOUT * 1000),
        "timezone": "UTC",
    }


def _sqlite_connected(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers and the writer don't block each other
    cursor.execute("PRAGMA synchronous=NORMAL")  # safe under WAL but for the last commits at a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, not just unlinked
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _alembic(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = url
    return config


def migrate(url: str) -> tuple[str | None, str | None]:
    """Bring the database at `url` to the newest revision; make it if it is an SQLite file.

    Returns the revisions before and after. Safe to run twice, and by two processes at once on PostgreSQL.
    """
    before = current_revision(url)
    config = _alembic(url)
    if before != newest_revision():
        command.upgrade(config, "head")
    return before, newest_revision()


def newest_revision() -> str | None:
    """The revision that this code expects."""
    return ScriptDirectory.from_config(_alembic("")).get_current_head()


def current_revision(url: str) -> str | None:
    """The revision the database at `url` has, or None before the first migration."""
    engine = _engine(url, pool_size=1)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
