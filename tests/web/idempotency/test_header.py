"""A request that is sent again under its key does nothing again."""

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from core.runtime import Runtime
from core.settings import Settings
from core.stores.tables import Generation, Session
from tests.conftest import new_user
from tests.support.waiting import wait_for
from tests.web.api.test_session import _answered, _create, _problem
from web.app import create_app
from web.errors import IdempotencyInFlight, IdempotencyMismatch
from web.idempotency.header import parse_key
from web.idempotency.records import Answered, Begun, Idempotency, Request

HELLO = {"message": "Why?"}


def _key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


def _count(runtime: Runtime, table: type[Session] | type[Generation]) -> int:
    with runtime.database.reading() as db:
        return db.scalar(select(func.count()).select_from(table)) or 0


def _count_since(runtime: Runtime, table: type[Session] | type[Generation], moment: datetime) -> int:
    """How many were made since then; older ones may be swept meanwhile."""
    with runtime.database.reading() as db:
        return db.scalar(select(func.count()).where(table.created_at >= moment)) or 0


def _cookie(response: TestResponse) -> str:
    """The cookie without its attributes: they name the second at which it was made."""
    return response.headers["Set-Cookie"].split(";")[0]


def _idle(client: FlaskClient) -> None:
    _answered(client)


def test_a_creation_that_is_sent_again_gives_the_same_session_and_cookie(
    client: FlaskClient, other: FlaskClient, web_runtime: Runtime
) -> None:
    before, key = _count(web_runtime, Session), _key()
    first = client.post("/session/create", json={"model": "paused"}, headers=key)
    with_its_cookie = client.post("/session/create", json={"model": "paused"}, headers=key)
    answer_was_lost = other.post("/session/create", json={"model": "paused"}, headers=key)
    assert first.status_code == 201
    for again in (with_its_cookie, answer_was_lost):
        assert again.status_code == 201
        assert again.get_data() == first.get_data()
        assert _cookie(again) == _cookie(first)
        assert again.headers["ETag"] == first.headers["ETag"]
        assert again.headers["Cache-Control"] == "no-store"
    assert _count(web_runtime, Session) == before + 1
    assert other.get("/session/current").get_json()["session_id"] == first.get_json()["session_id"]


def test_other_keys_give_other_sessions(client: FlaskClient) -> None:
    first, second = (client.post("/session/create", headers=_key()) for _ in range(2))
    assert first.get_json()["session_id"] != second.get_json()["session_id"]
    assert _cookie(first) != _cookie(second)


def test_the_same_key_from_another_address_is_another_key(client: FlaskClient, other: FlaskClient) -> None:
    key = _key()
    first = client.post("/session/create", headers=key)
    elsewhere = other.post("/session/create", headers=key, environ_base={"REMOTE_ADDR": "198.51.100.7"})
    assert first.get_json()["session_id"] != elsewhere.get_json()["session_id"]
    assert _cookie(first) != _cookie(elsewhere)


def test_a_message_that_is_sent_again_is_answered_once(client: FlaskClient, web_runtime: Runtime) -> None:
    _create(client)
    before, key = _count(web_runtime, Generation), _key()
    first = client.post("/chat", json=HELLO, headers=key)
    at_once = client.post("/chat", json=HELLO, headers=key)
    _idle(client)
    later = client.post("/chat", data=b'{ "message" : "Why?" }', content_type="application/json", headers=key)
    assert [answer.status_code for answer in (first, at_once, later)] == [202] * 3
    assert first.get_json() == at_once.get_json() == later.get_json()
    assert _count(web_runtime, Generation) == before + 1
    assert len(client.get("/session/messages").get_json()["messages"]) == 2
    assert client.post("/chat", json=HELLO, headers=_key()).get_json() != first.get_json()


