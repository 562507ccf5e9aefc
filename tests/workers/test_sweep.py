"""The sweep as beat has it run: what it says of how far it has come."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import SQLAlchemyError
from uuid_utils.compat import uuid7

from core.errors import Unavailable
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores.tables import AuditEvent, Login, Session, User
from tests.conftest import TurnableClock
from workers import maintenance

pytestmark = pytest.mark.one_database  # each has an own one, of either kind


@pytest.fixture
def sweeping(
    settings: Settings, any_database_url: str, clock: TurnableClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runtime]:
    """What the task works with: 5 sessions have expired."""
    own = Settings(
        _env_file=None,
        configured_redis_url=settings.redis_url,
        configured_database_url=any_database_url,
        models_path=settings.models_path,
        state_dir=tmp_path,
    )
    runtime = Runtime(own, clock=clock)
    monkeypatch.setattr(maintenance, "runtime", runtime)
    for _ in range(5):
        new = Credential.issue()
        with runtime.database.writing() as db:
            runtime.sessions.create_session(db, session_id=new.session_id, secret_hash=new.secret_hash)
    with runtime.database.writing() as db:
        db.execute(update(Session).values(expires_at=clock.now()))
    yield runtime
    runtime.close()


def _counted(runtime: Runtime) -> float | None:
    return runtime.counters.registry.get_sample_value("switchboard_swept_sessions_total")


def test_a_run_that_dies_has_counted_and_told_what_it_has_deleted(
    sweeping: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    with sweeping.database.writing() as db:
        db.execute(text("DROP TABLE audit_event"))
    with caplog.at_level(logging.INFO), pytest.raises((Unavailable, SQLAlchemyError)):
        maintenance.sweep_expired()
    assert _counted(sweeping) == 5
    assert "the sweep ends early, with 5 sessions, 0 accounts, 0 logins, 0 audit events done" in caplog.messages


def test_a_run_is_counted_and_told_of_while_it_goes_on(
    sweeping: Runtime, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.operations.progress.LOG_INTERVAL", 0.0)
    counted: list[float | None] = []

    def note(_: logging.LogRecord) -> bool:
        counted.append(_counted(sweeping))
        return True

    with caplog.at_level(logging.INFO):
        caplog.handler.addFilter(note)
        maintenance.sweep_expired()
        caplog.handler.removeFilter(note)
    done = "5 sessions, 0 accounts, 0 logins, 0 audit events"
    assert caplog.messages == [
        f"the sweep goes on, with {done} done",
        f"swept {done}; 0 sessions are left, the oldest 0 s late",
    ]
    assert counted == [5, 5]


def test_a_short_run_has_one_line(sweeping: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        maintenance.sweep_expired()
    assert len(caplog.messages) == 1


def test_all_that_is_deleted_is_counted_by_its_kind(sweeping: Runtime, clock: TurnableClock) -> None:
    now = clock.now()
    users = [User(id=uuid7(), created_at=now) for _ in range(4)]
    for given_up in users[:3]:
        given_up.deleted_at = now
    with sweeping.database.writing() as db:
        db.add_all(users)
        db.flush()
        for _ in range(2):
            db.add(
                Login(
                    id=uuid7(),
                    user_id=users[3].id,
                    secret_hash=b"x" * 32,
                    created_at=now,
                    last_used_at=now,
                    expires_at=now,
                    ends_at=now,
                )
            )
        db.add(AuditEvent(id=uuid7(), at=now - timedelta(days=400), kind="login"))
    maintenance.sweep_expired()
    swept = {
        kind: sweeping.counters.registry.get_sample_value(f"switchboard_swept_{kind}_total")
        for kind in ("sessions", "accounts", "logins", "audit_events")
    }
    assert swept == {"sessions": 5, "accounts": 3, "logins": 2, "audit_events": 1}
