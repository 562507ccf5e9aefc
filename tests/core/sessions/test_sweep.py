from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import event, select, update

from core.conversation.event_log import CLOSED_AT_ONCE
from core.conversation.keys import channel
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.sessions.service import Backlog
from core.stores.tables import Session
from tests.conftest import TurnableClock


@pytest.fixture
def runtime(settings: Any, any_database_url: str, clock: TurnableClock) -> Iterator[Runtime]:
    """A process whose clock the test turns, on both databases."""
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}), clock=clock)
    yield parts
    parts.close()


def _create(runtime: Runtime) -> Session:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(
            db, session_id=credential.session_id, secret_hash=credential.secret_hash
        )


def test_the_sweep_takes_rows_and_words_and_leaves_the_living(runtime: Runtime, clock: TurnableClock) -> None:
    old = [_create(runtime) for _ in range(7)]
    for session in old:
        runtime.generations.accept(session, "Why?")
        runtime.writer.run()
    clock.turn(timedelta(minutes=20))
    young = _create(runtime)
    runtime.generations.accept(young, "Why?")
    runtime.writer.run()
    clock.turn(timedelta(minutes=15))

    assert runtime.sweeper.sweep_expired(batch=3) == 7
    assert runtime.sweeper.sweep_expired(batch=3) == 0

    with runtime.database.reading() as db:
        assert db.scalars(select(Session.id)).all() == [young.id]
    left = " ".join(cast("list[str]", runtime.redis.keys("*")))
    assert str(young.id) in left
    assert not any(str(session.id) in left for session in old)
    assert len(runtime.transcript.read(young).messages) == 2


def test_readers_are_told_that_the_session_is_over(runtime: Runtime) -> None:
    session = _create(runtime)
    pubsub = runtime.redis.pubsub()
    pubsub.subscribe(channel(session.id))
    assert pubsub.get_message(timeout=1)["type"] == "subscribe"
    runtime.actions.end(session)
    assert '"expired"' in pubsub.get_message(timeout=1)["data"]
    pubsub.close()


def _expire(runtime: Runtime, count: int, clock: TurnableClock) -> list[Session]:
    """So many sessions that have expired, all at the same moment."""
    sessions = [_create(runtime) for _ in range(count)]
    with runtime.database.writing() as db:
        db.execute(update(Session).values(expires_at=clock.now()))
    return sessions


def test_all_are_swept_that_have_expired_at_one_moment(
    runtime: Runtime, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.sessions.sweep.PAGE", 3)
    _expire(runtime, 10, clock)
    assert runtime.sweeper.sweep_expired(batch=2) == 10


def test_what_can_not_be_deleted_is_not_found_for_ever(
    runtime: Runtime, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sweep has locked it, say."""
    monkeypatch.setattr("core.sessions.sweep.PAGE", 3)
    _expire(runtime, 3, clock)
    monkeypatch.setattr(runtime.sessions, "lock_expired", lambda *_, **__: [])
    assert runtime.sweeper.sweep_expired(batch=2) == 0


def test_the_index_is_not_searched_anew_for_each_batch(runtime: Runtime, clock: TurnableClock) -> None:
    _expire(runtime, 20, clock)
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(runtime.database.engine, "before_cursor_execute", note)
    assert runtime.sweeper.sweep_expired(batch=2) == 20
    event.remove(runtime.database.engine, "before_cursor_execute", note)
    assert len([each for each in statements if each.startswith("SELECT session.id, session.expires_at")]) == 1


def test_each_batch_is_told_of_once_its_rows_are_gone(runtime: Runtime, clock: TurnableClock) -> None:
    _expire(runtime, 5, clock)
    told: list[tuple[int, int]] = []
    runtime.sweeper.sweep_expired(
        batch=2, on_deleted=lambda count: told.append((count, runtime.sweeper.backlog().count))
    )
    assert told == [(2, 3), (2, 1), (1, 0)]


def test_a_run_ends_with_its_time_and_the_next_one_goes_on(
    runtime: Runtime, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _expire(runtime, 10, clock)
    clock.turn(timedelta(seconds=90))
    moments = iter(range(100))
    monkeypatch.setattr("core.sessions.sweep.monotonic", lambda: float(next(moments)))
    assert runtime.sweeper.sweep_expired(batch=2, until=3.0) == 6
    assert runtime.sweeper.backlog() == Backlog(4, timedelta(seconds=90))
    assert runtime.sweeper.sweep_expired(batch=2) == 4
    assert runtime.sweeper.backlog() == Backlog(0, timedelta())


def test_a_backlog_is_counted_no_further_than_it_costs_little(
    runtime: Runtime, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.sessions.service.MAX_BACKLOG", 4)
    _expire(runtime, 6, clock)
    assert runtime.sweeper.backlog().count == 4


def test_redis_serves_others_between_the_keys_of_a_batch(runtime: Runtime, clock: TurnableClock) -> None:
    def unlinks() -> int:
        stats = cast("dict[str, dict[str, int]]", runtime.redis.info("commandstats"))
        return stats.get("cmdstat_unlink", {"calls": 0})["calls"]

    _expire(runtime, 2 * CLOSED_AT_ONCE + 1, clock)
    before = unlinks()
    runtime.sweeper.sweep_expired()
    assert unlinks() - before == 3


def test_a_batch_is_told_to_redis_in_one_round_trip(runtime: Runtime, clock: TurnableClock) -> None:
    _expire(runtime, 20, clock)
    connection = runtime.redis.connection_pool.connection_class
    sent: list[str] = []
    send = connection.send_packed_command

    def note(*arguments: Any, **options: Any) -> Any:
        sent.append(str(arguments[1]))
        return send(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "send_packed_command", note)
        assert runtime.sweeper.sweep_expired() == 20
    assert len([each for each in sent if "UNLINK" in each]) == 1
