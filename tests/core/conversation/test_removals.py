"""What a session leaves in Redis goes with it, whatever is away, and whatever writes to it at that moment."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from uuid_utils.compat import uuid7

from core.auth.principal import Principal
from core.conversation.keys import keys
from core.conversation.session_settings import SessionSettings
from core.errors import SwitchboardError
from core.runtime import Runtime
from core.sessions.actions import Switch
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores.redis import RedisUnavailable
from core.stores.tables import Base, Generation, Message, Removal, RemovalBatch, Session, User
from tests.conftest import new_user
from tests.support.valkey import Valkey

CANARY = "canary-5b1e"
RACES = 50
"""Races of each kind, on each database."""


@pytest.fixture
def runtime(any_database_url: str, valkey: Valkey, redis: Any, models_path: Any, tmp_path: Any) -> Iterator[Runtime]:
    """The parts of a process, on both databases."""
    parts = Runtime(
        Settings(
            configured_redis_url=valkey.url,
            configured_database_url=any_database_url,
            models_path=models_path,
            state_dir=tmp_path,
            limit_messages_anonymous=None,
            limit_messages_user=None,
            concurrent_user=1000,
        ),
        redis_retries=0,
    )
    yield parts
    parts.close()


def _create(runtime: Runtime, owner: UUID | None = None) -> Session:
    secret_hash = None if owner else Credential.issue().secret_hash
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(db, owner, secret_hash=secret_hash, model="good")


def _count(runtime: Runtime, table: type[Base]) -> int:
    with runtime.database.reading() as db:
        return db.scalar(select(func.count()).select_from(table)) or 0


def _noted(runtime: Runtime) -> dict[str, int]:
    """How many notes there are of what Redis has not been told, by table."""
    counts = {table.__tablename__: _count(runtime, table) for table in (Removal, RemovalBatch)}
    return {name: count for name, count in counts.items() if count}


def _words_left(runtime: Runtime) -> list[str]:
    """The keys of any session that is no more, and all that holds the canary."""
    with runtime.database.reading() as db:
        living = {str(each) for each in db.scalars(select(Session.id))}
    keys = cast("list[str]", runtime.redis.keys("sb:{*-*}:*"))
    return [key for key in keys if key[4:40] not in living]


def _holds_canary(runtime: Runtime) -> bool:
    with runtime.database.reading() as db:
        rows = [str(db.execute(select(table)).all()) for table in Base.metadata.sorted_tables]
    return any(CANARY in row for row in rows)


def _invariants(runtime: Runtime) -> dict[str, tuple[str, ...]]:
    return {finding.name: finding.ids for finding in runtime.invariants.check() if finding.ids}


# With Redis away after the commit


@pytest.fixture
def redis_fails(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, no pipeline reaches Redis; calling `monkeypatch.undo` gives it back."""

    def fail(*_: object, **__: object) -> None:
        raise RedisUnavailable

    return lambda: monkeypatch.setattr(runtime.redis, "pipeline", fail)


@pytest.mark.parametrize("owned", [False, True])
def test_a_deletion_that_redis_missed_is_made_up_for(
    runtime: Runtime, redis_fails: Callable[[], None], monkeypatch: pytest.MonkeyPatch, owned: bool
) -> None:
    session = _create(runtime, new_user(runtime.database) if owned else None)
    runtime.generations.accept(session, CANARY)
    redis_fails()
    runtime.actions.end(session)
    monkeypatch.undo()
    assert runtime.redis.exists(keys(session.id)[0])
    assert _count(runtime, Session) == 0
    runtime.actions.end(session)  # asking again is no error
    runtime.reaper.reap()
    assert not runtime.redis.exists(*keys(session.id))
    assert not _noted(runtime)
    assert runtime.message_limits.lease_holders(session.owner_id or session.id) == set()
    assert not runtime.redis.keys("sb:{limit}:reserved:*")


