"""Rows and keys that can't be handled hold up no others: really poisoned ones, on both databases."""

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from uuid_utils.compat import uuid7

from core.conversation.keys import keys
from core.conversation.removals import Due
from core.limits.leases import Leases
from core.limits.rate_limit import PREFIX
from core.llm.providers.base import ErrorKind, ProviderError
from core.operations.invariants import MEANINGS
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.tables import Generation, GenerationState, Message, Removal, Session, User
from tests.conftest import TurnableClock, new_user
from tests.support.counted import counted
from tests.support.provider import ProviderServer
from tests.support.waiting import wait_for


@pytest.fixture
def runtime(settings: Any, any_database_url: str, clock: TurnableClock) -> Iterator[Runtime]:
    """A process whose clock the test turns."""
    parts = Runtime(settings.model_copy(update={"configured_database_url": any_database_url}), clock=clock)
    yield parts
    parts.close()


def _create(runtime: Runtime, owner: UUID | None = None) -> Session:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(
            db,
            owner,
            session_id=credential.session_id,
            secret_hash=None if owner else credential.secret_hash,
            model="good",
        )


def _asked(runtime: Runtime) -> tuple[Session, UUID]:
    session = _create(runtime)
    return session, runtime.generations.accept(session, "Why?").generation_id


def _set(runtime: Runtime, generation_id: UUID, **values: Any) -> None:
    with runtime.database.writing() as db:
        db.execute(update(Generation).where(Generation.id == generation_id).values(**values))


def _execute(runtime: Runtime, statement: str, **parameters: Any) -> None:
    with runtime.database.writing() as db:
        db.execute(text(statement), parameters)


def _state(runtime: Runtime, generation_id: UUID) -> str | None:
    with runtime.database.reading() as db:
        return db.scalar(select(Generation.state).where(Generation.id == generation_id))


def _count(runtime: Runtime, table: type[Any]) -> int:
    with runtime.database.reading() as db:
        return len(db.scalars(select(table.id)).all())


def _raw(runtime: Runtime, row_id: UUID) -> str:
    """An id as the database's own driver takes it."""
    return row_id.hex if runtime.database.engine.dialect.name == "sqlite" else str(row_id)


def _retain(runtime: Runtime, session: Session) -> None:
    """A table of the operator's own that refuses the deletion of a session: a constraint error."""
    kind = "CHAR(32)" if runtime.database.engine.dialect.name == "sqlite" else "UUID"
    _execute(
        runtime,
        f"CREATE TABLE IF NOT EXISTS retained (id {kind} REFERENCES session (id) ON DELETE RESTRICT)",
    )
    _execute(runtime, "INSERT INTO retained VALUES (:id)", id=_raw(runtime, session.id))


def _undecodable_end(runtime: Runtime, generation_id: UUID) -> None:
    """JSON that both databases take, and that Python refuses to decode."""
    poison, row_id = "[" * 5000 + "]" * 5000, _raw(runtime, generation_id)
    _execute(runtime, "UPDATE generation SET untold = :poison WHERE id = :id", poison=poison, id=row_id)


def _unchangeable(runtime: Runtime, generation_id: UUID) -> None:
    """A constraint that refuses every end of this generation."""
    row_id = _raw(runtime, generation_id)
    if runtime.database.engine.dialect.name == "sqlite":
        _execute(
            runtime,
            f"CREATE TRIGGER poison BEFORE UPDATE ON generation WHEN NEW.id = '{row_id}' "
            "BEGIN SELECT RAISE(ABORT, 'poison'); END",
        )
    else:
        _execute(
            runtime,
            f"ALTER TABLE generation ADD CONSTRAINT poison CHECK (id <> '{row_id}' OR state = 'running') NOT VALID",
        )


def _wrong_type(runtime: Runtime, session: Session) -> None:
    """A log that is not what a script takes it for."""
    for key in keys(session.id):
        runtime.redis.delete(key)
        runtime.redis.sadd(key, "poison")


@pytest.fixture
def lapsed(runtime: Runtime, clock: TurnableClock) -> list[tuple[Session, UUID]]:
    """Generations whose workers are gone for good, in the order in which they are found."""
    asked = [_asked(runtime) for _ in range(5)]
    for number, (_, generation_id) in enumerate(asked):
        assert runtime.attempts.claim(generation_id) is not None
        _set(runtime, generation_id, attempt=3, lease_until=clock.now() - timedelta(minutes=10 - number))
    return asked


def _poison_json(runtime: Runtime, session: Session, generation_id: UUID) -> None:
    _undecodable_end(runtime, generation_id)


def _poison_row(runtime: Runtime, _: Session, generation_id: UUID) -> None:
    _unchangeable(runtime, generation_id)


