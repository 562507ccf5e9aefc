"""Each invariant, broken on purpose once."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from core.conversation.keys import keys
from core.limits.leases import Leases
from core.limits.rate_limit import PREFIX
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.tables import Generation, GenerationState, Message, Session
from tests.conftest import TurnableClock, new_user
from tests.support.provider import ProviderServer


@pytest.fixture(autouse=True)
def _no_second_thoughts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is in the middle of a step."""
    monkeypatch.setattr("core.operations.invariants.SECOND_LOOK_DELAY", 0)


@pytest.fixture
def runtime(settings: Any, clock: TurnableClock) -> Iterator[Runtime]:
    """A process whose clock the test turns."""
    parts = Runtime(settings, clock=clock)
    yield parts
    parts.close()


def _asked(runtime: Runtime) -> tuple[Session, UUID]:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(
            db, session_id=credential.session_id, secret_hash=credential.secret_hash, model="good"
        )
    return session, runtime.generations.accept(session, "Why?").generation_id


def _answered(runtime: Runtime) -> tuple[Session, UUID]:
    session, generation_id = _asked(runtime)
    runtime.writer.run()
    return session, generation_id


def _set(runtime: Runtime, generation_id: UUID, **values: Any) -> None:
    with runtime.database.writing() as db:
        db.execute(update(Generation).where(Generation.id == generation_id).values(**values))


def _broken(runtime: Runtime) -> dict[str, tuple[str, ...]]:
    return {finding.name: finding.ids for finding in runtime.invariants.check() if finding.ids}


def test_all_hold_before_while_and_after_an_answer_is_written(
    runtime: Runtime, clock: TurnableClock, provider: ProviderServer
) -> None:
    assert _broken(runtime) == {}
    _asked(runtime)
    _, generation_id = _asked(runtime)
    assert runtime.attempts.claim(generation_id) is not None
    _answered(runtime)
    assert _broken(runtime) == {}
    clock.turn(timedelta(seconds=12))  # its lease has run out, and the reaper has not been there yet
    assert _broken(runtime) == {}


@pytest.mark.parametrize("state", [GenerationState.QUEUED, GenerationState.RUNNING])
def test_a_live_generation_that_nobody_owns(runtime: Runtime, clock: TurnableClock, state: GenerationState) -> None:
    _, generation_id = _asked(runtime)
    _set(runtime, generation_id, state=state, lease_until=clock.now())
    clock.turn(timedelta(seconds=7))
    assert _broken(runtime) == {"owned": (str(generation_id),)}


def _owner(runtime: Runtime, holder: UUID) -> None:
    runtime.message_limits.renew_lease(uuid4(), holder, timedelta(minutes=5))


def _tokens(runtime: Runtime, holder: UUID) -> None:
    runtime.redis.hset(f"{PREFIX}reserved:somebody", str(holder), "100")


def _slot(runtime: Runtime, holder: UUID) -> None:
    Leases(runtime.redis, "slots").acquire("good", f"{holder}:1", 8, timedelta(minutes=5))


@pytest.mark.parametrize(("name", "take"), [("leases", _owner), ("slots", _slot), ("reserved", _tokens)])
def test_what_is_held_without_a_live_generation(
    runtime: Runtime, clock: TurnableClock, name: str, take: Callable[[Runtime, UUID], None]
) -> None:
    _, ended = _answered(runtime)
    _, live = _asked(runtime)
    never = uuid4()
    for holder in (ended, live, never):
        take(runtime, holder)
    assert _broken(runtime) == {name: (str(never),)}  # the other one's may be healing
    clock.turn(timedelta(seconds=12))
    assert _broken(runtime) == {name: tuple(sorted(map(str, (ended, never))))}


def test_an_ended_generation_without_an_end_in_its_log(runtime: Runtime, clock: TurnableClock) -> None:
    _, generation_id = _asked(runtime)
    runtime.redis.delete(*runtime.redis.keys("sb:{limit}:*"))
    _set(runtime, generation_id, state=GenerationState.FAILED, finished_at=clock.now(), settled_tokens=0)
    assert _broken(runtime) == {"one-end": (str(generation_id),)}


def test_an_ended_generation_with_two_ends_in_its_log(runtime: Runtime, clock: TurnableClock) -> None:
    session, generation_id = _answered(runtime)
    runtime.log.append(
        session.id, "stopped", {"generation_id": str(generation_id)}, expires_at=clock.now() + timedelta(minutes=1)
    )
    assert _broken(runtime) == {"one-end": (str(generation_id),)}


def test_an_ended_generation_that_is_said_to_be_written(runtime: Runtime) -> None:
    session, generation_id = _answered(runtime)
    runtime.redis.hset(keys(session.id)[1], "answer", "{}")
    assert _broken(runtime) == {"one-end": (str(generation_id),)}


def test_a_log_that_redis_has_lost_breaks_nothing(runtime: Runtime) -> None:
    session, _ = _answered(runtime)
    runtime.redis.delete(*keys(session.id))
    assert _broken(runtime) == {}


def test_an_end_that_nobody_has_told(runtime: Runtime, clock: TurnableClock) -> None:
    _, generation_id = _answered(runtime)
    _set(runtime, generation_id, unpublished={"length": 1})
    clock.turn(timedelta(seconds=15))
    assert _broken(runtime) == {}
    clock.turn(timedelta(seconds=2))
    assert _broken(runtime) == {"told": (str(generation_id),)}


def test_words_that_have_outlived_their_session(runtime: Runtime, clock: TurnableClock) -> None:
    gone, _ = _answered(runtime)
    expired, _ = _answered(runtime)
    clock.turn(timedelta(minutes=1))
    _answered(runtime)
    with runtime.database.writing() as db:
        db.delete(db.get_one(Session, gone.id))
    assert _broken(runtime) == {"forgotten": (str(gone.id),)}
    clock.moment = expired.expires_at + timedelta(seconds=62)
    assert _broken(runtime) == {"forgotten": tuple(sorted(map(str, (gone.id, expired.id))))}


def test_messages_that_have_lost_what_they_follow(runtime: Runtime) -> None:
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(db, new_user(runtime.database), model="good")
    answers = []
    for _ in range(2):
        answers.append(runtime.generations.accept(session, "Why?").generation_id)
        runtime.writer.run()
    runtime.actions.branch(session, answers[0])
    assert _broken(runtime) == {}
    with runtime.database.writing() as db:
        (question,) = db.scalars(select(Message.id).where(Message.parent_id == answers[0]))
        db.execute(update(Message).where(Message.id == question).values(parent_id=answers[1]))
        db.execute(update(Session).where(Session.id == session.id).values(leaf_id=uuid4()))
    assert _broken(runtime) == {"tree": tuple(sorted(map(str, (question, session.id))))}


@pytest.mark.parametrize("charged", [None, 17])
def test_a_budget_that_was_not_charged_what_was_used(runtime: Runtime, charged: int | None) -> None:
    _, generation_id = _answered(runtime)
    _set(runtime, generation_id, settled_tokens=charged)
    assert _broken(runtime) == {"settled": (str(generation_id),)}