def test_a_first_message_that_is_sent_again_makes_one_session(
    client: FlaskClient, other: FlaskClient, web_runtime: Runtime
) -> None:
    before, key = (_count(web_runtime, Session), _count(web_runtime, Generation)), _key()
    first = client.post("/chat", json=HELLO, headers=key)
    with_its_cookie = client.post("/chat", json=HELLO, headers=key)
    answer_was_lost = other.post("/chat", json=HELLO, headers=key)
    for again in (with_its_cookie, answer_was_lost):
        assert again.get_json() == first.get_json()
        assert _cookie(again) == _cookie(first)
    after = _count(web_runtime, Session), _count(web_runtime, Generation)
    assert after == (before[0] + 1, before[1] + 1)
    assert other.get("/session/current").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "another"), [("/chat", HELLO, {"message": "How?"}), ("/session/create", {}, {"model": "paused"})]
)
def test_another_body_under_the_same_key_is_refused(
    client: FlaskClient, path: str, body: dict[str, str], another: dict[str, str]
) -> None:
    _create(client)
    key = _key()
    first = client.post(path, json=body, headers=key)
    _problem(client.post(path, json=another, headers=key), 422, "idempotency-mismatch")
    assert client.post(path, json=body, headers=key).get_json() == first.get_json()


def test_a_key_belongs_to_the_session_that_sent_it(client: FlaskClient, other: FlaskClient) -> None:
    mine, yours, key = _create(client), _create(other), _key()
    first = client.post("/chat", json=HELLO, headers=key).get_json()
    second = other.post("/chat", json=HELLO, headers=key).get_json()
    assert (first["session_id"], second["session_id"]) == (mine["session_id"], yours["session_id"])
    forged = {**key, "X-Session-ID": f"{mine['session_id']}.{'x' * 43}"}
    _problem(other.post("/chat", json=HELLO, headers=forged), 401, "session-invalid")


