"""What is refused leaves nothing, and what is accepted needs no broker."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from core.limits.rate import SECOND, Rate
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores.redis import RedisUnavailable
from core.stores.tables import Base, Generation, Message, Session
from tests.support.runtime_of import runtime_of
from tests.support.valkey import Valkey
from tests.web.api.test_session import _create
from web.app import create_app
from web.context import context_of

NOWHERE = "redis://127.0.0.1:1/0"
PASSWORD = "correct horse battery"


@pytest.fixture
def brokerless(settings: Settings) -> Iterator[Flask]:
    """The application while the broker is away."""
    runtime = Runtime(settings.model_copy(update={"configured_broker_url": NOWHERE}), redis_retries=0)
    app = create_app(runtime)
    yield app
    context_of(app).hub.close()
    runtime.close()


def _count(runtime: Runtime, table: type[Base]) -> int:
    with runtime.database.reading() as db:
        return db.scalar(select(func.count()).select_from(table)) or 0


def _guest(runtime: Runtime) -> tuple[Session, dict[str, str]]:
    credential = Credential.issue()
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(
            db, session_id=credential.session_id, secret_hash=credential.secret_hash, model="good"
        )
    return session, {"X-Session-ID": str(credential)}


def _said(client: FlaskClient, headers: dict[str, str]) -> list[str]:
    messages = client.get("/session/messages", headers=headers).get_json()["messages"]
    return [message["text"] for message in messages if message["role"] == "user"]


def test_a_question_is_accepted_without_the_broker_and_answered_when_the_line_is_called(brokerless: Flask) -> None:
    runtime, client = runtime_of(brokerless), brokerless.test_client()
    session, mine = _guest(runtime)
    assert client.post("/chat", json={"message": "Why?"}, headers=mine).status_code == 202
    assert client.post("/chat", json={"message": "Why?"}, headers=mine).status_code == 409
    assert _said(client, mine) == ["Why?"]
    (waiting,) = runtime.reaper.reap().waiting
    assert runtime.writer.run() is None
    with runtime.database.reading() as db:
        assert db.get_one(Generation, waiting).state == "done"
    assert session


def test_a_command_that_can_not_be_queued_leaves_nothing(brokerless: Flask) -> None:
    runtime, client = runtime_of(brokerless), brokerless.test_client()
    key = {"Idempotency-Key": str(uuid7())}
    for _ in range(2):
        assert client.post("/chat", json={"message": "Why?"}, headers=key).status_code == 503
    assert (_count(runtime, Session), _count(runtime, Generation)) == (0, 0)


@pytest.fixture
def strict(stack: Settings) -> Iterator[Flask]:
    """The application over the stack, with one message an hour for users."""
    runtime = Runtime(stack.model_copy(update={"limit_messages_user": Rate(1, 3600 * SECOND, 1)}))
    app = create_app(runtime)
    yield app
    context_of(app).hub.close()
    runtime.close()


def test_a_session_that_was_made_for_a_refused_message_goes_again(strict: Flask) -> None:
    runtime, person = runtime_of(strict), strict.test_client()
    person.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
    assert person.post("/chat", json={"message": "Why?"}).status_code == 202
    person.delete_cookie("switchboard")
    before = _count(runtime, Session)
    key = {"Idempotency-Key": str(uuid7())}
    for _ in range(2):
        assert person.post("/chat", json={"message": "And?"}, headers=key).status_code == 429
    assert person.post("/chat/sse", json={"message": "And?"}).status_code == 429
    assert _count(runtime, Session) == before
    assert len(person.get("/sessions").get_json()["sessions"]) == 1


@pytest.mark.parametrize("happened", [False, True], ids=["lost", "done, but not said"])
@pytest.mark.parametrize("owned", [False, True])
def test_a_question_whose_log_can_not_be_written_stays_nowhere(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, owned: bool, happened: bool
) -> None:
    app = create_app(runtime)
    client, begin = app.test_client(), runtime.log.begin
    if owned:
        client.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
        owner = client.get("/auth/me").get_json()["user_id"]
        with runtime.database.writing() as db:
            session = runtime.sessions.create_session(db, _uuid(owner), model="good")
        mine = {"X-Session-ID": str(session.id)}
    else:
        session, mine = _guest(runtime)

    def fail(*args: Any, **more: Any) -> Any:
        if happened:
            begin(*args, **more)
        raise RedisUnavailable

    monkeypatch.setattr(runtime.log, "begin", fail)
    for _ in range(3):
        assert client.post("/chat", json={"message": "Why?"}, headers=mine).status_code == 503
    monkeypatch.undo()
    assert client.get("/session/messages", headers=mine).get_json()["messages"] == []
    assert client.get("/session/export", headers=mine).get_json()["title"] is None
    assert _count(runtime, Message) == 0
    assert client.get("/session/current", headers=mine).get_json()["active_generation"] is None
    assert client.post("/chat", json={"message": "At last?"}, headers=mine).status_code == 202
    runtime.writer.run()
    assert _said(client, mine) == ["At last?"]
    context_of(app).hub.close()


def _uuid(text: str) -> Any:
    from uuid import UUID

    return UUID(text)


# Who may read what became of a command


def test_a_failed_commands_problem_is_for_its_sender(client: FlaskClient, other: FlaskClient, app: Flask) -> None:
    session_id = _create(client)["session_id"]
    stale = {"Prefer": "respond-async", "If-Match": '"9"'}
    location = client.post("/session/model", json={"model": "paused"}, headers=stale).headers["Location"]
    _create(other)
    for named in (session_id, f"{session_id}.{'x' * 43}"):
        response = app.test_client().get(location, headers={"X-Session-ID": named})
        assert response.status_code == 401
        assert "version" not in response.get_data(as_text=True)
    assert other.get(location).status_code == 403
    assert client.get(location).status_code == 200


# What /readyz tells


def test_a_broker_that_is_away_is_named(brokerless: Flask) -> None:
    missing = brokerless.test_client().get("/readyz").get_json(force=True)["missing"]
    assert "broker" in missing
    assert "redis" not in missing


@pytest.mark.timing
@pytest.mark.parametrize("lose", [Valkey.stop, Valkey.freeze], ids=["stopped", "frozen"])
def test_readiness_is_told_within_half_a_second(own_valkey: Valkey, settings: Settings, lose: Any) -> None:
    away = settings.model_copy(update={"configured_redis_url": own_valkey.url})
    app = create_app(Runtime(away, redis_retries=0, redis_timeout=0.4))
    client = app.test_client()
    client.get("/readyz")
    lose(own_valkey)
    for _ in range(3):
        began = time.monotonic()
        missing = client.get("/readyz").get_json(force=True)["missing"]
        assert time.monotonic() - began < 0.5
        assert missing == ["redis", "broker"]
    own_valkey.thaw()
    context_of(app).hub.close()


def test_a_redis_that_was_demoted_is_not_ready(own_valkey: Valkey, settings: Settings, tmp_path: Path) -> None:
    app = create_app(Runtime(settings.model_copy(update={"configured_redis_url": own_valkey.url}), redis_retries=0))
    own_valkey.client().execute_command("REPLICAOF", "127.0.0.1", "1")
    refusing = {"redis, which takes no writes", "broker"}
    assert set(app.test_client().get("/readyz").get_json(force=True)["missing"]) == refusing
    own_valkey.client().execute_command("REPLICAOF", "NO", "ONE")
    assert not refusing & set(app.test_client().get("/readyz").get_json(force=True)["missing"])
    context_of(app).hub.close()
