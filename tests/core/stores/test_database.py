import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import format_exception

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, insert, make_url, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError
from uuid_utils.compat import uuid7

from core.errors import Unavailable, WritesRefused
from core.migrations.runner import migrate
from core.operations.preflight.database import database_mistake
from core.stores import postgres
from core.stores.database import Database
from core.stores.revisions import current_revision, newest_revision
from core.stores.tables import Base, Session, User
from tests.conftest import new_user
from tests.support.full_disk import small_disk
from tests.support.postgres import Postgres
from tests.support.waiting import wait_for


def _session(now: datetime) -> Session:
    return Session(
        id=uuid7(), secret_hash=b"x" * 32, last_model="m", version=1, created_at=now, expires_at=now, ends_at=now
    )


# Indexes over expressions cannot be read from SQLite.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection:sqlalchemy.exc.SAWarning")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index:UserWarning")
def test_models_and_migrations_agree(any_database_url: str) -> None:
    engine = create_engine(any_database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": is_ours})
        differences = compare_metadata(context, Base.metadata)
    if engine.dialect.name == "sqlite":  # which has another index of words in its place
        differences = [each for each in differences if each[1].name != "ix_message_words_words"]
    assert differences == []
    engine.dispose()


def is_ours(name: str | None, kind: str, _: object) -> bool:
    """Whether a table is one of the models, and none in which SQLite keeps an index of words."""
    return kind != "table" or not (name or "").startswith("message_words_fts")


def test_migrating_twice_changes_nothing(any_database_url: str) -> None:
    assert migrate(any_database_url) == (newest_revision(), newest_revision())


def test_a_new_file_is_migrated_from_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    assert current_revision(url) is None
    assert migrate(url) == (None, newest_revision())


def test_times_come_back_aware_and_in_utc(any_database: Database) -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC)
    with any_database.writing() as db:
        db.add(_session(moment.astimezone()))
    with any_database.reading() as db:
        stored = db.scalars(select(Session)).one()
        assert stored.created_at == moment
        assert stored.created_at.utcoffset() == timedelta(0)


def test_a_naive_time_is_refused(any_database: Database) -> None:
    with pytest.raises(StatementError, match="naive"), any_database.writing() as db:
        db.add(_session(datetime(2026, 1, 1)))  # noqa: DTZ001


def test_a_transaction_that_raises_leaves_nothing(any_database: Database) -> None:
    with pytest.raises(RuntimeError), any_database.writing() as db:
        db.add(_session(datetime.now(UTC)))
        db.flush()
        raise RuntimeError
    with any_database.reading() as db:
        assert db.scalars(select(Session)).all() == []


def test_a_database_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    database = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable, match="database is away"):
        database.ping()


def test_errors_quote_no_values(any_database: Database) -> None:
    words = f"private {uuid7()}"
    first, second = _session(datetime.now(UTC)), _session(datetime.now(UTC))
    second.id, second.last_model = first.id, words
    with any_database.writing() as db:
        db.add(first)
    with pytest.raises(IntegrityError) as caught, any_database.writing() as db:
        db.add(second)
    assert words not in "".join(format_exception(caught.value))


