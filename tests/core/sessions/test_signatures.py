"""The five calls that an application makes of SessionService, with the plain arguments that their signatures say."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text
from uuid_utils.compat import uuid7

from core.errors import LoginRequired, NotOwner, SessionExpired, SessionInvalid, UnknownModel
from core.llm.catalog import load_catalog
from core.llm.client_pool import ClientPool
from core.sessions.credential import Credential
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.tables import Session
from tests.conftest import TurnableClock, new_user
from tests.support.session_rules import RULES

As = Callable[[UUID], Any]


@pytest.fixture
def service(models_path: Path, clock: TurnableClock) -> SessionService:
    return SessionService(ClientPool(load_catalog(models_path), ""), RULES, clock)


@pytest.fixture(params=[UUID, str], ids=["uuid", "text"])
def as_id(request: pytest.FixtureRequest) -> As:
    """An id as the application has it."""
    kind = request.param
    return lambda identifier: identifier if kind is UUID else str(identifier)


def test_the_five_calls_by_position(any_database: Database, service: SessionService, as_id: As) -> None:
    user_id = new_user(any_database)
    with any_database.writing() as db_session:
        session = service.create_session(db_session, as_id(user_id))
        session_id, owner = as_id(session.id), as_id(user_id)
        found = service.validate_session(session_id, db_session, owner, True)
        assert found is not None
        assert (found.id, found.owner_id) == (session.id, user_id)
        assert service.extend_session(session_id, db_session) == session.expires_at
        assert service.get_current_model(session_id, db_session) == "good"
        assert service.switch_model(session_id, "paused", db_session, owner).version == 2
        assert service.get_current_model(session_id, db_session) == "paused"


def test_the_five_calls_by_keyword(any_database: Database, service: SessionService, as_id: As) -> None:
    user_id = new_user(any_database)
    with any_database.writing() as db_session:
        session = service.create_session(db_session=db_session, user_id=as_id(user_id))
        session_id, owner = as_id(session.id), as_id(user_id)
        found = service.validate_session(
            session_id=session_id, db_session=db_session, user_id=owner, require_valid=True
        )
        assert found is not None
        assert found.id == session.id
        expires_at = service.extend_session(session_id=session_id, db_session=db_session)
        assert expires_at == session.expires_at
        switched = service.switch_model(
            session_id=session_id, new_model="paused", db_session=db_session, user_id=owner
        )
        assert (switched.last_model, switched.version) == ("paused", 2)
        assert service.get_current_model(session_id=session_id, db_session=db_session) == "paused"


def test_an_anonymous_session_comes_with_its_secret(
    any_database: Database, service: SessionService, as_id: As
) -> None:
    with any_database.writing() as db_session:
        session = service.create_session(db_session)
    assert session.anonymous
    assert session.issued_secret is not None
    credential = Credential.parse(str(Credential(session.id, session.issued_secret)))
    with any_database.writing() as db_session:
        found = service.validate_session(
            as_id(session.id), db_session, require_valid=True, secret_hash=credential.secret_hash
        )
        assert found is not None
        assert service.switch_model(as_id(session.id), "paused", db_session).last_model == "paused"
        assert service.extend_session(as_id(session.id), db_session) == session.expires_at
        assert service.get_current_model(as_id(session.id), db_session) == "paused"
        assert service.create_session(db_session).issued_secret != session.issued_secret


def test_an_issued_secret_is_in_no_table_and_in_no_later_row(any_database: Database, service: SessionService) -> None:
    with any_database.writing() as db_session:
        session = service.create_session(db_session)
    with any_database.reading() as db_session:
        assert db_session.get_one(Session, session.id).issued_secret is None
        stored = db_session.execute(text("SELECT * FROM session")).one()
    secret = session.issued_secret
    assert secret is not None
    assert not any(secret.encode() in bytes(each) for each in stored if isinstance(each, bytes | memoryview))
    assert secret not in f"{stored!r}{service.describe(session)}{session!r}"


def test_no_secret_is_issued_where_another_proof_is_given(any_database: Database, service: SessionService) -> None:
    credential = Credential.issue()
    with any_database.writing() as db_session:
        assert service.create_session(db_session, new_user(any_database)).issued_secret is None
        given = service.create_session(
            db_session, session_id=credential.session_id, secret_hash=credential.secret_hash
        )
        assert (given.issued_secret, given.secret_hash) == (None, credential.secret_hash)
        # The id is taken, and a new secret is not the one that it is proved by.
        with pytest.raises(SessionInvalid):
            service.create_session(db_session, session_id=credential.session_id)


def test_without_require_valid_an_invalid_session_is_none(any_database: Database, service: SessionService) -> None:
    with any_database.writing() as db_session:
        session = service.create_session(db_session, new_user(any_database))
        for session_id in (uuid7(), str(uuid7()), "nonsense", "", str(session.id).upper(), session.id):
            assert service.validate_session(session_id, db_session) is None
        assert service.validate_session(session.id, db_session, uuid4()) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda service, session_id, db: service.validate_session(session_id, db, require_valid=True),
        lambda service, session_id, db: service.extend_session(session_id, db),
        lambda service, session_id, db: service.switch_model(session_id, "good", db),
        lambda service, session_id, db: service.get_current_model(session_id, db),
    ],
    ids=["validate_session", "extend_session", "switch_model", "get_current_model"],
)
def test_what_is_no_session_is_refused_for_what_it_is(
    any_database: Database, service: SessionService, clock: TurnableClock, call: Callable[..., Any]
) -> None:
    with any_database.writing() as db_session:
        swept = service.create_session(db_session, new_user(any_database)).id
        service.delete_sessions([swept], db_session)
        for unknown in (uuid4(), str(uuid4()), "nonsense", "", f"{{{uuid4()}}}"):
            with pytest.raises(SessionInvalid):
                call(service, unknown, db_session)
        for nothing, kind in ((None, "NoneType"), (7, "int"), (b"x" * 16, "bytes"), (db_session, "Session")):
            with pytest.raises(TypeError, match=f"session_id must be a UUID or its text, not {kind}"):
                call(service, nothing, db_session)
        clock.turn(timedelta(days=1))
        for gone in (swept, str(swept)):
            with pytest.raises(SessionExpired):
                call(service, gone, db_session)


@pytest.mark.parametrize(
    "call",
    [
        lambda service, session_id, db, user_id: service.create_session(db, user_id),
        lambda service, session_id, db, user_id: service.validate_session(session_id, db, user_id),
        lambda service, session_id, db, user_id: service.switch_model(session_id, "good", db, user_id),
    ],
    ids=["create_session", "validate_session", "switch_model"],
)
def test_what_is_no_user_is_never_taken_for_an_anonymous_caller(
    any_database: Database, service: SessionService, call: Callable[..., Any]
) -> None:
    with any_database.writing() as db_session:
        session = service.create_session(db_session)
        for malformed in ("", "ada@example.org", "0" * 31):
            with pytest.raises(ValueError, match="user_id is not a UUID"):
                call(service, session.id, db_session, malformed)
        for nothing, kind in ((0, "int"), (False, "bool"), (db_session, "Session")):
            with pytest.raises(TypeError, match=f"user_id must be a UUID or its text, not {kind}"):
                call(service, session.id, db_session, nothing)
        assert db_session.scalars(select(Session.id)).all() == [session.id]


def test_other_arguments_that_do_not_fit_are_refused(any_database: Database, service: SessionService) -> None:
    owner = new_user(any_database)
    with any_database.writing() as db_session:
        with pytest.raises(LoginRequired):
            service.create_session(db_session, str(uuid7()))
        session = service.create_session(db_session, owner)
        for stranger in (None, uuid4(), str(uuid4())):
            with pytest.raises(NotOwner):
                service.switch_model(session.id, "paused", db_session, stranger)
            with pytest.raises(NotOwner):
                service.validate_session(session.id, db_session, stranger, True)
        for model in ("", "gpt-9", None):
            with pytest.raises(UnknownModel):
                service.switch_model(session.id, model, db_session, owner)  # type: ignore[arg-type]
