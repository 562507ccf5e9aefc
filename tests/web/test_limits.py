"""Limits over HTTP: what clients are told, what is refused, and what happens without Redis."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from core.clock import rfc3339
from core.limits.rate import parse_rate
from core.migrations.runner import migrate
from core.runtime import Runtime
from core.sessions.credential import Credential
from core.settings import Settings
from core.stores.tables import Session
from tests.support.provider import ProviderServer
from tests.support.runtime_of import runtime_of
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.web.api.test_session import WORKERS_OWN, _answered
from web.app import create_app
from web.context import context_of

DEADLINE = 0.5
"""Seconds in which a request must be answered that can't be counted."""
TOLD_DEADLINE = 0.8
"""The same where the user's other tabs are to be told as well, which waits for Redis once more."""

Limited = Callable[..., Flask]


@pytest.fixture
def limited(stack: Settings) -> Iterator[Limited]:
    """Makes applications over the stack whose limits are the given ones, as options say them."""
    made: list[tuple[Flask, Runtime]] = []

    def make(**limits: Any) -> Flask:
        runtime = Runtime(stack.model_copy(update={name: _option(value) for name, value in limits.items()}))
        runtime.limits_redis.delete(*runtime.limits_redis.keys("sb:{limit}:*"), "nothing")
        app = create_app(runtime)
        made.append((app, runtime))
        return app

    yield make
    for app, runtime in made:
        context_of(app).hub.close()
        runtime.close()


def _option(value: object) -> object:
    return parse_rate(value) if isinstance(value, str) else value


def _from(client: FlaskClient, address: str, path: str, **body: Any) -> TestResponse:
    return client.post(path, json=body, environ_base={"REMOTE_ADDR": address})


def _keys(runtime: Runtime) -> set[str]:
    return {key for key in map(str, runtime.redis.scan_iter("sb:*")) if not key.startswith(WORKERS_OWN)}


def _rows(runtime: Runtime) -> int:
    with runtime.database.reading() as db:
        return db.scalar(select(func.count()).select_from(Session)) or 0


def test_a_refusal_of_the_network_is_told_in_the_header_too(limited: Limited) -> None:
    app = limited(limit_create="20/h:1", limit_create_global="5000/h:500")
    told = [_from(app.test_client(), f"198.51.100.{number}", "/session/create") for number in range(1, 6)]
    assert [response.status_code for response in told] == [201, 201, 201, 201, 429]
    assert {response.headers["RateLimit-Policy"] for response in told[:4]} == {'"create";q=1;w=180'}
    refused = told[4]  # its first request ever, whose own limit has a place left
    assert refused.get_json(force=True)["limit"] == "create-network"
    own, network = refused.headers["RateLimit"].split(", ")
    assert own.startswith('"create";r=1')
    assert network.startswith('"create-network";r=0;t=')
    assert 0 < int(network.rpartition("=")[2]) <= int(refused.headers["Retry-After"])
    assert '"create-network";q=4;w=' in refused.headers["RateLimit-Policy"]


def test_admitted_and_refused_creations_tell_how_the_client_stands(limited: Limited) -> None:
    app = limited(limit_create="20/h:2", limit_create_global="5000/h:500")
    told = [_from(app.test_client(), "192.0.2.1", "/session/create") for _ in range(3)]
    assert [response.status_code for response in told] == [201, 201, 429]
    assert {response.headers["RateLimit-Policy"] for response in told} == {'"create";q=2;w=360'}
    assert told[0].headers["RateLimit"] in ('"create";r=1;t=180', '"create";r=1;t=179')
    assert told[1].headers["RateLimit"].startswith('"create";r=0;t=')
    refused = told[2]
    assert refused.headers["RateLimit"].startswith('"create";r=0;t=')
    assert refused.content_type == "application/problem+json"
    problem = refused.get_json(force=True)
    assert (problem["type"], problem["limit"]) == ("/problems/rate-limited", "create")
    # The draft, 6: never earlier than the end of the effective window.
    window = int(refused.headers["RateLimit"].rpartition("=")[2])
    assert window <= int(refused.headers["Retry-After"]) <= 180
    assert "Set-Cookie" not in refused.headers