def test_a_key_belongs_to_the_user_who_sent_it(
    app: Flask, web_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.auth.principal import Principal

    users = [Principal(new_user(web_runtime.database), "login") for _ in range(2)]
    key = _key()
    answers: list[TestResponse] = []
    for user in (users[0], users[1], users[0]):
        with monkeypatch.context() as patch:
            for module in ("api.session_creation", "auth.creation_plan", "idempotency.header"):
                patch.setattr(f"web.{module}.current_principal", lambda user=user: user)
            # Another address each time: a user is the same everywhere.
            origin = {"REMOTE_ADDR": f"198.51.100.{len(answers)}"}
            answers.append(app.test_client().post("/session/create", headers=key, environ_base=origin))
    ids = [answer.get_json()["session_id"] for answer in answers]
    assert ids[0] == ids[2] != ids[1]
    assert _cookie(answers[0]) == _cookie(answers[2])
    assert "." not in _cookie(answers[0]), "a user's session has no secret"


def test_an_error_is_not_kept(client: FlaskClient) -> None:
    key = _key()
    _problem(client.post("/session/create", json={"model": "nonsense"}, headers=key), 422, "unknown-model")
    assert client.post("/session/create", json={"model": "good"}, headers=key).status_code == 201


def test_after_a_refusal_the_same_key_may_be_tried_again(client: FlaskClient, provider: Any) -> None:
    provider.go_on.clear()
    _create(client)
    client.post("/chat", json={"message": "First", "model": "paused"})
    key = _key()
    _problem(client.post("/chat", json=HELLO, headers=key), 409, "generation-in-progress")
    provider.go_on.set()
    _idle(client)
    assert client.post("/chat", json=HELLO, headers=key).status_code == 202


def test_an_answer_is_not_given_for_a_session_that_has_ended(client: FlaskClient) -> None:
    key = _key()
    client.post("/chat", json=HELLO, headers=key)
    cookie = client.get_cookie("switchboard")
    assert cookie is not None
    assert client.delete("/session").status_code == 204
    ended = client.post("/chat", json=HELLO, headers={**key, "X-Session-ID": cookie.value})
    assert ended.status_code == 401


def test_an_answer_that_is_still_pending_is_repeated_as_pending(client: FlaskClient) -> None:
    headers = {**_key(), "Prefer": "respond-async"}
    first, again = (client.post("/session/create", headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.headers["Location"] == again.headers["Location"]
    assert first.headers["Preference-Applied"] == again.headers["Preference-Applied"]
    wait_for(lambda: client.get(first.headers["Location"]).get_json()["state"] == "done")


@pytest.mark.parametrize("key", ["", '""', '"unclosed', 'inner"quote', '"bad\\escape"', "k" * 256, "tab\tbed", "é"])
def test_what_is_no_key_is_refused(client: FlaskClient, key: str) -> None:
    headers = {"Idempotency-Key": key.encode().decode("latin-1")}
    _problem(client.post("/session/create", headers=headers), 400, "idempotency-key-invalid")


@pytest.mark.parametrize(
    ("header", "key"), [("a-1", "a-1"), ('"a-1"', "a-1"), ('"a\\"\\\\b"', 'a"\\b'), ("k" * 255, "k" * 255)]
)
def test_a_key_may_be_quoted(header: str, key: str) -> None:
    assert parse_key(header) == key


def test_without_redis_a_key_promises_nothing(settings: Settings) -> None:
    away = settings.model_copy(update={"configured_redis_url": "redis://127.0.0.1:1"})
    client = create_app(Runtime(away, redis_retries=0)).test_client()
    response = client.post("/session/create", headers=_key())
    _problem(response, 503, "unavailable")
    assert response.headers["Retry-After"]


def test_redis_holds_neither_key_nor_secret_nor_words_nor_address(client: FlaskClient, web_runtime: Runtime) -> None:
    key = _key()
    canary = "canary-4711"
    client.post("/chat", json={"message": canary}, headers=key, environ_base={"REMOTE_ADDR": "198.51.100.77"})
    cookie = client.get_cookie("switchboard")
    assert cookie is not None
    secret = cookie.value.partition(".")[2]
    redis = web_runtime.redis
    records = {name: redis.hgetall(name) for name in redis.scan_iter("sb:once:*")}
    stored = json.dumps(records)
    assert cookie.value.partition(".")[0] in stored, "the record is looked at"
    for private in (secret, canary, key["Idempotency-Key"], "198.51.100.77"):
        assert private not in stored
    longest = web_runtime.settings.anonymous_max.total_seconds()
    assert all(0 < redis.ttl(name) <= longest for name in records)


def test_of_racing_threads_one_creates(app: Flask, web_runtime: Runtime) -> None:
    """A repeat while the first request is under way is told so; a later one gets its answer."""
    before, key = _count(web_runtime, Generation), _key()
    session = app.test_client().post("/session/create")
    cookie = _cookie(session).partition("=")[2]
    start, answers = threading.Barrier(12), []

    def post() -> None:
        client = app.test_client()
        start.wait()
        answers.append(client.post("/chat", json=HELLO, headers={**key, "X-Session-ID": cookie}))

    threads = [threading.Thread(target=post) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.get_data() for answer in answers if answer.status_code == 202}) == 1
    for answer in answers:
        if answer.status_code == 409:
            _problem(answer, 409, "idempotency-in-flight")
            assert answer.headers["Retry-After"]
    assert _count(web_runtime, Generation) == before + 1


RACER = """
import json, sys
from core.runtime import Runtime
from core.settings import Settings
from tests.support.waiting import wait_for
from web.app import create_app

client = create_app(Runtime(Settings())).test_client()
client.get("/healthz")
print("ready", flush=True)
sys.stdin.readline()
def attempt():
    answer = client.post("/chat", json={"message": "Why?"}, headers={"Idempotency-Key": sys.argv[1]})
    return None if answer.status_code == 409 else answer

answer = wait_for(attempt)
cookie = answer.headers["Set-Cookie"].split(";")[0]
print(json.dumps([answer.status_code, answer.get_json(), cookie]), flush=True)
"""


def test_of_racing_processes_one_creates(stack: Settings, web_runtime: Runtime) -> None:
    began = datetime.now(UTC)
    environment = {
        **os.environ,
        "REDIS_URL": stack.redis_url,
        "DATABASE_URL": stack.database_url,
        "SWITCHBOARD_MODELS": str(stack.models_path),
        "SWITCHBOARD_LIMIT_CREATE": "off",
    }
    key = str(uuid4())
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, key],
            cwd=Path(__file__).parents[3],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.communicate(timeout=60)[0] for racer in racers]
    status, accepted, _ = json.loads(answers[0])
    assert status == 202, answers
    assert len(set(answers)) == 1
    assert accepted["session_id"]
    assert [_count_since(web_runtime, table, began) for table in (Session, Generation)] == [1, 1]


