"""How many sessions one user may have: the transaction that makes or claims one decides, on both databases."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select

from core.errors import TooManySessions
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores.redis import Redis
from core.stores.tables import Session
from tests.conftest import TurnableClock, new_user
from tests.support.valkey import Valkey

MOST = 3


@pytest.fixture
def runtime(
    any_database_url: str, redis: Redis, valkey: Valkey, models_path: Path, clock: TurnableClock
) -> Iterator[Runtime]:
    settings = Settings(
        configured_database_url=any_database_url,
        configured_redis_url=valkey.url,
        models_path=models_path,
        sessions_per_user=MOST,
    )
    parts = Runtime(settings, clock=clock, pool_size=20)
    yield parts
    parts.close()


def _create(runtime: Runtime, owner: UUID | None, credential: Credential | None = None) -> Session:
    credential = credential or Credential.issue()
    with runtime.database.writing() as db:
        return runtime.sessions.create_session(
            db, owner, session_id=credential.session_id, secret_hash=None if owner else credential.secret_hash
        )


def _number(runtime: Runtime, owner: UUID | None) -> int:
    with runtime.database.reading() as db:
        return db.scalar(select(func.count()).where(Session.owner_id == owner)) or 0


def test_a_user_has_room_for_so_many_and_for_more_when_some_have_gone(runtime: Runtime, clock: TurnableClock) -> None:
    owner, other = new_user(runtime.database), new_user(runtime.database)
    first, *_ = (_create(runtime, owner) for _ in range(MOST))
    with pytest.raises(TooManySessions) as refused:
        _create(runtime, owner)
    assert (refused.value.status, refused.value.problem()["limit"]) == (409, MOST)
    assert "You have 3 sessions" in refused.value.detail
    _create(runtime, other)
    _create(runtime, None)
    runtime.actions.end(first)
    _create(runtime, owner)
    with pytest.raises(TooManySessions):
        _create(runtime, owner)
    clock.turn(timedelta(days=14))  # expired ones don't count, swept or not
    _create(runtime, owner)


def test_a_command_that_comes_twice_finds_its_session_and_no_lack_of_room(runtime: Runtime) -> None:
    owner, last = new_user(runtime.database), Credential.issue()
    for credential in (Credential.issue(), Credential.issue(), last, last):
        _create(runtime, owner, credential)
    assert _create(runtime, owner, last).id == last.session_id
    assert _number(runtime, owner) == MOST


def test_a_claim_needs_room_and_takes_nothing_without_it(runtime: Runtime) -> None:
    owner, guests = new_user(runtime.database), Credential.issue()
    session = _create(runtime, None, guests)
    mine = [_create(runtime, owner) for _ in range(MOST)]
    with pytest.raises(TooManySessions):
        runtime.actions.claim(session, owner)
    with runtime.database.reading() as db:
        found = runtime.sessions.validate_session(session.id, db, secret_hash=guests.secret_hash)
    assert found is not None
    assert found.anonymous
    runtime.actions.end(mine[0])
    runtime.actions.claim(session, owner)
    with pytest.raises(TooManySessions):
        _create(runtime, owner)


def test_races_of_creations_and_claims_fill_the_room_and_no_more(runtime: Runtime) -> None:
    owner = new_user(runtime.database)
    guests = [_create(runtime, None) for _ in range(6)]
    start, outcomes = threading.Barrier(12), list[str]()

    def run(guest: Session | None) -> None:
        start.wait()
        try:
            runtime.actions.claim(guest, owner) if guest else _create(runtime, owner)
            outcomes.append("made")
        except TooManySessions:
            outcomes.append("refused")

    threads = [threading.Thread(target=run, args=(guest,)) for guest in (*guests, *[None] * 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made"] * MOST + ["refused"] * (12 - MOST)
    assert _number(runtime, owner) == MOST
