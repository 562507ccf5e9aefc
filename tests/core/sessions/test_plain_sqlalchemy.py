"""SessionService in an application's own SQLAlchemy sessions: the rules hold without the blocks of core/stores."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine, event, func, select
from sqlalchemy.orm import ORMExecuteState, sessionmaker
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.errors import (
    LoginRequired,
    NotOwner,
    SessionExpired,
    SessionInvalid,
    SwitchboardError,
    TooManySessions,
    UnknownModel,
    VersionConflict,
)
from core.llm.catalog import load_catalog
from core.llm.client_pool import ClientPool
from core.sessions.credential import Credential
from core.sessions.service import SessionRules, SessionService
from core.stores.database import Database
from core.stores.tables import Session, User
from tests.conftest import TurnableClock, new_user
from tests.support.session_rules import RULES

MOST = 3
SECRET_HASH = b"x" * 32

Step = Callable[[DatabaseSession], Any]
Between = Callable[[Step, Step], Any]


@pytest.fixture
def service(models_path: Path, clock: TurnableClock) -> SessionService:
    rules = SessionRules(RULES.anonymous, RULES.owned, max_per_user=MOST)
    return SessionService(ClientPool(load_catalog(models_path), ""), rules, clock)


@pytest.fixture
def sessions(any_database_url: str) -> Iterator[sessionmaker[DatabaseSession]]:
    """An application's engine, as plain as can be; its objects outlive its commits."""
    engine = create_engine(any_database_url)
    yield sessionmaker(engine, expire_on_commit=False)
    engine.dispose()


@pytest.fixture
def owner(any_database: Database) -> UUID:
    return new_user(any_database)


def _before_first_update(db: DatabaseSession, act: Callable[[], None]) -> None:
    steps = [act]

    def run(execution: ORMExecuteState) -> None:
        if execution.is_update and steps:
            steps.pop()()

    event.listen(db, "do_orm_execute", run)


@pytest.fixture
def between(sessions: sessionmaker[DatabaseSession]) -> Between:
    """Runs one step, and commits another when the first one has read and not written yet. PostgreSQL's locks let none
    in there: the other one goes first then."""

    def run(first: Step, other: Step) -> Any:
        def commit_other() -> None:
            with sessions.begin() as elsewhere:
                other(elsewhere)

        with sessions() as db:
            if db.get_bind().dialect.name == "postgresql":
                commit_other()
            else:
                _before_first_update(db, commit_other)
            outcome = first(db)
            db.commit()
        return outcome

    return run


def test_racing_creations_fill_the_room_and_no_more(
    sessions: sessionmaker[DatabaseSession], service: SessionService, owner: UUID
) -> None:
    start, outcomes = threading.Barrier(10), list[str]()

    def create() -> None:
        start.wait()
        try:
            with sessions.begin() as db:
                service.create_session(db, owner)
            outcomes.append("made")
        except TooManySessions:
            outcomes.append("refused")

    threads = [threading.Thread(target=create) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made"] * MOST + ["refused"] * (10 - MOST)
    with sessions() as db:
        assert db.scalar(select(func.count()).select_from(Session)) == MOST


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda service, session, user, db: service.delete_sessions([session.id], db), SessionInvalid),
        (
            lambda service, session, user, db: service.claim_session(session.id, db, user, secret_hash=SECRET_HASH),
            NotOwner,
        ),
    ],
    ids=["deleted", "claimed"],
)
def test_a_session_that_another_has_ended_is_not_valid_from_memory(
    sessions: sessionmaker[DatabaseSession],
    service: SessionService,
    owner: UUID,
    change: Callable[..., Any],
    error: type[SwitchboardError],
) -> None:
    with sessions() as here, sessions() as elsewhere:
        session = service.create_session(here, secret_hash=SECRET_HASH)
        here.commit()
        change(service, session, owner, elsewhere)
        elsewhere.commit()
        with pytest.raises(error):
            service.validate_session(session.id, here, require_valid=True, secret_hash=SECRET_HASH)
        assert service.validate_session(session.id, here, secret_hash=SECRET_HASH) is None


