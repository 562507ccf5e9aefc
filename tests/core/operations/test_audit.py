import logging
from datetime import timedelta
from time import monotonic
from uuid import uuid4

import pytest

from core.operations.audit import MAX_REMEMBERED_REFUSALS, Audit, Kind
from core.stores.database import Database
from tests.conftest import TurnableClock


@pytest.fixture
def audit(any_database: Database, clock: TurnableClock) -> Audit:
    return Audit(any_database, clock)


def test_what_is_recorded_is_read_oldest_first(audit: Audit, clock: TurnableClock) -> None:
    user, session = uuid4(), uuid4()
    audit.record(Kind.LOGIN, user_id=user)
    clock.turn(timedelta(seconds=1))
    audit.record(Kind.SESSION_DELETED, user_id=user, session_id=session, detail="by its owner")
    first, second = audit.read()
    assert (first.kind, first.user_id, first.session_id, first.detail) == ("login", user, None, None)
    assert (second.kind, second.session_id, second.detail) == ("session-deleted", session, "by its owner")
    assert second.at == clock.now()
    assert [event.kind for event in audit.read(limit=1)] == ["session-deleted"]
    assert [event.kind for event in audit.read(since=clock.now())] == ["session-deleted"]


def test_what_is_older_than_the_retention_goes_and_nothing_else(
    audit: Audit, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.operations.audit.BATCH", 2)
    for _ in range(5):
        audit.record(Kind.LOGIN)
    clock.turn(timedelta(days=1))
    audit.record(Kind.LOGOUT)
    clock.turn(timedelta(seconds=1))

    assert audit.delete_old(None) == 0
    assert audit.delete_old(timedelta(days=1), until=monotonic()) == 0
    told: list[int] = []
    assert audit.delete_old(timedelta(days=1), on_deleted=told.append) == 5
    assert told == [2, 2, 1]
    assert [event.kind for event in audit.read()] == ["logout"]


def test_a_refusal_that_repeats_is_written_once(audit: Audit) -> None:
    user, session = uuid4(), uuid4()
    for _ in range(100):
        audit.refusal(Kind.NOT_OWNER, user_id=user, session_id=session)
        audit.refusal(Kind.LIMITED, user_id=user, detail="messages")
    audit.refusal(Kind.NOT_OWNER, session_id=session)
    assert [event.kind for event in audit.read()] == ["not-owner", "limited", "not-owner"]


def test_what_is_remembered_of_refusals_has_a_bound(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Audit, "record", lambda *_, **__: None)
    for _ in range(MAX_REMEMBERED_REFUSALS + 10):
        audit.refusal(Kind.NOT_OWNER, session_id=uuid4())
    assert len(audit._refused) == MAX_REMEMBERED_REFUSALS


def test_when_it_can_not_be_written_nothing_else_fails(
    clock: TurnableClock, caplog: pytest.LogCaptureFixture
) -> None:
    audit = Audit(Database("postgresql+psycopg://nobody@127.0.0.1:1/none"), clock)
    with caplog.at_level(logging.WARNING):
        audit.record(Kind.LOGIN, user_id=uuid4())
    assert "audit event (login) was not written" in caplog.text
