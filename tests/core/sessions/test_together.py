"""Sessions that are created or switched together come out as if one had come after the other."""

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, func, select
from uuid_utils.compat import uuid7

from core.errors import (
    LoginRequired,
    SessionInvalid,
    SwitchboardError,
    TooManySessions,
    UnknownModel,
    VersionConflict,
)
from core.runtime import Runtime
from core.sessions.actions import Switch
from core.sessions.service import NewSession
from core.settings import Settings
from core.stores.redis import Redis
from core.stores.tables import Session
from tests.conftest import new_user
from tests.support.valkey import Valkey

MOST = 3


@pytest.fixture
def runtime(any_database_url: str, redis: Redis, valkey: Valkey, models_path: Path) -> Iterator[Runtime]:
    settings = Settings(
        configured_database_url=any_database_url,
        configured_redis_url=valkey.url,
        models_path=models_path,
        sessions_per_user=MOST,
    )
    parts = Runtime(settings)
    yield parts
    parts.close()


def _new(owner: UUID | None = None, key: UUID | None = None, model: str | None = None) -> NewSession:
    return NewSession(key or uuid7(), owner, None if owner else uuid4().bytes * 2, model)


def _created(outcome: Session | SwitchboardError) -> Session:
    assert isinstance(outcome, Session)
    return outcome


def _rows(runtime: Runtime) -> set[UUID]:
    with runtime.database.reading() as db:
        return set(db.scalars(select(Session.id)))


def test_each_has_its_own_outcome_in_the_order_of_the_wishes(runtime: Runtime) -> None:
    owner, key = new_user(runtime.database), uuid7()
    taken = _new()
    runtime.actions.create([taken])
    wanted = [
        _new(key=key),
        _new(model="gpt-nothing"),
        _new(owner, model="paused"),
        _new(uuid4()),
        _new(key=taken.id),
        _new(key=key),
        taken,
        _new(),
    ]
    outcomes = runtime.actions.create(wanted)
    kinds = [type(outcome) for outcome in outcomes]
    refused = [UnknownModel, Session, LoginRequired, SessionInvalid, SessionInvalid, Session, Session]
    assert kinds == [Session, *refused]
    assert [_created(outcomes[at]).id for at in (0, 2, 6, 7)] == [wanted[at].id for at in (0, 2, 6, 7)]
    assert (_created(outcomes[2]).owner_id, _created(outcomes[2]).last_model) == (owner, "paused")
    assert _created(outcomes[0]).secret_hash == wanted[0].secret_hash
    assert _rows(runtime) == {wanted[at].id for at in (0, 2, 6, 7)}


def test_the_same_wish_many_times_is_one_session(runtime: Runtime) -> None:
    for new in (_new(), _new(new_user(runtime.database))):
        outcomes = [_created(outcome) for outcome in runtime.actions.create([new] * 5)]
        again = _created(runtime.actions.create([new])[0])
        assert {(each.id, each.created_at) for each in outcomes} == {(again.id, again.created_at)}
    assert len(_rows(runtime)) == 2


def test_room_is_counted_for_each_owner_through_the_group(runtime: Runtime) -> None:
    full, roomy = new_user(runtime.database), new_user(runtime.database)
    there = _new(full)
    runtime.actions.create([there])
    wanted = [_new(full), _new(roomy), there, _new(full), _new(full), there, _new(roomy), _new()]
    outcomes = runtime.actions.create(wanted)
    assert [isinstance(outcome, TooManySessions) for outcome in outcomes] == [False] * 4 + [True] + [False] * 3
    # A repeat takes no room, also where none is left.
    assert [type(outcome) for outcome in runtime.actions.create([_new(full), there])] == [TooManySessions, Session]