def test_what_another_has_changed_is_read_anew(
    sessions: sessionmaker[DatabaseSession], service: SessionService, owner: UUID, clock: TurnableClock
) -> None:
    with sessions() as here, sessions() as elsewhere:
        session = service.create_session(here, owner)
        here.commit()
        assert service.list_sessions(owner, here) == [session]
        here.commit()
        service.switch_model(session.id, "paused", elsewhere, owner)
        service.change_settings(session.id, {"title": "Elsewhere"}, elsewhere)
        clock.turn(timedelta(days=7))
        expires_at = service.extend_session(session.id, elsewhere)
        elsewhere.commit()
        assert service.get_current_model(session.id, here) == "paused"
        assert [each.title for each in service.list_sessions(owner, here)] == ["Elsewhere"]
        assert service.extend_session(session.id, here) == expires_at
        with pytest.raises(VersionConflict):
            service.switch_model(session.id, "good", here, owner, version=1)
        here.rollback()
        # What is still held in memory has an old version, and a repeat of the creation does not answer with it.
        service.switch_model(session.id, "good", elsewhere, owner)
        elsewhere.commit()
        assert service.create_session(here, owner, session_id=session.id).version == 3


def test_a_session_that_is_created_again_is_the_new_one(
    sessions: sessionmaker[DatabaseSession], service: SessionService, clock: TurnableClock
) -> None:
    with sessions() as here, sessions() as elsewhere:
        before = service.create_session(here, secret_hash=SECRET_HASH, model="good")
        here.commit()
        service.delete_sessions([before.id], elsewhere)
        elsewhere.commit()
        clock.turn(timedelta(minutes=5))
        other_hash = b"y" * 32
        again = service.create_session(here, session_id=before.id, secret_hash=other_hash, model="paused")
        assert (again.secret_hash, again.last_model) == (other_hash, "paused")
        assert again.created_at == clock.now()
        assert again.expires_at == clock.now() + RULES.anonymous.idle


def test_an_issued_secret_stays_with_its_session_and_with_no_other(
    sessions: sessionmaker[DatabaseSession], service: SessionService
) -> None:
    with sessions() as here, sessions() as elsewhere:
        session = service.create_session(here)
        here.commit()
        secret, secret_hash = session.issued_secret, session.secret_hash
        again = service.create_session(here, session_id=session.id, secret_hash=secret_hash)
        assert secret is not None
        assert session.issued_secret == again.issued_secret == secret
        here.commit()
        service.delete_sessions([session.id], elsewhere)
        elsewhere.commit()
        other = service.create_session(here, session_id=session.id, secret_hash=SECRET_HASH)
        assert (other.secret_hash, other.issued_secret) == (SECRET_HASH, None)


def test_a_user_who_is_not_flushed_yet_is_not_called_deleted(
    sessions: sessionmaker[DatabaseSession], service: SessionService, clock: TurnableClock
) -> None:
    with sessions(autoflush=False) as db:
        user = User(id=uuid7(), created_at=clock.now())
        db.add(user)
        with pytest.raises(LoginRequired, match="no such account"):
            service.create_session(db, user.id)
        db.flush()
        assert service.create_session(db, user.id).owner_id == user.id


@pytest.mark.parametrize("owned", [True, False])
def test_what_the_caller_rolls_back_has_not_been(
    sessions: sessionmaker[DatabaseSession], service: SessionService, owner: UUID, owned: bool
) -> None:
    with sessions() as db:
        service.create_session(db, owner if owned else None)
        db.rollback()
        assert db.scalar(select(func.count()).select_from(Session)) == 0


def test_an_expired_session_has_no_current_model(
    sessions: sessionmaker[DatabaseSession], service: SessionService, clock: TurnableClock
) -> None:
    with sessions() as db:
        session = service.create_session(db)
        clock.turn(timedelta(minutes=30))
        with pytest.raises(SessionExpired):
            service.get_current_model(session.id, db)