def test_a_repeat_after_a_crash_creates_nothing_else(
    app: Flask, web_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after the message was accepted and before its answer was kept."""
    before, key = _count(web_runtime, Generation), _key()
    with monkeypatch.context() as patch:
        patch.setattr(Idempotency, "answer", lambda *_, **__: None)
        first = app.test_client().post("/chat", json=HELLO, headers=key)
    again = app.test_client()
    _problem(again.post("/chat", json=HELLO, headers=key), 409, "idempotency-in-flight")
    for name in web_runtime.redis.scan_iter("sb:once:*"):  # as if a minute had passed
        if web_runtime.redis.hexists(name, "held_until"):
            web_runtime.redis.hset(name, "held_until", 1)
    repeat = again.post("/chat", json=HELLO, headers=key)
    assert repeat.status_code == 202
    assert repeat.get_json()["generation_id"] == first.get_json()["generation_id"]
    assert _cookie(repeat) == _cookie(first)
    assert again.get("/session/current").status_code == 200
    assert _count(web_runtime, Generation) == before + 1


class TestRecords:
    """The domain's part, on an empty Redis."""

    @pytest.fixture
    def records(self, runtime: Runtime) -> Idempotency:
        return Idempotency(runtime.limits_redis)

    def test_one_begins_and_the_others_are_told(self, records: Idempotency) -> None:
        request = Request("user 1", "key", b"body")
        begun = records.begin(request)
        assert isinstance(begun, Begun)
        with pytest.raises(IdempotencyInFlight):
            records.begin(request)
        with pytest.raises(IdempotencyMismatch):
            records.begin(Request("user 1", "key", b"other body"))
        assert isinstance(records.begin(Request("user 2", "key", b"body")), Begun)
        records.answer(begun, {"status": 201})
        answered = records.begin(request)
        assert answered == Answered(begun.plan, {"status": 201})

    def test_what_was_forgotten_begins_anew_with_another_plan(self, records: Idempotency) -> None:
        request = Request("user 1", "key", b"body")
        first = records.begin(request)
        assert isinstance(first, Begun)
        records.forget(first)
        second = records.begin(Request("user 1", "key", b"other body"))
        assert second.plan != first.plan
        records.forget(first)  # late: the key is another request's now
        records.answer(first, {"status": 201})
        with pytest.raises(IdempotencyInFlight):
            records.begin(Request("user 1", "key", b"other body"))

    def test_after_its_validity_an_answer_is_sought_again_by_the_same_plan(self, records: Idempotency) -> None:
        request = Request("user 1", "key", b"body")
        first = records.begin(request)
        assert isinstance(first, Begun)
        records.answer(first, {"status": 202}, timedelta(0))
        second = records.begin(request)
        assert isinstance(second, Begun)
        assert second.plan == first.plan

    def test_a_plan_is_of_this_key_and_of_this_record(self, records: Idempotency) -> None:
        plans = [records.begin(Request(scope, key, b"")).plan for scope in "ab" for key in ("k", "l")]
        assert len({plan.session.secret for plan in plans}) == 4
        assert {len(plan.session.secret or "") for plan in plans} == {43}
        assert all(isinstance(plan.session.session_id, UUID) for plan in plans)

    def test_the_record_goes_after_a_day(self, records: Idempotency, runtime: Runtime) -> None:
        records.begin(Request("user 1", "key", b"body"))
        (name,) = runtime.redis.scan_iter("sb:once:*")
        assert 86_390 < runtime.redis.ttl(name) <= 86_400