def test_a_refused_creation_touches_nothing(limited: Limited, web_runtime: Runtime) -> None:
    app = limited(limit_create="20/h:1")
    assert _from(app.test_client(), "192.0.2.1", "/session/create").status_code == 201
    rows, keys = _rows(web_runtime), _keys(web_runtime)
    for path, body in (("/session/create", {}), ("/chat", {"message": "x"}), ("/chat/sse", {"message": "x"})):
        response = _from(app.test_client(), "192.0.2.1", path, **body)
        assert (response.status_code, response.get_json(force=True)["limit"]) == (429, "create")
    assert _rows(web_runtime) == rows
    assert _keys(web_runtime) <= keys


def test_a_first_message_tells_of_every_limit_it_was_counted_by(limited: Limited) -> None:
    app = limited(limit_create="20/h:5", limit_messages_anonymous="15/m")
    for path in ("/chat", "/chat/sse"):
        response = _from(app.test_client(), "192.0.2.1", path, message="Why?")
        policies, limits = response.headers["RateLimit-Policy"], response.headers["RateLimit"]
        assert policies == (
            '"create";q=5;w=900, "messages";q=15;w=60, "tokens";q=500000;qu="tokens";w=86400,'
            ' "concurrent";q=1;qu="concurrent-requests"'
        )
        told = r'"create";r=[34];t=1\d\d, "messages";r=14;t=[34], "tokens";r=499899;t=1, "concurrent";r=0'
        assert re.fullmatch(told, limits)
        response.close()


def test_messages_are_refused_by_rate_but_not_before_a_live_answer(
    limited: Limited, provider: ProviderServer
) -> None:
    client = limited(limit_messages_anonymous="2/h").test_client()
    provider.go_on.clear()
    assert client.post("/chat", json={"message": "Why?", "model": "paused"}).status_code == 202
    for _ in range(3):
        busy = client.post("/chat", json={"message": "And?"})
        assert (busy.status_code, "RateLimit" in busy.headers) == (409, False)
    provider.go_on.set()
    _answered(client)
    assert client.post("/chat", json={"message": "And?", "model": "good"}).status_code == 202
    _answered(client)
    refused = client.post("/chat", json={"message": "And?"})
    assert (refused.status_code, refused.get_json(force=True)["limit"]) == (429, "messages")
    assert refused.headers["RateLimit"].startswith('"messages";r=0;t=')
    assert int(refused.headers["Retry-After"]) > 1700


def test_what_is_not_limited_tells_of_no_limits(client: FlaskClient) -> None:
    for path in ("/", "/healthz", "/config/models", "/session/current", "/nowhere"):
        assert not {"RateLimit", "RateLimit-Policy"} & set(client.get(path).headers.keys())


def test_of_parallel_creations_a_burst_is_admitted(limited: Limited, web_runtime: Runtime) -> None:
    apps = [limited(limit_create="20/h:5") for _ in range(2)]
    before = _rows(web_runtime)
    start = threading.Barrier(40)
    statuses: list[int] = []

    def create(app: Flask) -> None:
        start.wait()
        statuses.append(_from(app.test_client(), "192.0.2.1", "/session/create").status_code)

    senders = [threading.Thread(target=create, args=(app,)) for app in apps * 20]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert statuses.count(429) == 35
    assert set(statuses) <= {201, 202, 429}
    wait_for(lambda: _rows(web_runtime) == before + 5)


def test_addresses_count_by_themselves(limited: Limited) -> None:
    app = limited(limit_create="20/h:1")
    assert _from(app.test_client(), "2001:db8:1:1::1", "/session/create").status_code == 201
    assert _from(app.test_client(), "2001:db8:1:1:ffff::2", "/session/create").status_code == 429
    assert _from(app.test_client(), "2001:db8:1:2::1", "/session/create").status_code == 201


def test_a_made_up_forwarding_counts_for_nothing(limited: Limited) -> None:
    app = limited(limit_create="20/h:1")
    statuses = [
        app.test_client().post("/session/create", headers={"X-Forwarded-For": f"203.0.113.{last}"}).status_code
        for last in (1, 2)
    ]
    assert statuses == [201, 429]


def test_behind_a_proxy_the_client_counts_and_not_the_proxy(limited: Limited) -> None:
    app = limited(limit_create="20/h:1", trusted_proxies=1)
    statuses = [
        app.test_client().post("/session/create", headers={"X-Forwarded-For": forwarded}).status_code
        for forwarded in ("203.0.113.1", "203.0.113.2", "6.6.6.6, 203.0.113.1")
    ]
    assert statuses == [201, 201, 429]