def test_a_session_is_created_by_the_text_of_its_id(
    sessions: sessionmaker[DatabaseSession], service: SessionService
) -> None:
    credential = Credential.issue()
    key, proof = str(credential.session_id), credential.secret_hash
    with sessions.begin() as db:
        assert service.create_session(db, session_id=key, secret_hash=proof).id == credential.session_id
        assert service.create_session(db, session_id=key, secret_hash=proof).id == credential.session_id
        for malformed in ("", "nonsense", str(uuid7()).upper()):
            with pytest.raises(SessionInvalid):
                service.create_session(db, session_id=malformed)
        with pytest.raises(TypeError, match="session_id must be a UUID or its text, not int"):
            service.create_session(db, session_id=7)  # type: ignore[arg-type]
        assert db.scalars(select(Session.id)).all() == [credential.session_id]


def test_what_is_no_hash_of_a_secret_proves_nothing(
    sessions: sessionmaker[DatabaseSession], service: SessionService, owner: UUID
) -> None:
    with sessions() as db:
        session = service.create_session(db)
        calls: tuple[Callable[[Any], Any], ...] = (
            lambda given: service.create_session(db, secret_hash=given),
            lambda given: service.validate_session(session.id, db, None, True, secret_hash=given),
            lambda given: service.claim_session(session.id, db, owner, secret_hash=given),
        )
        for misfit in (b"", b"x", b"x" * 33):
            with pytest.raises(ValueError, match=f"secret_hash must be 32 bytes, not {len(misfit)}"):
                calls[0](misfit)
            for call in calls[1:]:
                with pytest.raises(SessionInvalid):
                    call(misfit)
        for malformed in ("x" * 32, bytearray(32), 7):
            for call in calls:
                with pytest.raises(TypeError, match=f"secret_hash must be bytes, not {type(malformed).__name__}"):
                    call(malformed)
        assert db.scalars(select(Session.id)).all() == [session.id]


def test_what_is_no_model_is_refused(sessions: sessionmaker[DatabaseSession], service: SessionService) -> None:
    with sessions() as db:
        session = service.create_session(db)
        for call in (
            lambda model: service.create_session(db, model=model),
            lambda model: service.switch_model(session.id, model, db),
        ):
            with pytest.raises(UnknownModel):
                call("")
            for malformed in (["good"], {"good": 1}, 7, b"good", False):
                with pytest.raises(TypeError, match=f"model must be text, not {type(malformed).__name__}"):
                    call(malformed)
        assert service.get_current_model(session.id, db) == "good"


def test_what_is_no_version_is_refused_and_the_transaction_goes_on(
    sessions: sessionmaker[DatabaseSession], service: SessionService
) -> None:
    with sessions.begin() as db:
        session = service.create_session(db)
        for impossible in (2**31, 2**70, 0, -1, -(2**70)):
            with pytest.raises(VersionConflict):
                service.switch_model(session.id, "paused", db, version=impossible)
        for malformed in (True, False, 1.0, "1", b"1", [1]):
            with pytest.raises(TypeError, match=f"version must be an int, not {type(malformed).__name__}"):
                service.switch_model(session.id, "paused", db, version=malformed)  # type: ignore[arg-type]
        assert service.switch_model(session.id, "paused", db, version=1).version == 2


@pytest.mark.parametrize("milliseconds", [0, 253_402_300_799_999, 253_402_300_800_000, 2**48 - 1])
def test_an_id_of_any_birth_is_no_session(
    sessions: sessionmaker[DatabaseSession], service: SessionService, milliseconds: int
) -> None:
    unknown = UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62)
    calls: tuple[Callable[[DatabaseSession], Any], ...] = (
        lambda db: service.validate_session(unknown, db, require_valid=True),
        lambda db: service.extend_session(unknown, db),
        lambda db: service.switch_model(unknown, "paused", db),
        lambda db: service.get_current_model(unknown, db),
    )
    with sessions() as db:
        assert service.validate_session(unknown, db) is None
        for call in calls:
            with pytest.raises(SessionInvalid):
                call(db)


