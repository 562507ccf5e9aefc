"""Alembic's entry: runs the migrations over the URL that `migrate` was given (core/migrations/runner.py), or the
configured one."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Engine, create_engine, func, pool, select

from core.settings import Settings
from core.stores import sqlite
from core.stores.postgres import split_pooler
from core.stores.tables import Base, UtcDateTime

MIGRATION_LOCK = 0x5377_6974_6368
"""PostgreSQL advisory lock ("Switch"), so that two processes that start together migrate one after the other."""

LOCK_TIMEOUT = 600.0
"""Seconds that a process waits for SQLite's lock: for the migration of another, however large the file is."""


def render_item(_kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write migrations in SQLAlchemy's own types: they must not change when our code does."""
    return "sa.DateTime(timezone=True)" if isinstance(item, UtcDateTime) else False


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether drafts look at it: not at the tables in which SQLite keeps its index of words."""
    return kind != "table" or not (name or "").startswith("message_words_fts")


def new_engine(url: str) -> Engine:
    """An engine whose transactions begin with SQLite's lock, where the database is one."""
    address, pooled = split_pooler(url)
    if address.get_backend_name() == "sqlite":
        return sqlite.exclusive_engine(address, LOCK_TIMEOUT)
    connect = {"client_encoding": "UTF8", **({"prepare_threshold": None} if pooled else {})}
    return create_engine(address, poolclass=pool.NullPool, connect_args=connect)


def run() -> None:
    """Run the migrations in one transaction. A process that starts together with another waits for its end."""
    url = context.config.attributes.get("url") or Settings().database_url
    with new_engine(url).connect() as connection:
        context.configure(
            connection=connection,
            transactional_ddl=True,  # SQLite's, too, once its driver begins no transactions of its own
            target_metadata=Base.metadata,
            render_as_batch=True,
            render_item=render_item,
            include_name=is_ours,
        )
        with context.begin_transaction():
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            context.run_migrations()


run()