# What users and guests do with their sessions


PASSWORD = "correct horse battery staple"
OWN_CHANGES: dict[str, tuple[str, str, dict[str, str]]] = {
    "switch": ("POST", "/session/model", {"model": "paused"}),
    "refresh": ("POST", "/session/refresh", {}),
    "rename": ("PATCH", "/session", {"title": "Blue skies"}),
    "open": ("POST", "/session/open", {"session_id": ""}),
    "claim": ("POST", "/session/claim", {}),
    "stop": ("POST", "/chat/stop", {}),
    "keys": ("POST", "/auth/keys", {"name": "backup"}),
    "export": ("GET", "/session/export", {}),
    "read": ("GET", "/session/messages", {}),
}
"""By the limit that counts it: what a user may do to a session of theirs, or take from it."""
GUESTS = ("switch", "refresh", "stop", "export", "read")


def _user(app: Flask) -> FlaskClient:
    client = app.test_client()
    body = {"email": f"{uuid4().hex}@example.org", "password": PASSWORD}
    assert client.post("/auth/register", json=body).status_code == 201
    return client


def _refused(response: TestResponse, limit: str) -> None:
    assert response.status_code == 429, response.text
    assert response.get_json(force=True)["limit"] == limit
    assert int(response.headers["Retry-After"]) > 0
    assert f'"{limit}";r=0' in response.headers["RateLimit"]
    assert f'"{limit}";q=2' in response.headers["RateLimit-Policy"]


@pytest.mark.parametrize("limit", OWN_CHANGES)
@pytest.mark.parametrize("guest", [False, True], ids=["user", "guest"])
def test_what_an_owner_does_to_sessions_has_a_rate_of_its_own(limited: Limited, limit: str, guest: bool) -> None:
    if guest and limit not in GUESTS:
        return
    app = limited(limit_changes="2/h", limit_export="2/h", limit_read="2/h")
    client, another = (app.test_client(), app.test_client()) if guest else (_user(app), _user(app))
    created = client.post("/session/create").get_json()
    another.post("/session/create")
    method, path, body = OWN_CHANGES[limit]
    body = {"session_id": created["session_id"]} if "session_id" in body else body

    def send(by: FlaskClient) -> TestResponse:
        return by.open(path, method=method, json=body if method != "GET" else None)

    assert [send(client).status_code == 429 for _ in range(2)] == [False, False]
    before = client.get("/session/current").get_json()
    _refused(send(client), limit)
    assert client.get("/session/current").get_json() == before
    # Neither other limits of the same owner nor other owners are touched.
    other = OWN_CHANGES["stop" if limit == "refresh" else "refresh"]
    assert client.open(other[1], method=other[0], json=other[2]).status_code != 429
    if limit != "open":
        assert send(another).status_code != 429


def test_the_model_of_a_message_is_a_switch_too(limited: Limited) -> None:
    client = limited(limit_changes="2/h").test_client()
    client.post("/session/create", json={"model": "good"})
    assert client.post("/session/model", json={"model": "paused"}).status_code == 200
    assert client.post("/config/models/switch", json={"model": "good"}).status_code == 200
    _refused(client.post("/chat", json={"message": "Why?", "model": "paused"}), "switch")
    assert client.post("/chat", json={"message": "Why?", "model": "good"}).status_code == 202
    _answered(client)


def test_all_sessions_of_a_user_share_their_owners_limits(limited: Limited) -> None:
    client = _user(limited(limit_changes="2/h", limit_create_user="300/h:2"))
    named = [{"X-Session-ID": client.post("/session/create").get_json()["session_id"]} for _ in range(2)]
    _refused(client.post("/session/create"), "create")
    client.delete_cookie("switchboard")
    _refused(client.post("/chat", json={"message": "Why?"}), "create")
    for headers in named:
        assert client.post("/session/refresh", headers=headers).status_code == 200
    _refused(client.post("/session/refresh", headers=named[0]), "refresh")


