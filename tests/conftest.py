"""The real parts that tests run against: Valkey, SQLite, PostgreSQL, a provider that misbehaves on demand."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7
from xdist.scheduler import LoadScopeScheduling

from core.migrations.runner import migrate
from core.runtime import Runtime
from core.settings import Settings
from core.stores.database import Database
from core.stores.redis import Redis
from core.stores.tables import User
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres import Postgres
from tests.support.provider import ProviderServer
from tests.support.sole_writer import SoleWriter, environment
from tests.support.valkey import Valkey

TESTS = Path(__file__).parent
MARKED = ("e2e", "faults", "engines", "hosts")
"""Directories whose tests are marked with their names: they have many processes, and break them."""
SHARED = ("servers", "web", "workers")
"""Directories whose tests share processes: one set over SQLite, and one over PostgreSQL."""
POOLED = "TESTS_THROUGH_PGBOUNCER"
"""The variable with which all of a run's PostgreSQL databases are behind PgBouncer."""
IN_TURN = "TESTS_IN_TURN"
"""The variable with which tests in SHARED, which would run twice, run on one of the two databases each, half of them
on either. What differs between the two is the business of `tests/core`, which has both."""
BY_DATABASE = re.compile("a guest, on SQLite|a user, on PostgreSQL|sqlite|postgresql")
FIRST = (*MARKED, *SHARED)
"""Directories whose tests take longest, in the order in which they are run before all others."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """In CI nothing is skipped: a part that is missing there is a failure."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests for their directories, run what is marked `one_database` on SQLite only, and begin with what takes
    longest, so that no process of `pytest -n` is left alone with it at the end."""
    for item in items:
        if _directory(item) in MARKED:
            item.add_marker(_directory(item))
    twice = {item for item in items if item.get_closest_marker("one_database") and "[postgresql" in item.name}
    if os.environ.get(IN_TURN):
        twice |= set(_every_other(item for item in items if _directory(item) in SHARED))
    if twice:
        config.hook.pytest_deselected(items=twice)
        items[:] = [item for item in items if item not in twice]
    items.sort(key=lambda item: FIRST.index(_directory(item)) if _directory(item) in FIRST else len(FIRST))


def _every_other(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """Of tests that are there for each database: now the one, now the other."""
    both: dict[str, list[pytest.Item]] = {}
    for item in items:
        both.setdefault(BY_DATABASE.sub("", item.nodeid, count=1), []).append(item)
    pairs = [pair for pair in both.values() if len(pair) == len(("SQLite", "PostgreSQL"))]
    for number, pair in enumerate(pairs):
        yield pair[number % 2]


def _directory(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


class Scheduling(LoadScopeScheduling):
    """Which tests `pytest -n` gives to the same process: those of a module, or all that share processes. Those with
    whole systems make two rows, that of the pages, which share a system, and that of all others."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False  # by number of tests, which says nothing about their length
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        module, _, name = nodeid.partition("::")
        directory = module.split("/")[1]
        if directory in MARKED:
            return "pages" if "page" in module else "systems"
        database = re.search("sqlite|postgresql", name, re.IGNORECASE)
        return f"{directory}, {database.group().lower()}" if directory in SHARED and database else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Tests are spread by what they share, whatever `--dist` says."""
    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what failed in the crowd and passes when it is tried again."""
    passed = terminalreporter.getreports("passed")
    if config.getoption("lf", False) and passed:
        terminalreporter.section("passed only the second time")
        for report in passed:
            terminalreporter.write_line(report.nodeid)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option of the developer's own reaches a test."""
    for name in list(os.environ):
        if name.startswith("SWITCHBOARD_") or name in ("DATABASE_URL", "REDIS_URL", "BROKER_URL", "PORT"):
            monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(autouse=True)