def test_a_pool_without_a_free_connection_is_unavailable(any_database_url: str) -> None:
    database = Database(any_database_url, pool_size=1, patience=0.2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(database.reading(patience=10)).execute(select(1))
        with pytest.raises(Unavailable, match="busy"):
            database.ping()
    database.dispose()


def test_with_a_queue_many_threads_wait_for_few_connections_and_a_block_s_time_begins_with_its_turn(
    any_database_url: str,
) -> None:
    database = Database(any_database_url, pool_size=1, patience=2.0, queue_timeout=30)
    together, most, lock = 0, 0, threading.Lock()
    failed: list[Exception] = []
    never = threading.Event()

    def read() -> None:
        nonlocal together, most
        try:
            with database.reading() as db:
                with lock:
                    together += 1
                    most = max(most, together)
                db.execute(select(1))
                never.wait(0.3)
                with lock:
                    together -= 1
        except Unavailable as error:
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    assert most == 2
    database.dispose()


def test_a_queue_for_connections_has_an_end(any_database_url: str) -> None:
    database = Database(any_database_url, pool_size=1, queue_timeout=0.1)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(database.reading())
        with pytest.raises(Unavailable, match="busy"):
            database.ping()
    database.dispose()


def test_a_database_that_was_restarted_is_used_at_once(own_postgres: Postgres) -> None:
    database = Database(own_postgres.create(), pool_size=3)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(database.reading()).execute(select(1))
    for end in (own_postgres.restart, own_postgres.crash):
        end()
        with database.reading() as db:
            assert db.scalar(select(1)) == 1
        new_user(database)
    database.dispose()


def test_a_connection_that_was_idle_for_long_is_tried_before_it_is_used(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(own_postgres.create())
    log = own_postgres.log_statements()

    def told() -> bytes:
        before = log.stat().st_size
        with database.reading() as db:
            db.execute(select(1))
        return log.read_bytes()[before:]

    wait_for(lambda: b"SELECT" in told(), what="the server logs")
    assert b"statement: ;" not in told()
    monkeypatch.setattr("core.stores.postgres.MAX_IDLE", 0.0)
    assert b"statement: ;" in told()
    database.dispose()


def test_a_lone_write_is_kept_and_one_that_fails_leaves_nothing(any_database: Database) -> None:
    with any_database.writing_once() as db:
        db.execute(insert(User).values(id=uuid7(), email="a@example.org", created_at=datetime.now(UTC)))
    with pytest.raises(IntegrityError), any_database.writing_once() as db:
        db.execute(insert(User).values(id=uuid7(), email="a@example.org", created_at=datetime.now(UTC)))
    with any_database.writing() as db:  # the next block is a transaction again
        db.execute(update(User).values(email="b@example.org"))
        db.rollback()
    with any_database.reading() as db:
        assert db.scalars(select(User.email)).all() == ["a@example.org"]


def test_a_database_that_is_read_only_for_a_while_is_written_again_afterwards(own_postgres: Postgres) -> None:
    url = own_postgres.create()
    name = make_url(url).database
    own_postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database = Database(url, pool_size=2)
    with ExitStack() as several:  # as many connections as a busy process has
        for _ in range(3):
            several.enter_context(database.reading()).execute(select(Session.id))
    for _ in range(2):
        with pytest.raises(Unavailable, match="takes no writes") as refused, database.writing() as db:
            db.add(_session(datetime.now(UTC)))
        assert refused.value.retry_after == 2
    with pytest.raises(WritesRefused):
        database.require_writable()
    own_postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    database.require_writable()
    for _ in range(4):
        with database.writing() as db:
            db.add(_session(datetime.now(UTC)))
    database.dispose()


def test_what_was_connected_while_a_database_was_read_only_refuses_no_write_long_after(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "READ_ONLY_TTL", 0.0)
    url = own_postgres.create()
    name = make_url(url).database
    own_postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database = Database(url, pool_size=3)
    with ExitStack() as several:
        for _ in range(3):
            several.enter_context(database.reading()).execute(select(Session.id))
    own_postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    for _ in range(4):
        with database.writing() as db:
            db.add(_session(datetime.now(UTC)))
    database.dispose()


def test_a_user_who_lacks_a_right_is_an_answer_of_its_own(own_postgres: Postgres) -> None:
    url = own_postgres.create()
    own_postgres.execute("CREATE ROLE app LOGIN")
    database = Database(make_url(url).set(username="app").render_as_string(hide_password=False))
    with pytest.raises(Unavailable, match="not ready") as lacking, database.reading() as db:
        db.execute(select(Session.id))
    assert lacking.value.reason == "the database's user lacks a right: permission denied for table session"
    assert lacking.value.retry_after == 2
    database.dispose()


DEFAULTS = ("client_encoding = 'LATIN1'", "datestyle = 'SQL, DMY'", "intervalstyle = 'iso_8601'")


@pytest.mark.parametrize("default", DEFAULTS)
def test_a_database_s_defaults_change_nothing(own_postgres: Postgres, default: str) -> None:
    url = own_postgres.create()
    own_postgres.execute(f"ALTER DATABASE {make_url(url).database} SET {default}")
    _is_kept_as_it_is(url)


@pytest.mark.parametrize(
    ("name", "value"), [("PGCLIENTENCODING", "LATIN1"), ("PGDATESTYLE", "SQL, DMY"), ("PGTZ", "Asia/Kathmandu")]
)
def test_libpq_s_variables_change_nothing(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    url = own_postgres.create()
    monkeypatch.setenv(name, value)
    _is_kept_as_it_is(url)


def _is_kept_as_it_is(url: str) -> None:
    database, at = Database(url), datetime(2026, 11, 28, 6, 5, 4, 321, tzinfo=UTC)
    with database.writing() as db:
        db.add(User(id=uuid7(), email="я€🙂@example.org", created_at=at))
    with database.reading() as db:
        user = db.scalars(select(User)).one()
        ago = db.scalar(select(text("interval '1 day 2 hours'")))
    assert (user.email, user.created_at, ago) == ("я€🙂@example.org", at, timedelta(hours=26))
    database.dispose()


FULL = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION full_disk()"""


def test_a_server_whose_disk_is_full_is_named_until_a_write_is_taken(own_postgres: Postgres) -> None:
    url = own_postgres.create()
    name = str(make_url(url).database)
    database = Database(url)
    database.require_writable()
    own_postgres.execute(FULL, database=name)
    with pytest.raises(Unavailable, match="takes no writes") as refused, database.writing() as db:
        db.add(_session(datetime.now(UTC)))
    assert refused.value.retry_after == 2
    with pytest.raises(WritesRefused) as known:
        database.require_writable()
    assert known.value.reason == "the disk of the database is full"
    own_postgres.execute("DROP TRIGGER full_disk ON session", database=name)
    with database.writing() as db:
        db.add(_session(datetime.now(UTC)))
    database.require_writable()
    database.dispose()


def test_a_file_that_is_read_only_for_a_while_is_written_again_afterwards(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        url = f"sqlite:///{disk.path / 'test.db'}"
        migrate(url)
        disk.remount("ro")
        database = Database(url)
        with pytest.raises(Unavailable), database.writing() as db:
            db.add(_session(datetime.now(UTC)))
        disk.remount("rw")
        with database.writing() as db:
            db.add(_session(datetime.now(UTC)))
        database.dispose()


@pytest.mark.parametrize("lack", ["is full", "has no inode left"])
def test_a_file_on_a_full_disk_takes_no_writes(lack: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m", inodes=50) as disk:
        url = f"sqlite:///{disk.path / 'test.db'}"
        migrate(url)
        database = Database(url)
        database.require_writable()
        if lack == "is full":
            disk.fill()
        else:
            disk.fill_inodes()
        with pytest.raises(WritesRefused) as refused:
            database.require_writable()
        assert refused.value.reason == f"the disk of {disk.path} {lack}"
        mistake = database_mistake(url)
        assert str(mistake).endswith(f"the disk of {disk.path} {lack}; free some of it")
        database.dispose()


@pytest.mark.parametrize("told_by", ["the URL", "PGOPTIONS"])
def test_what_the_operator_has_connections_begin_with_holds_for_migrations_and_processes_alike(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch, told_by: str
) -> None:
    empty = own_postgres.create_empty()
    name = make_url(empty).database
    assert name is not None
    own_postgres.execute("CREATE SCHEMA app", database=name)
    url = make_url(empty)
    if told_by == "the URL":
        url = url.update_query_pairs([("options", "-csearch_path=app")])
    else:
        monkeypatch.setenv("PGOPTIONS", "-c search_path=app")
    address = url.render_as_string(hide_password=False)
    migrate(address)

    database = Database(address)

    user_id = new_user(database)
    with database.reading() as db:
        tables = db.scalars(text("SELECT schemaname FROM pg_tables WHERE tablename = 'session'")).all()
        assert (tables, db.scalar(select(User.id))) == (["app"], user_id)
        assert db.scalar(text("SHOW jit")) == "off"  # ours come after
    database.dispose()
