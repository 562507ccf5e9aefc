"""A database that says nothing: every block ends with its patience, whatever it waits for."""

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag

import pytest
from sqlalchemy import func, select, text
from uuid_utils.compat import uuid7

from core.errors import Unavailable
from core.stores.database import Database
from core.stores.revisions import current_revision
from core.stores.tables import User
from tests.conftest import new_user
from tests.support.cable import Cable
from tests.support.postgres import Postgres
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timing

PATIENCE = 0.3
SLACK = 0.3
"""Seconds for a test's busy machine."""


class Silence:
    """A database that a test can silence."""

    def __init__(self, url: str, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self.url = url
        self.begin = begin
        self.end = end


@pytest.fixture(params=["frozen", "cut"])
def silence(request: pytest.FixtureRequest, own_postgres: Postgres) -> Iterator[Silence]:
    """A PostgreSQL that is frozen, once, and one whose cable is cut."""
    url = own_postgres.create()
    cable = Cable(own_postgres)
    if request.param == "frozen":
        yield Silence(url, own_postgres.freeze, own_postgres.thaw)
        own_postgres.thaw()
    else:
        yield Silence(cable.url(url), cable.cut, cable.mend)
    cable.close()
    own_postgres.drop(url)


@pytest.fixture
def database(silence: Silence) -> Iterator[Database]:
    """The database, connected to."""
    opened = Database(silence.url, pool_size=2, patience=PATIENCE)
    opened.ping()
    yield opened
    silence.end()
    opened.dispose()


@contextmanager
def refused(within: float = PATIENCE) -> Iterator[None]:
    """The block ends with Unavailable, in time, and says when to come again."""
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        yield
    assert time.monotonic() - began < within + SLACK
    assert caught.value.retry_after


def test_a_silent_database_is_given_up_and_works_at_once_when_it_is_back(
    database: Database, silence: Silence
) -> None:
    silence.begin()
    for _ in range(2):  # over a connection that was there, and over a new one
        with refused():
            database.ping()
    silence.end()
    database.ping()


def test_a_process_that_starts_during_the_silence_waits_no_longer(silence: Silence) -> None:
    database = Database(silence.url, patience=PATIENCE)
    silence.begin()
    with refused():
        database.ping()
    silence.end()
    database.ping()
    database.dispose()


def test_silence_before_a_statement(database: Database, silence: Silence) -> None:
    with refused(), database.writing() as db:
        db.execute(select(1))
        silence.begin()
        db.execute(select(1))


def test_silence_before_the_commit(database: Database, silence: Silence) -> None:
    with refused(), database.writing() as db:
        db.add(User(id=uuid7(), created_at=datetime.now(UTC)))
        db.flush()
        silence.begin()


def test_silence_before_the_end_of_a_block_that_fails(database: Database, silence: Silence) -> None:
    with refused(), database.writing() as db:
        db.execute(select(1))
        silence.begin()
        raise LookupError


def test_an_answer_that_was_given_up_is_never_taken_for_the_next_one(database: Database, silence: Silence) -> None:
    for number in range(3):
        with suppress(Unavailable), database.reading() as db:
            db.execute(select(1))
            silence.begin()
            db.execute(text("SELECT 'old'"))
        silence.end()
        with database.reading() as db:
            assert db.scalar(select(text(f"'{number}'"))) == str(number)


def test_what_was_given_up_holds_no_lock_when_the_database_is_back(database: Database, silence: Silence) -> None:
    user_id = new_user(database)
    with suppress(Unavailable), database.writing() as db:
        db.scalars(select(User).where(User.id == user_id).with_for_update()).one()
        silence.begin()
    silence.end()

    def free() -> bool:
        with suppress(Unavailable), database.writing() as db:
            db.scalars(select(User).where(User.id == user_id).with_for_update()).one()
            return True
        return False

    wait_for(free, seconds=10, what="the row is free")


def test_a_crowd_does_not_wait_one_after_the_other(database: Database, silence: Silence) -> None:
    silence.begin()
    with refused():
        database.ping()

    def answered_in() -> float:
        began = time.monotonic()
        with suppress(Unavailable):
            database.ping()
        return time.monotonic() - began

    with ThreadPoolExecutor(20) as crowd:
        waited = sorted(crowd.map(lambda _: answered_in(), range(20)))
    assert waited[-2] < SLACK  # one at most asks for all the others
    silence.end()
    database.ping()


def test_its_revision_is_not_waited_for_without_end(silence: Silence) -> None:
    silence.begin()
    began = time.monotonic()
    with pytest.raises(Exception, match=r"no answer|no connection"):
        current_revision(silence.url, PATIENCE)
    assert time.monotonic() - began < PATIENCE + SLACK


def test_an_address_that_nobody_answers_at() -> None:
    with ExitStack() as stack:
        # A queue that is full: the kernel lets further attempts to connect go unanswered, as a cut cable does.
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        database = Database(
            f"postgresql+psycopg://nobody@127.0.0.1:{listener.getsockname()[1]}/none", patience=PATIENCE
        )
        for _ in range(2):
            with refused():
                database.ping()


def test_a_statement_that_waits_for_a_lock_is_no_silence(postgres_url: str) -> None:
    patient, hasty = Database(postgres_url), Database(postgres_url, patience=PATIENCE)
    user_id = new_user(patient)
    mine = select(User).where(User.id == user_id).with_for_update()
    with patient.writing() as db:
        db.scalars(mine).one()
        with refused(), hasty.writing() as other:
            other.scalars(mine).one()
        hasty.ping()  # no call is refused for that
    hasty.dispose()
    patient.dispose()


class TestTheWriteLockOfSQLite:
    def test_a_writer_waits_for_it_until_its_patience_ends(self, database_url: str) -> None:
        holder, waiting = Database(database_url), Database(database_url, patience=PATIENCE)
        with holder.writing() as db:
            db.execute(select(1))
            with refused(), waiting.writing() as other:
                other.execute(select(1))
            waiting.ping()  # readers wait for no other
        with waiting.writing() as other:
            other.execute(select(1))

    def test_a_writer_that_waits_gets_it_when_it_is_free(self, database_url: str) -> None:
        holder, waiting = Database(database_url), Database(database_url)
        begun = Flag()

        def write() -> None:
            begun.set()
            new_user(waiting)

        with ThreadPoolExecutor(1) as pool:
            with holder.writing() as db:
                db.execute(select(1))
                written = pool.submit(write)
                assert begun.wait(5)
            written.result(5)
        with waiting.reading() as db:
            assert db.scalar(select(func.count()).select_from(User)) == 1

    def test_many_writers_all_get_their_turn(self, database_url: str) -> None:
        database = Database(database_url, pool_size=20)
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: new_user(database), range(200)))
        with database.reading() as db:
            assert db.scalar(select(func.count()).select_from(User)) == 200

    def test_the_driver_never_waits_by_itself(self, database_url: str) -> None:
        with Database(database_url).reading() as db:
            assert db.scalar(text("PRAGMA busy_timeout")) == 0

    def test_a_file_that_is_locked_as_a_whole(self, database_url: str, tmp_path: Path) -> None:
        """As by another process that recovers it, or is frozen while it closes it."""
        holder = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN IMMEDIATE")
        waiting = Database(database_url, patience=PATIENCE)
        with refused():
            waiting.ping()
        holder.close()
        waiting.ping()
