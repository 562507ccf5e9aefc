"""PostgreSQL behind PgBouncer in transaction mode, where each transaction has whichever connection is free."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cli.connections import look_at_connections
from core.errors import Unavailable
from core.migrations.runner import migrate
from core.stores.database import Database
from core.stores.postgres import split_pooler
from core.stores.revisions import current_revision, newest_revision
from tests.conftest import POOLED
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres import Postgres
from tests.workers.local_process import ROOT

THROUGH_IT = "tests/core/sessions/test_service.py"
"""Of what sessions are tested with; TESTS_THROUGH_PGBOUNCER=1 runs any other test on PostgreSQL in this way."""


@pytest.fixture
def url(pgbouncer: PgBouncer, postgres: Postgres) -> Iterator[str]:
    """A migrated, empty database through PgBouncer."""
    direct = postgres.create()
    yield pgbouncer.url(direct)
    postgres.drop(direct)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """It, opened, with more connections than PgBouncer has."""
    opened = Database(url, pool_size=10, patience=2.0)
    yield opened
    opened.dispose()


@pytest.mark.timeout(300)
def test_sessions_work_through_it(pgbouncer: PgBouncer) -> None:
    """The tests of the domain's sessions, once more."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "postgresql", "-m", "not timing", THROUGH_IT],
        cwd=ROOT,
        env={**os.environ, POOLED: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert " passed" in run.stdout.splitlines()[-1]


def test_many_threads_share_few_connections_and_no_statement_is_missed(database: Database) -> None:
    """Prepared statements, which psycopg makes of what is said often, are another connection's here."""
    failures: list[Exception] = []

    def ask() -> None:
        try:
            for number in range(30):
                with database.writing() as db:
                    assert db.scalar(text("SELECT CAST(:number AS int)"), {"number": number}) == number
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_a_transaction_has_its_limits_and_leaves_nothing_behind(database: Database, url: str) -> None:
    with database.writing() as db:
        assert db.scalar(text("SHOW statement_timeout")) == "1800ms"
        assert db.scalar(text("SHOW idle_in_transaction_session_timeout")) == "5s"
        moment = db.scalar(text("SELECT now()"))
        assert isinstance(moment, datetime)
        assert moment.utcoffset() == datetime.now(UTC).utcoffset()
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as outside:
        assert outside.exec_driver_sql("SHOW statement_timeout").scalar() == "0"
    with pytest.raises((Unavailable, DBAPIError)), database.reading() as db:
        db.execute(text("SELECT pg_sleep(10)"))
    with database.reading() as db:
        assert db.scalar(text("SELECT 1")) == 1


def test_migrations_run_through_it_too(pgbouncer: PgBouncer, postgres: Postgres) -> None:
    direct = postgres.create()
    url = pgbouncer.url(direct)
    database = Database(direct)
    with database.writing() as db:
        db.execute(text("DROP SCHEMA public CASCADE"))
        db.execute(text("CREATE SCHEMA public"))
    database.dispose()
    assert migrate(url) == (None, newest_revision())
    assert current_revision(url) == newest_revision()
    postgres.drop(direct)


def test_another_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="pooler in DATABASE_URL is not `transaction`"):
        split_pooler("postgresql+psycopg://h/db?pooler=session")


def test_more_connections_than_the_server_allows_are_named(url: str, postgres_url: str) -> None:
    def found(database_url: str, web: int) -> str:
        (finding,) = look_at_connections(database_url, web, 10)
        return f"{finding.mark} {finding.detail} {finding.remedy}"

    assert found(postgres_url, 10).startswith("✓ 1 web and 2 worker processes may make 60 connections of ")
    assert found(postgres_url, 500).startswith("! 1 web and 2 worker processes may make 1040 connections of ")
    assert "SWITCHBOARD_DATABASE_POOL_WEB" in found(postgres_url, 500)
    assert found(url, 500).endswith("to the pooler, whose max_client_conn must allow them ")
