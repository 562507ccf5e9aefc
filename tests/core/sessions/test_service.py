"""SessionService on both databases."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from core.errors import (
    LoginRequired,
    NotOwner,
    SessionExpired,
    SessionInvalid,
    SwitchboardError,
    UnknownModel,
    VersionConflict,
)
from core.llm.catalog import load_catalog
from core.llm.client_pool import ClientPool
from core.sessions.credential import Credential
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.tables import Session
from tests.conftest import SOME_ID, TurnableClock, new_user
from tests.support.session_rules import RULES


@pytest.fixture
def pool(models_path: object) -> ClientPool:
    return ClientPool(load_catalog(models_path), "http://127.0.0.1:9/v1")  # type: ignore[arg-type]


@pytest.fixture
def service(pool: ClientPool, clock: TurnableClock) -> SessionService:
    return SessionService(pool, RULES, clock)


@pytest.fixture
def database(any_database: Database) -> Iterator[Database]:
    return any_database  # type: ignore[return-value]


def _create(database: Database, service: SessionService, owner: UUID | None = None) -> tuple[Session, Credential]:
    credential = Credential.issue()
    with database.writing() as db:
        session = service.create_session(
            db, owner, session_id=credential.session_id, secret_hash=None if owner else credential.secret_hash
        )
    return session, credential


def _validate(
    database: Database, service: SessionService, credential: Credential, owner: UUID | None = None
) -> Session:
    with database.reading() as db:
        found = service.validate_session(
            credential.session_id, db, owner, require_valid=True, secret_hash=credential.secret_hash
        )
    assert found is not None
    return found


def test_a_new_anonymous_session_has_the_default_model_and_the_short_lifetimes(
    database: Database, service: SessionService, clock: TurnableClock
) -> None:
    session, credential = _create(database, service)
    found = _validate(database, service, credential)
    assert (found.owner_id, found.last_model, found.version) == (None, "good", 1)
    assert found.expires_at == clock.moment + timedelta(minutes=30)
    assert found.ends_at == clock.moment + timedelta(hours=24)
    assert service.describe(session) == service.describe(found)


def test_an_owned_session_lives_longer_and_has_no_secret(
    database: Database, service: SessionService, clock: TurnableClock
) -> None:
    owner = new_user(database)
    session, credential = _create(database, service, owner)
    assert session.expires_at == clock.moment + timedelta(days=14)
    assert session.secret_hash is None
    assert _validate(database, service, credential, owner).id == session.id


def test_a_session_has_an_owner_or_a_secret(database: Database, service: SessionService) -> None:
    owner = new_user(database)
    with database.writing() as db:
        guests, owned = service.create_session(db), service.create_session(db, owner)
        assert (guests.owner_id is None, guests.secret_hash is None) == (True, False)
        assert (owned.owner_id is None, owned.secret_hash is None) == (False, True)
        with pytest.raises(ValueError, match="not both"):
            service.create_session(db, uuid4(), secret_hash=b"x" * 32)


def test_creating_is_idempotent_by_id(database: Database, service: SessionService) -> None:
    credential = Credential.issue()
    for _ in range(3):
        with database.writing() as db:
            service.create_session(db, session_id=credential.session_id, secret_hash=credential.secret_hash)
    with database.reading() as db:
        assert db.scalar(select(func.count()).select_from(Session)) == 1


def test_a_taken_id_is_not_given_to_somebody_else(database: Database, service: SessionService) -> None:
    _, credential = _create(database, service)
    with database.writing() as db, pytest.raises(SessionInvalid):
        service.create_session(db, session_id=credential.session_id, secret_hash=b"y" * 32)
    somebody = new_user(database)
    with database.writing() as db, pytest.raises(SessionInvalid):
        service.create_session(db, somebody, session_id=credential.session_id)


def test_nobody_creates_a_session_for_an_account_that_is_gone(database: Database, service: SessionService) -> None:
    with database.writing() as db, pytest.raises(LoginRequired):
        service.create_session(db, uuid4())


def test_a_session_can_begin_on_another_model_but_not_on_an_unknown_one(
    database: Database, service: SessionService
) -> None:
    owner = new_user(database)
    with database.writing() as db:
        assert service.create_session(db, owner, model="paused").last_model == "paused"
        with pytest.raises(UnknownModel):
            service.create_session(db, owner, model="gpt-9")


@pytest.mark.parametrize(
    ("owned", "as_owner", "right_secret", "error"),
    [
        (False, None, True, None),
        (False, None, False, SessionInvalid),
        (False, "other", True, None),  # logged in, and holding an anonymous session's secret
        (False, "other", False, SessionInvalid),
        (True, "owner", False, None),
        (True, "other", False, NotOwner),
        (True, None, False, NotOwner),
        (True, None, True, NotOwner),
    ],
)
def test_who_may_hold_a_session(
    database: Database,
    service: SessionService,
    owned: bool,
    as_owner: str | None,
    right_secret: bool,
    error: type[SwitchboardError] | None,
) -> None:
    people = {"owner": new_user(database), "other": new_user(database)}
    _, credential = _create(database, service, people["owner"] if owned else None)
    proof = credential if right_secret else Credential(credential.session_id, "wrong")
    user = people[as_owner] if as_owner else None
    if error is None:
        assert _validate(database, service, proof, user).id == credential.session_id
        return
    with pytest.raises(error):
        _validate(database, service, proof, user)
    with database.reading() as db:
        assert service.validate_session(proof.session_id, db, user, secret_hash=proof.secret_hash) is None


def test_a_session_without_its_secret_is_not_valid(database: Database, service: SessionService) -> None:
    _, credential = _create(database, service)
    with pytest.raises(SessionInvalid):
        _validate(database, service, Credential(credential.session_id, None))


def test_a_session_expires_before_any_sweep(
    database: Database, service: SessionService, clock: TurnableClock
) -> None:
    _, credential = _create(database, service)
    clock.turn(timedelta(minutes=30) - timedelta(microseconds=1))
    _validate(database, service, credential)
    clock.turn(timedelta(microseconds=1))
    with pytest.raises(SessionExpired):
        _validate(database, service, credential)
    with database.writing() as db, pytest.raises(SessionExpired):
        service.extend_session(credential.session_id, db)
    with database.writing() as db, pytest.raises(SessionExpired):
        service.switch_model(credential.session_id, "paused", db)


def test_an_expired_session_says_so_after_the_sweep_too(
    database: Database, service: SessionService, clock: TurnableClock
) -> None:
    _, credential = _create(database, service)
    clock.turn(timedelta(minutes=31))
    with database.writing() as db:
        assert service.lock_expired(db) == [(credential.session_id, None, False)]
        service.delete_sessions([credential.session_id], db)
    with pytest.raises(SessionExpired):
        _validate(database, service, credential)


@pytest.mark.parametrize(
    "unknown", [None, uuid4(), UUID(int=0), UUID(int=2**128 - 1), UUID("0" * 12 + "7" + "0" * 19)]
)
def test_an_unknown_session_is_invalid(database: Database, service: SessionService, unknown: UUID | None) -> None:
    new = uuid7()  # not where tests are collected: what is older than a lifetime counts as expired
    with pytest.raises(SessionInvalid):
        _validate(database, service, Credential(unknown or new, "secret"))


def test_activity_extends_up_to_the_absolute_lifetime(
    database: Database, service: SessionService, clock: TurnableClock
) -> None:
    session, credential = _create(database, service)
    while clock.moment + timedelta(minutes=20) < session.ends_at:
        clock.turn(timedelta(minutes=20))
        with database.writing() as db:
            expires_at = service.extend_session(credential.session_id, db)
        assert expires_at == min(clock.moment + timedelta(minutes=30), session.ends_at)
    clock.turn(timedelta(minutes=20))
    with pytest.raises(SessionExpired):
        _validate(database, service, credential)


def test_a_switch_holds_and_grows_the_version(database: Database, service: SessionService) -> None:
    _, credential = _create(database, service)
    with database.writing() as db:
        session = service.switch_model(credential.session_id, "paused", db, version=1)
        assert (session.last_model, session.version) == ("paused", 2)
    with database.reading() as db:
        assert service.get_current_model(credential.session_id, db) == "paused"


def test_a_switch_needs_a_known_model_the_owner_and_the_version(database: Database, service: SessionService) -> None:
    owner = new_user(database)
    _, credential = _create(database, service, owner)
    with database.writing() as db, pytest.raises(UnknownModel):
        service.switch_model(credential.session_id, "gpt-9", db, owner)
    for stranger in (None, uuid4()):
        with database.writing() as db, pytest.raises(NotOwner):
            service.switch_model(credential.session_id, "paused", db, stranger)
    with database.writing() as db, pytest.raises(VersionConflict):
        service.switch_model(credential.session_id, "paused", db, owner, version=7)
    assert _validate(database, service, credential, owner).version == 1


def test_of_racing_switches_with_one_version_exactly_one_wins(database: Database, service: SessionService) -> None:
    _, credential = _create(database, service)
    start = threading.Barrier(50)
    won: list[str] = []
    lost: list[str] = []

    def race(model: str) -> None:
        start.wait()
        try:
            with database.writing() as db:
                service.switch_model(credential.session_id, model, db, version=1)
            won.append(model)
        except VersionConflict:
            lost.append(model)

    racers = [threading.Thread(target=race, args=(model,)) for model in ["paused", "silent"] * 25]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert (len(won), len(lost)) == (1, 49)
    session = _validate(database, service, credential)
    assert (session.last_model, session.version) == (won[0], 2)


def test_a_retired_model_falls_back_and_the_choice_stays(
    database: Database, service: SessionService, pool: ClientPool, clock: TurnableClock
) -> None:
    _, credential = _create(database, service)
    with database.writing() as db:
        service.switch_model(credential.session_id, "paused", db)
    catalog = pool._catalog
    fewer = catalog.model_copy(update={"models": {"good": catalog.models["good"]}})
    later = SessionService(ClientPool(fewer, ""), RULES, clock)
    with database.reading() as db:
        assert later.get_current_model(credential.session_id, db) == "good"
        assert service.get_current_model(credential.session_id, db) == "paused"


def test_the_sweep_takes_the_expired_in_batches_and_nothing_else(
    database: Database, service: SessionService, clock: TurnableClock
) -> None:
    old = {_create(database, service)[0].id for _ in range(5)}
    clock.turn(timedelta(minutes=20))
    young = _create(database, service)[0].id
    clock.turn(timedelta(minutes=15))
    swept: list[UUID] = []
    while True:
        with database.writing() as db:
            batch = [each.id for each in service.lock_expired(db, limit=2)]
            service.delete_sessions(batch, db)
        assert len(batch) <= 2
        if not batch:
            break
        swept += batch
    assert set(swept) == old
    assert len(swept) == len(old)
    with database.reading() as db:
        assert db.scalars(select(Session.id)).all() == [young]


def test_the_secret_is_stored_nowhere(database: Database, service: SessionService) -> None:
    session, credential = _create(database, service)
    assert credential.secret is not None
    assert credential.secret.encode() not in (session.secret_hash or b"")
    assert credential.secret not in repr(credential)


@pytest.mark.parametrize("text", ["", "x", "x.y", ".", "0" * 36, f"{SOME_ID}.{'s' * 200}", f"{{{SOME_ID}}}.s"])
def test_a_malformed_credential_is_invalid(text: str) -> None:
    with pytest.raises(SessionInvalid):
        Credential.parse(text)


def test_a_credential_survives_its_wire_form() -> None:
    credential = Credential.issue()
    assert Credential.parse(str(credential)) == credential