@pytest.mark.parametrize("poison", [_poison_json, _poison_row])
def test_a_lapsed_generation_that_can_not_be_ended_holds_up_no_other(
    runtime: Runtime,
    lapsed: list[tuple[Session, UUID]],
    clock: TurnableClock,
    caplog: pytest.LogCaptureFixture,
    poison: Callable[[Runtime, Session, UUID], None],
) -> None:
    session, poisoned = lapsed[0]
    poison(runtime, session, poisoned)

    with caplog.at_level(logging.ERROR, "core.stores.quarantine"):
        assert runtime.reaper.reap().ended >= 4

    for _, generation_id in lapsed[1:]:
        assert _state(runtime, generation_id) == GenerationState.FAILED
    assert str(poisoned) in caplog.text
    assert counted(runtime, "switchboard_item_failures_total", quarantine="reaper") >= 1


def test_a_lapsed_generation_whose_log_is_damaged_is_ended_like_any_other(
    runtime: Runtime, lapsed: list[tuple[Session, UUID]]
) -> None:
    session, damaged = lapsed[0]
    _wrong_type(runtime, session)
    assert runtime.reaper.reap().ended == len(lapsed)
    assert _state(runtime, damaged) == GenerationState.FAILED
    assert [event.type for event in runtime.log.read(session.id, 0).events] == ["failed"]


