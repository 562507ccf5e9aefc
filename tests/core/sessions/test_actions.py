"""SessionActions: what follows the commit of each, and what does not when it is refused."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from redis import Redis
from uuid_utils.compat import uuid7

from core.conversation.keys import keys
from core.errors import NotOwner, SessionExpired, SessionInvalid, TooManySessions
from core.runtime import Runtime
from core.sessions.actions import Switch
from core.sessions.credential import Credential
from core.sessions.service import NewSession
from core.settings import Settings
from core.stores.tables import RemovalBatch, Session
from tests.conftest import TurnableClock, new_user
from tests.support.valkey import Valkey


@pytest.fixture
def runtime(
    any_database_url: str, redis: Redis, valkey: Valkey, models_path: Path, clock: TurnableClock
) -> Iterator[Runtime]:
    settings = Settings(
        configured_database_url=any_database_url,
        configured_redis_url=valkey.url,
        models_path=models_path,
        sessions_per_user=2,
    )
    parts = Runtime(settings, clock=clock)
    yield parts
    parts.close()


def _create(runtime: Runtime, owner_id: UUID | None = None) -> Session:
    credential = Credential.issue()
    secret_hash = None if owner_id else credential.secret_hash
    (session,) = runtime.actions.create([NewSession(credential.session_id, owner_id, secret_hash, None)])
    assert isinstance(session, Session)
    return session


def _audited(runtime: Runtime) -> list[tuple[str, UUID | None, UUID | None]]:
    return [(event.kind, event.user_id, event.session_id) for event in runtime.audit.read()]


def _stored(runtime: Runtime, session: Session) -> Session | None:
    with runtime.database.reading() as db:
        return db.get(Session, session.id)


def test_creating_twice_is_creating_once(runtime: Runtime) -> None:
    owner, session_id = new_user(runtime.database), uuid7()
    wanted = NewSession(session_id, owner, None, "paused")
    (first,), (second,) = (runtime.actions.create([wanted]) for _ in range(2))
    assert isinstance(first, Session)
    assert isinstance(second, Session)
    assert (first.id, first.last_model, first.created_at) == (second.id, "paused", second.created_at)


def test_a_refresh_extends_the_row_and_the_log(runtime: Runtime, clock: TurnableClock) -> None:
    session = _create(runtime)
    runtime.log.append(session.id, "model", {}, expires_at=session.expires_at)
    clock.turn(timedelta(minutes=20))
    before = runtime.redis.pexpiretime(keys(session.id)[0])
    refreshed = runtime.actions.refresh(session)
    moved = timedelta(milliseconds=runtime.redis.pexpiretime(keys(session.id)[0]) - before)
    assert refreshed.expires_at == clock.moment + timedelta(minutes=30)
    assert abs(moved - timedelta(minutes=20)) < timedelta(seconds=1)
    stored = _stored(runtime, session)
    assert stored is not None
    assert stored.expires_at == refreshed.expires_at


def test_a_switch_is_published_and_its_repeat_changes_nothing(runtime: Runtime) -> None:
    session, command_id = _create(runtime), uuid7()
    for _ in range(2):
        (switched,) = runtime.actions.switch_models([Switch(session.id, "paused", None, None, command_id)])
        assert isinstance(switched, Session)
        assert (switched.last_model, switched.version) == ("paused", 2)
    assert runtime.log.read(session.id, after=0).events[0].type == "model"


def test_settings_of_a_session_that_is_gone_are_refused_and_not_kept(runtime: Runtime) -> None:
    for session in (_create(runtime, new_user(runtime.database)), _create(runtime)):
        assert runtime.actions.change_settings(session, {"title": "Ships"}).title == "Ships"
        runtime.actions.end(session)
        with pytest.raises(SessionInvalid):
            runtime.actions.change_settings(session, {"title": "Boats"})
        assert not runtime.redis.exists(*keys(session.id))


def test_a_claim_is_audited_once_and_only_when_it_holds(runtime: Runtime) -> None:
    user, other = new_user(runtime.database), new_user(runtime.database)
    session = _create(runtime)
    claimed = runtime.actions.claim(session, user)
    assert runtime.actions.claim(claimed, user) is claimed
    for stale in (session, claimed):
        with pytest.raises(NotOwner):
            runtime.actions.claim(stale, other)
    for _ in range(2):
        _create(runtime, other)
    with pytest.raises(TooManySessions):
        runtime.actions.claim(_create(runtime), other)
    assert _audited(runtime) == [("session-claimed", user, session.id)]


def test_the_end_of_a_users_session_is_audited(runtime: Runtime) -> None:
    owner = new_user(runtime.database)
    owned, guests = _create(runtime, owner), _create(runtime)
    for session in (owned, guests):
        runtime.actions.end(session)
        assert _stored(runtime, session) is None
    assert _audited(runtime) == [("session-deleted", owner, owned.id)]


def test_a_session_that_is_discarded_leaves_nothing(runtime: Runtime) -> None:
    session = _create(runtime, new_user(runtime.database))
    runtime.log.append(session.id, "model", {}, expires_at=session.expires_at)
    runtime.actions.discard(session)
    runtime.actions.discard(session)
    assert _stored(runtime, session) is None
    assert _audited(runtime) == []
    assert not runtime.redis.exists(*keys(session.id))
    with runtime.database.reading() as db:
        assert db.query(RemovalBatch).count() == 0


def test_what_was_proved_by_the_secret_does_nothing_to_a_session_that_has_been_claimed(runtime: Runtime) -> None:
    session = _create(runtime)
    claimed = runtime.actions.claim(session, new_user(runtime.database))
    for action in (runtime.actions.refresh, runtime.actions.end, runtime.actions.discard):
        with pytest.raises(NotOwner):
            action(session)
    stored = _stored(runtime, session)
    assert stored is not None
    assert (stored.owner_id, stored.expires_at) == (claimed.owner_id, claimed.expires_at)


def test_a_session_that_has_expired_is_not_refreshed(runtime: Runtime, clock: TurnableClock) -> None:
    session = _create(runtime)
    clock.turn(timedelta(minutes=31))
    with pytest.raises(SessionExpired):
        runtime.actions.refresh(session)
    runtime.actions.end(session)
    with pytest.raises(SessionExpired):
        runtime.actions.refresh(session)
