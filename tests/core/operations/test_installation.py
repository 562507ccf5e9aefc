"""Two installations, each with a database of its own, over one Redis: each is told, and neither harms what is the
other's."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import delete

from core.conversation.keys import keys
from core.errors import NotMigrated
from core.limits.rate_limit import PREFIX
from core.migrations.runner import migrate
from core.operations.installation import OWNER_KEY, PRESENT_KEY
from core.operations.preflight.installation import installation_mistake, remains_mistake
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores.redis import Redis
from core.stores.tables import Installation, Session


@pytest.fixture(autouse=True)
def _no_second_thoughts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is in the middle of a step."""
    monkeypatch.setattr("core.operations.invariants.SECOND_LOOK_DELAY", 0)


@pytest.fixture
def runtime(settings: Settings, any_database_url: str) -> Iterator[Runtime]:
    """The installation that was there first, on either database."""
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}))
    assert parts.installations.owns()
    yield parts
    parts.close()


@pytest.fixture
def other(settings: Settings, tmp_path: Path) -> Iterator[Runtime]:
    """An installation with a database of its own, and the same Redis."""
    url = f"sqlite:///{tmp_path / 'other.db'}"
    migrate(url)
    parts = Runtime(settings.model_copy(update={"configured_database_url": url}))
    yield parts
    parts.close()


def _answered(runtime: Runtime) -> Session:
    """A guest's session with a question and its answer."""
    credential = Credential.issue()
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(
            db, session_id=credential.session_id, secret_hash=credential.secret_hash, model="good"
        )
    runtime.generations.accept(session, "Why?")
    runtime.writer.run()
    return session


def _heal(runtime: Runtime) -> dict[str, int]:
    return dict(runtime.healing.heal(runtime.invariants.check()))


def test_the_words_leases_and_reservations_of_another_installation_are_left_alone(
    runtime: Runtime, other: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    session, answering = _answered(runtime), uuid4()
    runtime.message_limits.renew_lease(session.id, answering, timedelta(minutes=5))
    runtime.redis.hset(f"{PREFIX}reserved:{session.id}", str(answering), "100")
    before = {str(key) for key in runtime.redis.scan_iter()}
    broken = {each.name for each in other.invariants.check() if each.ids}
    assert broken >= {"forgotten", "leases", "reserved"}  # so they seem to the other one
    with caplog.at_level(logging.ERROR):
        assert _heal(other) == {}
    assert "nothing is healed: REDIS_URL holds what is another installation's" in caplog.text
    assert {str(key) for key in runtime.redis.scan_iter()} >= before
    assert len(runtime.transcript.read(session).messages) == 2
    assert runtime.redis.exists(*keys(session.id))


def test_its_own_installation_heals_as_ever(runtime: Runtime) -> None:
    session = _answered(runtime)
    with runtime.database.writing() as db:
        db.delete(db.get_one(Session, session.id))
    assert _heal(runtime) == {"forgotten": 1}


def test_a_redis_that_was_emptied_is_claimed_anew_and_for_one_alone(
    runtime: Runtime, other: Runtime, redis: Redis
) -> None:
    assert not other.installations.owns()
    redis.flushall()
    assert not runtime.installations.holds_anothers()
    assert redis.exists(OWNER_KEY) == 0  # a look claims nothing
    assert _heal(runtime) == {}
    assert redis.ttl(OWNER_KEY) == -1
    assert other.installations.holds_anothers()
    assert runtime.installations.owns()
    redis.flushall()
    assert other.installations.owns()
    assert runtime.installations.holds_anothers()


def test_of_two_that_come_at_once_one_has_it(runtime: Runtime, other: Runtime, redis: Redis) -> None:
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            redis.flushall()
            claimed = list(threads.map(lambda each: each.installations.owns(), [runtime, other] * 4))
            assert claimed in ([True, False] * 4, [False, True] * 4)


def test_a_database_without_an_id_has_no_right(runtime: Runtime, other: Runtime) -> None:
    with other.database.writing() as db:
        db.execute(delete(Installation))
    with pytest.raises(NotMigrated):
        other.healing.heal([])


def test_a_second_one_is_refused_while_workers_of_the_first_are_there(runtime: Runtime, other: Runtime) -> None:
    redis_url, urls = other.settings.redis_url, [each.settings.database_url for each in (runtime, other)]
    for _ in range(2):  # as several workers do
        runtime.installations.announce()
    assert not runtime.installations.are_several()
    assert not runtime.installations.is_anothers()
    found = [installation_mistake(redis_url, url, patience=0) for url in urls]
    assert [each and str(each) for each in found] == [
        None,
        f"REDIS_URL={redis_url}: another installation uses it, whose database is another; name another database of"
        " it, as redis://host/1, or the DATABASE_URL of that installation",
    ]
    other.installations.announce()
    assert runtime.installations.is_anothers()
    assert other.installations.is_anothers()
    assert other.installations.are_several()
    other.installations.withdraw()
    assert not runtime.installations.are_several()


def test_one_that_was_killed_a_moment_ago_is_waited_for(runtime: Runtime, other: Runtime) -> None:
    (now, _) = runtime.redis.time()
    runtime.redis.zadd(PRESENT_KEY, {"killed": int(now) + 1})
    assert installation_mistake(other.settings.redis_url, other.settings.database_url, patience=20) is None


def test_what_one_has_left_is_said_to_the_next_and_keeps_it_from_nothing(runtime: Runtime, other: Runtime) -> None:
    remains = remains_mistake(other.settings.redis_url, other.settings.database_url)
    assert remains is not None
    assert remains.harmless
    assert f"DEL {OWNER_KEY}" in str(remains)
    assert remains_mistake(runtime.settings.redis_url, runtime.settings.database_url) is None
    runtime.redis.delete(OWNER_KEY)
    assert remains_mistake(other.settings.redis_url, other.settings.database_url) is None