def test_an_undecodable_end_holds_up_no_other(
    runtime: Runtime, clock: TurnableClock, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [_asked(runtime) for _ in range(4)]
    for _ in asked:
        runtime.writer.run()
    for number, (_, generation_id) in enumerate(asked):
        _set(
            runtime,
            generation_id,
            unpublished={"length": 1},
            finished_at=clock.now() - timedelta(hours=2 - number / 10),
        )
    poisoned = asked[0][1]
    _undecodable_end(runtime, poisoned)

    assert runtime.reaper.reap().published == 3

    with runtime.database.reading() as db:
        left = db.scalars(select(Generation.id).where(Generation.unpublished.is_not(None))).all()
    assert left == [poisoned]
    assert str(poisoned) in caplog.text
    runtime.reaper.reap()
    before = len(caplog.records)
    runtime.reaper.reap()  # held: it costs nothing until it is tried again
    assert len(caplog.records) == before
    clock.turn(timedelta(seconds=5))
    _set(runtime, poisoned, unpublished={"length": 1})
    assert runtime.reaper.reap().published == 1


def test_a_message_that_can_not_be_indexed_holds_up_no_other(
    runtime: Runtime, clock: TurnableClock, caplog: pytest.LogCaptureFixture
) -> None:
    owner = new_user(runtime.database)
    session = _create(runtime, owner)
    ids = [uuid7() for _ in range(4)]
    said = {"session_id": session.id, "role": "user", "state": "complete", "created_at": clock.now()}
    with runtime.database.writing() as db:
        db.add_all(Message(id=each, text=f"the words of {number}", **said) for number, each in enumerate(ids))
    row_id = _raw(runtime, ids[1])
    if runtime.database.engine.dialect.name == "sqlite":
        refused = f"CREATE TRIGGER poison BEFORE UPDATE ON message WHEN NEW.id = '{row_id}'"
        _execute(runtime, f"{refused} BEGIN SELECT RAISE(ABORT, 'poison'); END")
    else:
        refused = f"CHECK (id <> '{row_id}' OR searchable IS NULL) NOT VALID"
        _execute(runtime, f"ALTER TABLE message ADD CONSTRAINT poison {refused}")

    runtime.reaper.reap()

    with runtime.database.reading() as db:
        left = db.scalars(select(Message.id).where(Message.searchable.is_(None))).all()
    assert left == [ids[1]]
    found = runtime.session_queries.search_sessions(owner, "words 3", before=None, limit=10)
    assert [each.session.id for each in found] == [session.id], "the search goes on, too"
    assert str(ids[1]) in caplog.text
    assert "the words" not in caplog.text
    assert counted(runtime, "switchboard_item_failures_total", quarantine="search") >= 1


def test_an_expired_session_that_can_not_be_deleted_holds_up_no_other(
    runtime: Runtime, clock: TurnableClock, caplog: pytest.LogCaptureFixture
) -> None:
    poisoned, *others = [_create(runtime) for _ in range(7)]
    _retain(runtime, poisoned)
    clock.turn(timedelta(hours=1))

    assert runtime.sweeper.sweep_expired(batch=3) == len(others)

    with runtime.database.reading() as db:
        assert db.scalars(select(Session.id)).all() == [poisoned.id]
    assert str(poisoned.id) in caplog.text
    assert counted(runtime, "switchboard_item_failures_total", quarantine="sweep") >= 1
    _execute(runtime, "DELETE FROM retained")
    clock.turn(timedelta(minutes=10))
    assert runtime.sweeper.sweep_expired() == 1


def test_a_whole_batch_of_them_holds_up_no_other(runtime: Runtime, clock: TurnableClock) -> None:
    """They are the first that the query finds, and fill its batch."""
    poisoned = [_create(runtime) for _ in range(3)]
    for session in poisoned:
        _retain(runtime, session)
    clock.turn(timedelta(seconds=1))
    _create(runtime)
    clock.turn(timedelta(hours=1))
    assert runtime.sweeper.sweep_expired(batch=3) == 1


def test_a_session_that_can_not_be_deleted_holds_up_only_its_own_account(
    runtime: Runtime, clock: TurnableClock
) -> None:
    stuck, gone = new_user(runtime.database), new_user(runtime.database)
    poisoned, *_ = [_create(runtime, owner) for owner in (stuck, stuck, stuck, gone)]
    _retain(runtime, poisoned)
    with runtime.database.writing() as db:
        db.execute(update(User).values(deleted_at=clock.now()))

    assert runtime.sweeper.finish_deletions() == 1

    with runtime.database.reading() as db:
        assert db.scalars(select(Session.id)).all() == [poisoned.id]
        assert db.scalars(select(User.id)).all() == [stuck]


def test_a_removal_that_fails_holds_up_no_other(runtime: Runtime, clock: TurnableClock) -> None:
    sessions = [_create(runtime, new_user(runtime.database)) for _ in range(4)]
    for session in sessions:
        runtime.generations.accept(session, "Why?")
    poisoned = sessions[0].owner_id
    for key in runtime.redis.scan_iter(f"{PREFIX}*{poisoned}*"):
        runtime.redis.delete(key)
        runtime.redis.set(key, "poison")
    with runtime.database.writing() as db:
        live = dict(db.execute(select(Generation.session_id, Generation.id)).all())
        due = [Due(session.id, "deleted", session.owner_id, live[session.id]) for session in sessions]
        runtime.removals.note(due, db)

    assert runtime.removals.drain() == 4

    with runtime.database.reading() as db:
        assert db.scalars(select(Removal.session_id)).all() == [sessions[0].id]
    for session in sessions[1:]:
        assert not runtime.redis.exists(*keys(session.id))
    runtime.removals.drain()
    assert runtime.removals.drain() == 0  # held


def test_a_log_that_can_not_be_written_keeps_no_other_from_its_place_in_the_line(
    runtime: Runtime, clock: TurnableClock
) -> None:
    asked = [_asked(runtime) for _ in range(4)]
    _wrong_type(runtime, asked[1][0])
    first = asked[0][1]
    assert runtime.attempts.claim(first) is not None

    runtime.queue.publish_positions()

    for session, _ in asked[2:]:
        assert [event.type for event in runtime.log.read(session.id, 0).events] == ["queued", "queued"]


def test_a_row_that_can_not_be_read_keeps_no_other_from_its_turn(runtime: Runtime, clock: TurnableClock) -> None:
    (_, poisoned), (_, second) = _asked(runtime), _asked(runtime)
    _undecodable_end(runtime, poisoned)

    runtime.writer.run()

    assert _state(runtime, second) == GenerationState.DONE


def test_a_key_that_can_not_be_read_hides_no_other_from_the_invariants(
    runtime: Runtime, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.operations.invariants.SECOND_LOOK_DELAY", 0)
    never = uuid7()
    slots = Leases(runtime.redis, "slots")
    slots.acquire("good", f"{never}:1", 8, timedelta(minutes=5))
    runtime.redis.set(f"{PREFIX}slots:poison", "poison")
    runtime.redis.zadd(f"{PREFIX}slots:no-id", {"poison": 1e18})
    runtime.redis.sadd(f"{PREFIX}reserved:poison", "poison")
    runtime.redis.set("sb:{not-a-session-but-as-long-as-one-is-00000}:log", "poison")

    results = runtime.invariants.check()

    assert {each.name: each.ids for each in results if each.ids} == {"slots": (str(never),)}
    assert len(results) == len(MEANINGS) == 10
    assert runtime.healing.heal(results) == {"slots": 1}
    assert {each.name for each in runtime.invariants.check() if each.ids} == set()


def test_a_check_that_can_not_be_made_keeps_the_others(
    runtime: Runtime, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[str]:
        raise ValueError("poison")

    first, *others = MEANINGS
    monkeypatch.setitem(runtime.invariants._checks, first, broken)
    assert [each.name for each in runtime.invariants.check()] == others


def test_a_model_that_can_not_be_probed_keeps_no_other_from_its_probe(
    runtime: Runtime, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("good", "paused"):
        runtime.cooldowns.note_failure(model, ProviderError(ErrorKind.UNREACHABLE, "refused"), uuid7())
        runtime.redis.delete(f"sb:resting:{model}")
    begin = runtime.cooldowns.begin_probe

    def refuse(model: str) -> Any:
        if model == "paused":
            raise ValueError("poison")
        return begin(model)

    monkeypatch.setattr(runtime.cooldowns, "begin_probe", refuse)
    runtime.prober.tick()
    wait_for(
        lambda: "good" not in runtime.cooldowns.in_cooldown(["good", "paused"]), what="the other one is well again"
    )