def test_a_sweep_that_redis_missed_is_made_up_for(
    runtime: Runtime, redis_fails: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [_create(runtime) for _ in range(3)]
    for session in sessions:
        runtime.generations.accept(session, CANARY)
    with runtime.database.writing() as db:
        db.execute(update(Session).values(expires_at=runtime.clock.now()))
    redis_fails()
    assert runtime.sweeper.sweep_expired() == 3
    assert _noted(runtime) == {"removal_batch": 1}
    runtime.reaper.reap()  # in vain: it is not taken apart for that
    assert _noted(runtime) == {"removal_batch": 1}
    monkeypatch.undo()
    assert len(_words_left(runtime)) >= 3
    runtime.reaper.reap()
    assert _words_left(runtime) == []
    assert not _noted(runtime)


def test_a_sweep_that_meets_what_redis_can_not_remove_removes_the_rest(runtime: Runtime) -> None:
    """A key of another type, say: the note of its batch is taken apart."""
    owners = [new_user(runtime.database) for _ in range(3)]
    for owner in (*owners, None):
        runtime.generations.accept(_create(runtime, owner), CANARY)
    for key in cast("list[str]", runtime.redis.keys(f"*{owners[0]}*")):
        runtime.redis.delete(key)
        runtime.redis.set(key, "poison")
    with runtime.database.writing() as db:
        db.execute(update(Session).values(expires_at=runtime.clock.now()))
    assert runtime.sweeper.sweep_expired() == 4
    assert _noted(runtime) == {"removal": 1}
    assert _words_left(runtime) == []
    assert [runtime.message_limits.lease_holders(owner) for owner in owners[1:]] == [set(), set()]


def test_words_that_a_claim_could_not_remove_are_removed_later_and_read_once_and_in_order(
    runtime: Runtime, redis_fails: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, owner = _create(runtime), new_user(runtime.database)
    runtime.generations.accept(session, "First?")
    runtime.writer.run()
    read = runtime.transcript.anonymous_messages(session.id)
    monkeypatch.setattr(runtime.transcript, "anonymous_messages", lambda _: read)
    monkeypatch.setattr(runtime.guest_settings, "read", lambda _: SessionSettings())
    redis_fails()
    claimed = runtime.actions.claim(session, owner)
    monkeypatch.undo()
    assert runtime.redis.exists(keys(session.id).words)
    runtime.generations.accept(claimed, "Second?")
    runtime.writer.run()
    said = [message.text for message in runtime.transcript.read(claimed).messages if message.role == "user"]
    assert said == ["First?", "Second?"]
    runtime.reaper.reap()
    assert not runtime.redis.exists(keys(session.id)[3])
    assert not _noted(runtime)


# Another user's by now


def test_a_guest_deletes_nothing_that_has_been_claimed_meanwhile(runtime: Runtime) -> None:
    session, owner = _create(runtime), new_user(runtime.database)
    runtime.actions.claim(session, owner)
    with pytest.raises(SwitchboardError) as refused:
        runtime.actions.end(session)
    assert refused.value.slug == "not-owner"
    assert _count(runtime, Session) == 1


def test_a_guest_stops_nothing_that_has_been_claimed_meanwhile(runtime: Runtime) -> None:
    session, owner = _create(runtime), new_user(runtime.database)
    claimed = runtime.actions.claim(session, owner)
    runtime.generations.accept(claimed, "Why?")
    with pytest.raises(SwitchboardError) as refused:
        runtime.generations.stop(session)
    assert refused.value.slug == "nothing-to-stop"


# At the same moment


def test_a_switch_of_a_session_that_is_being_deleted_leaves_nothing(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _create(runtime)
    append = runtime.log.append

    def late(*args: Any, **more: Any) -> Any:
        runtime.actions.end(session)
        return append(*args, **more)

    monkeypatch.setattr(runtime.log, "append", late)
    runtime.actions.switch_models([Switch(session.id, "paused", None, None, uuid7())])
    assert runtime.redis.keys("sb:{*-*}:*") == []


def _at_once(*actions: Callable[[], object]) -> list[BaseException | None]:
    """Do all of it at the same moment, give or take; what was raised, in order."""
    start = threading.Barrier(len(actions))

    def run(action: Callable[[], object]) -> BaseException | None:
        start.wait()
        try:
            action()
        except SwitchboardError as error:
            return error
        return None

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def _finish(runtime: Runtime) -> None:
    """What the workers do in the end: write what waits, and clear up."""
    while runtime.writer.run() is not None:
        pass
    runtime.reaper.reap()


def _clean(runtime: Runtime) -> None:
    _finish(runtime)
    assert _words_left(runtime) == []
    assert not _holds_canary(runtime)
    assert not _noted(runtime)
    assert _invariants(runtime) == {}


@pytest.mark.parametrize("owned", [False, True])
def test_races_of_a_question_with_the_deletion_of_its_session(runtime: Runtime, owned: bool) -> None:
    owner = new_user(runtime.database) if owned else None
    for _ in range(RACES):
        session = _create(runtime, owner)
        ask = partial(runtime.generations.accept, session, CANARY)
        _, deleted = _at_once(ask, partial(runtime.actions.end, session))
        assert deleted is None
    _clean(runtime)
    assert (_count(runtime, Session), _count(runtime, Generation), _count(runtime, Message)) == (0, 0, 0)


def test_races_of_a_question_with_the_sweep(runtime: Runtime) -> None:
    """A question either comes before the sweep, or finds its session gone."""
    for _ in range(RACES):
        session = _create(runtime)

        def expire(session: Session = session) -> None:
            with runtime.database.writing() as db:
                db.execute(
                    update(Session)
                    .where(Session.id == session.id)
                    .values(expires_at=runtime.clock.now() - timedelta(seconds=1))
                )
            runtime.sweeper.sweep_expired()

        _at_once(partial(runtime.generations.accept, session, CANARY), expire)
    _clean(runtime)


def test_races_of_a_question_with_a_claim(runtime: Runtime) -> None:
    """Either the question is in time, and the claim waits for its answer, or it is refused and stays nowhere."""
    owner = new_user(runtime.database)
    for _ in range(RACES):
        session = _create(runtime)
        asked, claimed = _at_once(
            partial(runtime.generations.accept, session, CANARY),
            partial(runtime.actions.claim, session, owner),
        )
        assert (asked is None) != (claimed is None)
    _finish(runtime)
    assert _invariants(runtime) == {}
    with runtime.database.reading() as db:
        for session in db.scalars(select(Session)).all():
            words = [message.text for message in runtime.transcript.read(session).messages]
            assert (CANARY in words) == session.anonymous
    assert not _holds_canary(runtime)


def test_races_of_questions_with_the_deletion_of_their_account(runtime: Runtime) -> None:
    for race in range(RACES):
        user_id = new_user(runtime.database)
        principal = Principal(user_id, "login")
        sessions = [_create(runtime, user_id) for _ in range(1 + race % 3)]

        def ask(session: Session) -> None:
            runtime.generations.accept(session, CANARY)

        def begin(user_id: UUID = user_id) -> None:
            with suppress(SwitchboardError):
                ask(_create(runtime, user_id))

        actions: list[Callable[[], object]] = [
            begin,
            partial(runtime.accounts.delete, principal, None),
            *[partial(ask, session) for session in sessions],
        ]
        random.Random(race).shuffle(actions)
        _at_once(*actions)
    _clean(runtime)
    assert (_count(runtime, Session), _count(runtime, User), _count(runtime, Generation)) == (0, 0, 0)


def test_an_account_whose_removal_was_interrupted_is_unusable_and_removed_by_the_sweep(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = runtime.accounts.register("ann@example.org", "correct horse battery")
    principal = runtime.identity.principal_for_login(registered.credential)
    _, credential = runtime.accounts.create_key(principal, "backup")
    session = _create(runtime, registered.user.id)
    runtime.generations.accept(session, CANARY)

    def interrupted(_: UUID) -> None:
        from core.errors import Unavailable

        raise Unavailable

    monkeypatch.setattr(runtime.sweeper, "remove_account", interrupted)
    runtime.accounts.delete(principal, "correct horse battery")
    monkeypatch.undo()
    for use in (
        lambda: runtime.identity.principal_for_login(registered.credential),
        lambda: runtime.identity.principal_for_bearer(str(credential)),
        lambda: runtime.accounts.log_in("ann@example.org", "correct horse battery"),
        lambda: runtime.accounts.user(principal),
        lambda: _create(runtime, registered.user.id),
        lambda: runtime.actions.claim(_create(runtime), registered.user.id),
    ):
        with pytest.raises(SwitchboardError) as refused:
            use()
        assert refused.value.status == 401
    assert runtime.sweeper.finish_deletions() == 1
    _clean(runtime)
    assert _count(runtime, User) == 0
    runtime.accounts.register("ann@example.org", "correct horse battery")


# What is found all the same


def test_words_that_nobody_removed_are_found_and_removed(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.operations.invariants.SECOND_LOOK_DELAY", 0)
    gone, kept, claimed = _create(runtime), _create(runtime), _create(runtime)
    for session in (gone, kept, claimed):
        runtime.generations.accept(session, "Why?")
        runtime.writer.run()
    with runtime.database.writing() as db:
        db.delete(db.get_one(Session, gone.id))
        row = db.get_one(Session, claimed.id)
        row.secret_hash, row.owner_id = None, new_user_in(db)
    findings = runtime.invariants.check()
    assert {each.name: set(each.ids) for each in findings if each.ids}["forgotten"] == {
        str(gone.id),
        str(claimed.id),
    }
    assert runtime.healing.heal(findings)["forgotten"] == 2
    assert not runtime.redis.exists(*keys(gone.id))
    assert not runtime.redis.exists(keys(claimed.id)[3])
    assert len(runtime.transcript.read(kept).messages) == 2
    assert "forgotten" not in _invariants(runtime)


def new_user_in(db: Any) -> UUID:
    """An owner, in the caller's transaction."""
    from datetime import UTC, datetime

    user = User(id=uuid7(), email=f"{uuid7()}@example.org", created_at=datetime.now(UTC))
    db.add(user)
    db.flush()
    return user.id
