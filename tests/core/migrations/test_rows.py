"""Migrations run over databases that are in use: each finds rows of the versions before it."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql

import core.migrations
from core.stores.tables import Base

pytestmark = pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")

SAMPLES: dict[type[Any], Callable[[], Any]] = {
    str: lambda: uuid4().hex[:16],
    bytes: lambda: b"x" * 32,
    datetime: lambda: datetime.now(UTC),
    date: lambda: datetime.now(UTC).date(),
    UUID: uuid4,
    bool: lambda: False,
    int: lambda: 1,
    float: lambda: 1.0,
    object: dict,  # JSON
}
"""A value for each type of columns."""


def _alembic(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(core.migrations.__file__).parent))
    config.attributes["url"] = url
    return config


def _add_rows(connection: sa.Connection) -> None:
    """Two rows in each table that there is: one with what must be there, one with all that may."""
    tables = sa.MetaData()
    tables.reflect(connection)
    for full in (False, True):
        ids: dict[str, Any] = {}
        for table in _ours(tables):
            wanted = [column for column in table.columns if (full or _needed(column)) and not _is_counted(column)]
            row = {column.name: _value(column, ids) for column in wanted}
            # A session is its owner's, or is opened by a secret.
            row = {name: value for name, value in row.items() if (table.name, name) != ("session", "secret_hash")}
            ids[table.name] = row.get("id")
            connection.execute(table.insert().values(row))


def _needed(column: "sa.Column[Any]") -> bool:
    return bool(column.foreign_keys) or not (column.nullable or column.server_default)


def _is_counted(column: "sa.Column[Any]") -> bool:
    """Whether the database numbers the rows itself."""
    return column.primary_key and isinstance(column.type, sa.Integer)


def _value(column: "sa.Column[Any]", ids: dict[str, Any]) -> Any:
    for key in column.foreign_keys:
        return ids[key.column.table.name]
    if isinstance(column.type, sa.CHAR):  # SQLite's UUIDs
        return uuid4().hex
    if isinstance(column.type, postgresql.TSVECTOR):
        return "words"
    return SAMPLES[column.type.python_type]()


def _count(connection: sa.Connection) -> dict[str, int]:
    tables = sa.MetaData()
    tables.reflect(connection)
    return {table.name: len(connection.execute(sa.select(table)).all()) for table in _ours(tables)}


def _ours(tables: sa.MetaData) -> list[sa.Table]:
    """Without those in which Alembic and SQLite's index of words keep what is theirs."""
    theirs = ("alembic_version", "message_words_fts")
    return [table for table in tables.sorted_tables if not table.name.startswith(theirs)]


def test_every_migration_keeps_the_rows_of_the_versions_before(any_database_url: str) -> None:
    config, engine = _alembic(any_database_url), sa.create_engine(any_database_url, poolclass=sa.NullPool)
    command.downgrade(config, "base")
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    expected: dict[str, int] = {}
    for revision in reversed(revisions):
        command.upgrade(config, revision)
        with engine.begin() as connection:
            assert _count(connection).items() >= expected.items(), revision
            _add_rows(connection)
            expected = _count(connection)
    assert expected["session"] == 2 * len(revisions)
    with engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            assert len(connection.execute(sa.select(table)).all()) == expected[table.name]


def test_the_first_version_can_be_gone_back_to_with_rows(any_database_url: str) -> None:
    config, engine = _alembic(any_database_url), sa.create_engine(any_database_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        _add_rows(connection)
    command.downgrade(config, "0001")
    with engine.connect() as connection:
        assert _count(connection)["session"] == 2