def test_a_strangers_tries_use_up_nothing_of_the_holders(limited: Limited) -> None:
    app = limited(limit_changes="2/h", limit_idempotency="2/h")
    client, stranger = app.test_client(), app.test_client()
    session_id = client.post("/session/create").get_json()["session_id"]
    for each in range(5):
        forged = {"X-Session-ID": f"{session_id}.{'x' * 43}", "Idempotency-Key": f"key {each}"}
        assert stranger.post("/session/refresh", headers=forged).status_code == 401
        assert stranger.post("/chat", json={"message": "Why?"}, headers=forged).status_code in (401, 429)
    assert client.post("/session/refresh").status_code == 200
    mine = {"Idempotency-Key": "mine"}
    assert client.post("/chat", json={"message": "Why?"}, headers=mine).status_code == 202
    _answered(client)


def test_more_sessions_than_a_user_may_have_are_refused_before_the_queue(limited: Limited) -> None:
    app = limited(sessions_per_user=2)
    client, guest = _user(app), app.test_client()
    made = [client.post("/session/create").get_json()["session_id"] for _ in range(2)]
    guest.post("/session/create")
    theirs = guest.get_cookie("switchboard")
    assert theirs is not None
    client.delete_cookie("switchboard")
    tries: list[tuple[str, dict[str, str], dict[str, str]]] = [
        ("/session/create", {}, {"Prefer": "respond-async"}),
        ("/session/create", {}, {"Idempotency-Key": "again"}),
        ("/chat", {"message": "Why?"}, {}),
        ("/chat/sse", {"message": "Why?"}, {}),
        ("/session/claim", {}, {"X-Session-ID": theirs.value}),
    ]
    for path, body, headers in tries:
        response = client.post(path, json=body, headers=headers)
        problem = response.get_json(force=True)
        assert (response.status_code, problem["type"]) == (409, "/problems/too-many-sessions"), path
        assert problem["limit"] == 2
        assert "You have 2 sessions" in problem["detail"]
        assert "delete" in problem["detail"]
        assert client.get_cookie("switchboard") is None
    assert len(client.get("/sessions").get_json()["sessions"]) == 2
    assert guest.get("/session/current").status_code == 200
    assert client.delete("/session", headers={"X-Session-ID": made[0]}).status_code == 204
    assert client.post("/session/create", headers={"Idempotency-Key": "again"}).status_code == 201


@pytest.mark.parametrize("who", ["user", "guest", "address"])
def test_new_idempotency_keys_have_a_rate_and_repeats_have_none(limited: Limited, who: str) -> None:
    app = limited(limit_idempotency="2/h")
    client = _user(app) if who == "user" else app.test_client()
    path, body = ("/chat", {"message": "Why?"}) if who == "guest" else ("/session/create", {})
    if who == "guest":
        client.post("/session/create")
    runtime = runtime_of(app)

    def send(key: str) -> TestResponse:
        response = client.post(path, json=body, headers={"Idempotency-Key": key})
        if response.status_code == 202:
            _answered(client)
        return response

    first = [send(f"{who} {each}") for each in range(2)]
    assert {response.status_code for response in first} <= {201, 202}
    records = len(runtime.redis.keys("sb:once:*"))
    for each in range(5):
        _refused(send(f"{who} {2 + each}"), "idempotency")
    assert len(runtime.redis.keys("sb:once:*")) == records
    for _ in range(3):
        assert send(f"{who} 0").get_json() == first[0].get_json()
    assert client.post(path, json=body).status_code in (201, 202)  # without a key nothing is kept


@pytest.fixture
def fragile(
    own_valkey: Valkey, tmp_path: Path, database_url: str, models_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Flask]:
    """The application as a web process makes it for itself, without workers, over a Valkey of its own."""
    settings = Settings(
        configured_redis_url=own_valkey.url,
        configured_database_url=database_url,
        models_path=models_path,
        state_dir=tmp_path,
    )
    migrate(database_url)
    monkeypatch.setattr("web.app.settings_of_process", lambda: settings)
    app = create_app()
    yield app
    own_valkey.thaw()
    context_of(app).hub.close()
    runtime_of(app).close()


def _credential(app: Flask) -> dict[str, str]:
    runtime, credential = runtime_of(app), Credential.issue()
    with runtime.database.writing() as db:
        runtime.sessions.create_session(db, session_id=credential.session_id, secret_hash=credential.secret_hash)
    return {"X-Session-ID": str(credential)}