def test_an_id_that_is_taken_takes_no_room(runtime: Runtime) -> None:
    owner, other = new_user(runtime.database), new_user(runtime.database)
    anonymous, others = _new(), _new(other)
    runtime.actions.create([anonymous, others])
    there, beside = [_new(owner) for _ in range(MOST)], _new()
    wanted = [_new(owner, anonymous.id), _new(owner, others.id), beside, _new(owner, beside.id), *there, _new(owner)]
    outcomes = runtime.actions.create(wanted)
    made: list[type] = [Session] * MOST
    taken = SessionInvalid
    assert [type(each) for each in outcomes] == [taken, taken, Session, taken, *made, TooManySessions]
    # Where there is no room left, it is the id that is wrong.
    assert [type(each) for each in runtime.actions.create([_new(owner, others.id), there[0]])] == [taken, Session]


def test_the_number_of_statements_does_not_depend_on_the_number_of_sessions(runtime: Runtime) -> None:
    statements: list[str] = []
    event.listen(
        runtime.database.engine, "before_cursor_execute", lambda _c, _u, statement, *_: statements.append(statement)
    )

    def made_by(wanted: list[NewSession]) -> int:
        statements.clear()
        assert all(isinstance(outcome, Session) for outcome in runtime.actions.create(wanted))
        return sum(not statement.startswith("BEGIN") for statement in statements)

    assert made_by([_new()]) == made_by([_new() for _ in range(100)]) == 1
    owners = [new_user(runtime.database) for _ in range(20)]
    mixed = [_new(each) for owner in owners for each in (owner, None)]
    assert made_by([_new(owners[0]), _new(owners[1]), _new()]) == made_by(mixed) == 5
    assert made_by(mixed) == 6  # those that are there are read


def test_one_that_can_not_be_creates_none(runtime: Runtime) -> None:
    for impossible in (NewSession(uuid7(), None, b"short", None), NewSession(uuid7(), uuid4(), b"x" * 32, None)):
        with pytest.raises(ValueError, match="secret"):
            runtime.actions.create([_new(), impossible])
    assert not _rows(runtime)


def test_groups_of_the_same_owners_and_ids_at_once_never_wait_for_each_other_in_a_circle(runtime: Runtime) -> None:
    owners = [new_user(runtime.database) for _ in range(8)]
    wanted = [_new(owner) for owner in owners] + [_new() for _ in range(8)]
    start = Barrier(4)
    outcomes: list[Session | SwitchboardError] = []

    def create(turn: int) -> None:
        start.wait(10)
        outcomes.extend(runtime.actions.create(wanted if turn % 2 else wanted[::-1]))

    for _ in range(5):
        callers = [Thread(target=create, args=(turn,)) for turn in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(20)
    assert len(outcomes) == 5 * 4 * len(wanted)
    assert all(isinstance(outcome, Session) for outcome in outcomes)
    assert _rows(runtime) == {new.id for new in wanted}


def test_switches_of_one_session_follow_each_other_and_each_tells_what_it_did(runtime: Runtime) -> None:
    session, other = (_created(outcome) for outcome in runtime.actions.create([_new(), _new()]))
    switches = [
        Switch(session.id, "paused", None, 1, uuid7()),
        Switch(other.id, "gpt-nothing", None, None, uuid7()),
        Switch(session.id, "cut", None, 1, uuid7()),
        Switch(session.id, "good", None, None, uuid7()),
        Switch(uuid4(), "good", None, None, uuid7()),
        Switch(other.id, "cut", None, None, uuid7()),
    ]
    outcomes = runtime.actions.switch_models(switches)
    told = [(each.last_model, each.version) for each in outcomes if isinstance(each, Session)]
    assert told == [("paused", 2), ("good", 3), ("cut", 2)]
    assert [type(each) for each in outcomes if not isinstance(each, Session)] == [
        UnknownModel,
        VersionConflict,
        SessionInvalid,
    ]
    events = [event.data for event in runtime.log.read(session.id, after=0).events]
    assert events == ['{"model":"paused","version":2}', '{"model":"good","version":3}']
    with runtime.database.reading() as db:
        assert db.scalar(select(func.sum(Session.version))) == 5