def _new(sessions: sessionmaker[DatabaseSession], service: SessionService, owner: UUID | None = None) -> UUID:
    with sessions.begin() as db:
        return service.create_session(db, owner, secret_hash=None if owner else SECRET_HASH).id


@pytest.mark.parametrize("version", [None, 1])
def test_a_session_that_is_claimed_meanwhile_is_not_switched_by_its_former_holder(
    sessions: sessionmaker[DatabaseSession],
    service: SessionService,
    owner: UUID,
    between: Between,
    version: int | None,
) -> None:
    key = _new(sessions, service)
    with pytest.raises(NotOwner):
        between(
            lambda db: service.switch_model(key, "paused", db, version=version),
            lambda db: service.claim_session(key, db, owner, secret_hash=SECRET_HASH),
        )
    with sessions() as db:
        assert service.get_current_model(key, db) == "good"


def test_one_command_twice_at_once_switches_once(
    sessions: sessionmaker[DatabaseSession], service: SessionService, owner: UUID, between: Between
) -> None:
    key, command = _new(sessions, service, owner), uuid7()

    def switch(db: DatabaseSession) -> int:
        return service.switch_model(key, "paused", db, owner, command_id=command).version

    assert between(switch, switch) == 2
    with sessions() as db:
        assert db.get_one(Session, key).version == 2


def test_two_switches_at_once_that_name_no_version_are_both_made(
    sessions: sessionmaker[DatabaseSession], service: SessionService, owner: UUID, between: Between
) -> None:
    key = _new(sessions, service, owner)
    switched = between(
        lambda db: service.switch_model(key, "paused", db, owner, command_id=uuid7()),
        lambda db: service.switch_model(key, "cut", db, owner, command_id=uuid7()),
    )
    assert (switched.last_model, switched.version) == ("paused", 3)


def test_activity_does_not_shorten_a_session_that_is_claimed_meanwhile(
    sessions: sessionmaker[DatabaseSession],
    service: SessionService,
    owner: UUID,
    between: Between,
    clock: TurnableClock,
) -> None:
    key = _new(sessions, service)
    clock.turn(timedelta(minutes=20))
    expires_at = between(
        lambda db: service.extend_session(key, db),
        lambda db: service.claim_session(key, db, owner, secret_hash=SECRET_HASH),
    )
    assert expires_at == clock.now() + RULES.owned.idle
    with sessions() as db:
        assert db.get_one(Session, key).expires_at == expires_at


def test_activity_does_not_revive_a_session_that_is_deleted_meanwhile(
    sessions: sessionmaker[DatabaseSession],
    service: SessionService,
    owner: UUID,
    between: Between,
    clock: TurnableClock,
) -> None:
    key = _new(sessions, service, owner)
    clock.turn(timedelta(days=5))
    with pytest.raises(SessionExpired):  # what an id of that age is answered with when there is no row
        between(
            lambda db: service.extend_session(key, db),
            lambda db: service.delete_sessions([key], db),
        )


@pytest.mark.one_database
def test_a_message_gives_no_title_to_a_session_that_is_claimed_meanwhile(
    sessions: sessionmaker[DatabaseSession],
    service: SessionService,
    owner: UUID,
    between: Between,
    clock: TurnableClock,
) -> None:
    key = _new(sessions, service)
    clock.turn(timedelta(minutes=20))
    with pytest.raises(NotOwner):
        between(
            lambda db: service.note_message(service.lock_living(key, db), "Why?", db),
            lambda db: service.claim_session(key, db, owner, secret_hash=SECRET_HASH),
        )
    with sessions() as db:
        row = db.get_one(Session, key)
        assert (row.title, row.expires_at) == (None, clock.now() + RULES.owned.idle)