UNSAFE: list[tuple[str, bool, dict[str, str]]] = [
    ("/session/create", False, {}),
    ("/chat", False, {"message": "Why?"}),
    ("/chat", True, {"message": "Why?"}),
    ("/chat", True, {"message": "Why?", "model": "paused"}),
    ("/chat/sse", True, {"message": "Why?"}),
    ("/session/model", True, {"model": "paused"}),
    ("/auth/login", False, {"email": "ann@example.org", "password": "correct horse battery staple"}),
]
"""Path, with a session or without, body."""


@pytest.mark.timing
@pytest.mark.parametrize("lose", [Valkey.stop, Valkey.freeze, Valkey.fill], ids=["stopped", "frozen", "full"])
def test_without_redis_everything_is_answered_within_half_a_second(
    fragile: Flask, own_valkey: Valkey, lose: Callable[[Valkey], None]
) -> None:
    mine = _credential(fragile)

    def send(path: str, headers: dict[str, str], body: dict[str, str] | None) -> tuple[int, bool]:
        client = fragile.test_client()
        began = time.monotonic()
        response = client.open(path, method="GET" if body is None else "POST", json=body, headers=headers)
        assert time.monotonic() - began < DEADLINE, path
        return response.status_code, "Retry-After" in response.headers

    # Connections are made and kept.
    respond_async = {"Prefer": "respond-async"}
    assert send("/session/create", respond_async, {})[0] == 202
    assert send("/chat", _credential(fragile), {"message": "Why?"})[0] == 202
    lose(own_valkey)
    for path, with_session, body in UNSAFE * 2:
        assert (path, send(path, mine if with_session else {}, body)) == (path, (503, True))
    for path in ("/session/current", "/config/models", "/healthz", "/"):
        assert (path, send(path, mine, None)) == (path, (200, False))
    current = fragile.test_client().get("/session/current", headers=mine).get_json()
    assert current["active_generation"] is None


WHEN_UNCOUNTED: list[tuple[str, str, dict[str, str], int]] = [
    ("POST", "/session/create", {}, 503),
    ("POST", "/session/model", {"model": "paused"}, 503),
    ("POST", "/session/refresh", {}, 503),
    ("POST", "/session/claim", {}, 503),
    ("GET", "/session/export", {}, 503),
    ("POST", "/auth/keys", {"name": "backup"}, 503),
    ("POST", "/auth/password", {"current_password": PASSWORD, "new_password": "four other words"}, 503),
    ("DELETE", "/auth/me", {"password": PASSWORD}, 503),
    ("POST", "/auth/login", {"email": "", "password": PASSWORD}, 503),
    ("PATCH", "/session", {"title": "Blue skies"}, 200),
    ("POST", "/session/open", {"session_id": ""}, 200),
    ("POST", "/chat/stop", {}, 409),
]
"""What a user asks for while Redis is away, and how it is answered: what touches one row of theirs goes on."""


@pytest.mark.timing
@pytest.mark.parametrize("lose", [Valkey.stop, Valkey.freeze, Valkey.fill], ids=["stopped", "frozen", "full"])
def test_without_redis_users_go_on_with_what_needs_no_limit(
    fragile: Flask, own_valkey: Valkey, lose: Callable[[Valkey], None]
) -> None:
    client = _user(fragile)
    user = client.get("/auth/me").get_json()
    runtime = runtime_of(fragile)
    with runtime.database.writing() as db:
        session = runtime.sessions.create_session(db, UUID(user["user_id"]))
    named = {"X-Session-ID": str(session.id)}
    values = {"session_id": str(session.id), "email": user["email"]}
    assert client.post("/session/refresh", headers=named).status_code == 200
    lose(own_valkey)
    for method, path, body, status in WHEN_UNCOUNTED:
        sent = {name: value or values[name] for name, value in body.items()}
        began = time.monotonic()
        response = client.open(path, method=method, json=None if method == "GET" else sent, headers=named)
        assert time.monotonic() - began < (TOLD_DEADLINE if method == "PATCH" else DEADLINE), path
        assert (path, response.status_code) == (path, status)
        assert ("Retry-After" in response.headers) == (status == 503)
    kept = client.get("/session/current", headers=named).get_json()
    assert kept["expires_at"] == rfc3339(session.expires_at)
    assert client.get("/sessions").get_json()["sessions"][0]["title"] == "Blue skies"