def _errors_are_declared(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An operation that is answered with an error which it does not declare fails the test."""
    yield
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    assert not [record.getMessage() for record in records if record.name == "web.api.operation"]


@pytest.fixture(scope="session")
def sole_writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoleWriter]:
    """The watch over the session table, in this process and in those that it starts."""
    report = tmp_path_factory.mktemp("sole-writer") / "violations"
    watch = SoleWriter(report)
    watch.watch()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(report).items():
            patch.setenv(name, value)
        yield watch
    assert not (late := watch.take_violations()), "\n".join(late)


@pytest.fixture(autouse=True)
def _only_session_service_writes_sessions(sole_writer: SoleWriter) -> Iterator[None]:
    """Nothing but SessionService, or a test itself, writes the session table. A process may be found out late, by the
    test after the one that it works for."""
    yield
    violations = sole_writer.take_violations()
    assert not violations, "\n".join(violations)


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Path]:
    """A private directory with a path short enough for a Unix socket (108 bytes)."""
    directory = Path(tempfile.mkdtemp(prefix="sb-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey(short_directory: Path) -> Iterator[Valkey]:
    """One Valkey for the whole run."""
    server = Valkey(short_directory)
    yield server
    server.stop()


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey of this test's own, to stop, freeze or fill."""
    directory = Path(tempfile.mkdtemp(prefix="sb-"))
    server = Valkey(directory)
    yield server
    server.thaw()
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Redis]:
    """A client of an empty Valkey."""
    client = valkey.client()
    client.flushall()
    yield client
    client.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the whole run."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL of this module's own, to freeze or cut off."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database, once on SQLite and once on PostgreSQL."""
    fixture = "database_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(fixture))


@pytest.fixture
def postgres_url(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated, empty PostgreSQL database; through PgBouncer for tests that tests/engines/test_pgbouncer.py runs
    once more."""
    url = postgres.create()
    yield request.getfixturevalue("pgbouncer").url(url) if os.environ.get(POOLED) else url
    postgres.drop(url)


@pytest.fixture(scope="session")
def pgbouncer(postgres: Postgres) -> Iterator[PgBouncer]:
    """One PgBouncer before that server for the whole run."""
    pooler = PgBouncer(postgres)
    yield pooler
    pooler.close()


@pytest.fixture
def database_url(_migrated_sqlite: Path, tmp_path: Path) -> str:
    """A migrated, empty SQLite database."""
    shutil.copy(_migrated_sqlite, tmp_path / "test.db")
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def any_database(any_database_url: str) -> Iterator[Database]:
    """`any_database_url`, opened."""
    database = Database(any_database_url)
    yield database
    database.dispose()


SOME_ID = "01a21885-21e0-71e2-a323-d5d1be9a18e1"
"""The id of nothing. It is fixed for names of tests, on which the processes of one run must agree."""


def new_user(database: Database) -> UUID:
    """Somebody who can own a session."""
    user = User(id=uuid7(), email=f"{uuid7()}@example.org", created_at=datetime.now(UTC))
    with database.writing() as db:
        db.add(user)
    return user.id


class TurnableClock:
    """A clock that stands still until a test turns it."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC)

    def now(self) -> datetime:
        """The moment that the test has set."""
        return self.moment

    def turn(self, by: timedelta) -> None:
        """Let time pass."""
        self.moment += by


@pytest.fixture
def clock() -> TurnableClock:
    """A clock in the test's hands."""
    return TurnableClock()


@pytest.fixture(scope="session")
def provider() -> Iterator[ProviderServer]:
    """A model server that does what the model's name says."""
    server = ProviderServer()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _manners_come_back(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test has taught the provider, the next one does not find."""
    provider = request.getfixturevalue("provider") if "provider" in request.fixturenames else None
    if not isinstance(provider, ProviderServer):
        yield
        return
    manners = dict(provider.manners)
    yield
    provider.manners.clear()
    provider.manners.update(manners)


@pytest.fixture
def models_path(provider: ProviderServer, tmp_path: Path) -> Path:
    """A models.toml whose models all live on the test's provider, one for each of its manners."""
    path = tmp_path / "models.toml"
    path.write_text(provider.models_toml())
    return path


@pytest.fixture
def settings(redis: Redis, valkey: Valkey, database_url: str, models_path: Path, tmp_path: Path) -> Settings:
    """The options of a process in this test."""
    return Settings(
        configured_redis_url=valkey.url,
        configured_database_url=database_url,
        models_path=models_path,
        state_dir=tmp_path,
    )


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    """The parts of a process in this test."""
    parts = Runtime(settings)
    yield parts
    parts.close()
