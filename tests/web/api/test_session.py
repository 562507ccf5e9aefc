"""The session's part of the contract, over HTTP, through the queue."""

import itertools
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from uuid_utils.compat import uuid7
from werkzeug.test import TestResponse

from core.runtime import Runtime
from core.sessions.credential import Credential
from core.stores.tables import Session
from tests.support.waiting import wait_for

WORKERS_OWN = ("sb:consumer:", "sb:turn:", "sb:ran:", "sb:invariants", "sb:{metrics}:")
"""Keys that come and go with the workers."""


def _create(client: FlaskClient, **body: Any) -> dict[str, Any]:
    response = client.post("/session/create", json=body)
    assert response.status_code == 201
    return response.get_json()  # type: ignore[no-any-return]


def _answered(client: FlaskClient) -> None:
    """Wait until the last answer has ended, and has been told to."""
    wait_for(lambda: client.get("/session/messages").get_json()["messages"][-1]["state"] != "streaming")


def _problem(response: TestResponse, status: int, slug: str) -> dict[str, Any]:
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    problem: dict[str, Any] = response.get_json(force=True)
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert "Traceback" not in response.text
    return problem


def _age(runtime: Runtime, session_id: str, by: timedelta) -> None:
    with runtime.database.writing() as db:
        session = db.get_one(Session, UUID(session_id))
        session.expires_at -= by
        session.ends_at -= by


def test_a_session_is_created_through_the_queue(client: FlaskClient, web_runtime: Runtime) -> None:
    response = client.post("/session/create")
    assert response.status_code == 201
    session = response.get_json()
    assert set(session) == {"session_id", "anonymous", "model", "version", "created_at", "expires_at"}
    assert (session["anonymous"], session["model"], session["version"]) == (True, "good", 1)
    assert response.headers["ETag"] == '"1"'
    assert response.headers["Cache-Control"] == "no-store"
    lives = datetime.fromisoformat(session["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=29) < lives <= timedelta(minutes=30)


def test_the_secret_is_in_the_cookie_and_nowhere_else(client: FlaskClient, web_runtime: Runtime) -> None:
    response = client.post("/session/create")
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("switchboard=")
    for attribute in ("HttpOnly", "SameSite=Lax", "Path=/"):
        assert attribute in cookie
    assert "Secure" not in cookie
    secret = cookie.split(";")[0].partition(".")[2]
    assert len(secret) == 43  # 256 bits in base64
    assert secret not in response.text


def test_over_https_the_cookie_is_a_host_cookie(client: FlaskClient) -> None:
    response = client.post("/session/create", base_url="https://localhost")
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-switchboard=")
    assert "Secure" in cookie
    assert client.get("/session/current", base_url="https://localhost").status_code == 200


def test_cookie_and_header_prove_the_same(client: FlaskClient, other: FlaskClient) -> None:
    session = _create(client)
    cookie = client.get_cookie("switchboard")
    assert cookie is not None
    by_cookie = client.get("/session/current").get_json()
    by_header = other.get("/session/current", headers={"X-Session-ID": cookie.value}).get_json()
    unset = {"active_generation": None, "title": None, "system_prompt": None, "temperature": None}
    assert by_cookie == by_header == {**session, **unset}


def test_respond_async_answers_202_and_the_task_becomes_done(client: FlaskClient) -> None:
    response = client.post("/session/create", json={"model": "paused"}, headers={"Prefer": "respond-async"})
    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "respond-async"
    location = response.headers["Location"]
    assert location.startswith("/tasks/")
    task = wait_for(lambda: (found := client.get(location).get_json())["state"] == "done" and found)
    assert task["result"]["model"] == "paused"
    assert client.get("/session/current").get_json()["session_id"] == task["result"]["session_id"]


def test_a_task_is_for_the_holder_of_its_session(client: FlaskClient, other: FlaskClient, app: Flask) -> None:
    location = client.post("/session/create", headers={"Prefer": "respond-async"}).headers["Location"]
    wait_for(lambda: client.get(location).get_json()["state"] == "done")
    _problem(app.test_client().get(location), 401, "session-required")
    session_id = client.get(location).get_json()["result"]["session_id"]
    forged = {"X-Session-ID": f"{session_id}.{'x' * 43}"}
    _problem(app.test_client().get(location, headers=forged), 401, "session-invalid")
    _create(other)
    _problem(other.get(location), 403, "not-owner")
    _problem(client.get(f"/tasks/{uuid7()}"), 404, "unknown-task")


def test_a_failed_command_is_a_problem_on_its_task(client: FlaskClient) -> None:
    _create(client)
    stale = {"Prefer": "respond-async", "If-Match": '"9"'}
    location = client.post("/session/model", json={"model": "paused"}, headers=stale).headers["Location"]
    task = wait_for(lambda: (found := client.get(location).get_json())["state"] == "failed" and found)
    assert task["problem"]["type"] == "/problems/version-conflict"


def test_without_a_credential_a_session_is_required(client: FlaskClient) -> None:
    for method, path in [("get", "/session/current"), ("post", "/session/refresh"), ("delete", "/session")]:
        response = getattr(client, method)(path)
        _problem(response, 401, "session-required")
        assert "WWW-Authenticate" in response.headers


@pytest.mark.parametrize(
    "credential",
    ["nonsense", "a.b", "{id}", "{id}.secret", "{id}." + "x" * 500, "é.ü", "ffffffff-ffff-7fff-bfff-ffffffffffff.x"],
)
def test_a_credential_that_is_none_is_invalid(client: FlaskClient, credential: str) -> None:
    named = credential.format(id=uuid7())  # now: one that was born half an hour ago would have expired
    headers = {"X-Session-ID": named.encode().decode("latin-1")}
    _problem(client.get("/session/current", headers=headers), 401, "session-invalid")


def test_a_forged_secret_is_invalid(client: FlaskClient, other: FlaskClient) -> None:
    session = _create(client)
    forged = {"X-Session-ID": str(Credential(session["session_id"], "A" * 43))}
    for method, path in [("get", "/session/current"), ("get", "/session/messages"), ("delete", "/session")]:
        _problem(getattr(other, method)(path, headers=forged), 401, "session-invalid")
    assert client.get("/session/current").status_code == 200


def test_an_expired_session_is_refused_before_the_sweep_and_after(client: FlaskClient, web_runtime: Runtime) -> None:
    session = _create(client)
    _age(web_runtime, session["session_id"], timedelta(minutes=30))
    _problem(client.get("/session/current"), 401, "session-expired")
    _problem(client.post("/session/refresh"), 401, "session-expired")
    _problem(client.post("/chat", json={"message": "Why?"}), 401, "session-expired")


def test_refreshing_moves_the_expiry_up_to_the_end_of_the_life(client: FlaskClient, web_runtime: Runtime) -> None:
    session = _create(client)
    _age(web_runtime, session["session_id"], timedelta(minutes=20))
    before = client.get("/session/current").get_json()["expires_at"]
    after = client.post("/session/refresh").get_json()["expires_at"]
    assert datetime.fromisoformat(after) - datetime.fromisoformat(before) > timedelta(minutes=19)
    with web_runtime.database.writing() as db:
        soon = datetime.now(UTC) + timedelta(minutes=5)
        db.execute(update(Session).values(ends_at=soon, expires_at=soon - timedelta(minutes=4)))
    last = client.post("/session/refresh").get_json()["expires_at"]
    assert datetime.fromisoformat(last) == soon


def test_a_switch_gives_a_new_etag_and_is_reported(client: FlaskClient) -> None:
    _create(client)
    response = client.post("/session/model", json={"model": "paused"}, headers={"If-Match": '"1"'})
    assert (response.status_code, response.headers["ETag"]) == (200, '"2"')
    current = client.get("/session/current")
    assert (current.get_json()["model"], current.headers["ETag"]) == ("paused", '"2"')


def test_both_switch_urls_are_the_same_call(client: FlaskClient) -> None:
    _create(client)
    assert client.post("/config/models/switch", json={"model": "paused"}).get_json()["version"] == 2
    assert client.post("/session/model", json={"model": "good"}).get_json()["version"] == 3


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ('"1"', 200),
        ('"7", "1"', 200),
        ('"1", "7"', 200),
        ('"9", "8", "7", "6", "1", "5", "4"', 200),
        ("*", 200),
        ('"7", "8"', 412),
        ('"7", W/"1"', 412),
        ('"11", "01", "1 "', 412),
    ],
)
def test_any_of_several_versions_may_be_the_current_one(client: FlaskClient, tags: str, status: int) -> None:
    _create(client)
    response = client.post("/session/model", json={"model": "paused"}, headers={"If-Match": tags})
    assert response.status_code == status


@pytest.mark.parametrize("tag", ['"7"', '"abc"', 'W/"2"', f'"{10**30}"', f'"{"9" * 5000}"'])
def test_a_stale_etag_is_412(client: FlaskClient, tag: str) -> None:
    _create(client)
    response = client.post("/session/model", json={"model": "paused"}, headers={"If-Match": tag})
    _problem(response, 412, "version-conflict")
    assert client.get("/session/current").get_json()["model"] == "good"


def test_of_racing_switches_one_wins(client: FlaskClient, app: Flask) -> None:
    _create(client)
    cookie = client.get_cookie("switchboard")
    assert cookie is not None
    statuses: list[int] = []
    start = threading.Barrier(50)

    def race(model: str) -> None:
        start.wait()
        headers = {"X-Session-ID": cookie.value, "If-Match": '"1"'}
        statuses.append(app.test_client().post("/session/model", json={"model": model}, headers=headers).status_code)

    racers = [threading.Thread(target=race, args=(model,)) for model in ["paused", "silent"] * 25]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(statuses) == [200] + [412] * 49


def test_an_unknown_model_is_422_and_nothing_is_queued(client: FlaskClient) -> None:
    _create(client)
    for path in ("/session/model", "/config/models/switch", "/session/create", "/chat"):
        body = {"model": "gpt-9"} | ({"message": "Why?"} if path == "/chat" else {})
        _problem(client.post(path, json=body), 422, "unknown-model")


def test_deleting_leaves_nothing(client: FlaskClient, web_runtime: Runtime) -> None:
    session = _create(client)
    client.post("/chat", json={"message": "Why?"})
    _answered(client)
    response = client.delete("/session")
    assert (response.status_code, response.data) == (204, b"")
    assert client.get_cookie("switchboard") is None
    with web_runtime.database.reading() as db:
        assert session["session_id"] not in {str(each) for each in db.scalars(select(Session.id))}
    assert web_runtime.redis.keys(f"*{{{session['session_id']}}}*") == []


@pytest.mark.one_database
def test_a_visitor_who_only_looks_leaves_no_rows_and_no_keys(client: FlaskClient, web_runtime: Runtime) -> None:
    def left() -> tuple[set[UUID], set[str]]:
        with web_runtime.database.reading() as db:
            rows = set(db.scalars(select(Session.id)))
        keys = set(map(str, web_runtime.redis.scan_iter()))
        return rows, {key for key in keys if key.startswith("sb:") and not key.startswith(WORKERS_OWN)}

    pages = ("/", "/docs", "/openapi.json", "/static/css/conversation.css", "/static/css/nothing.css", "/favicon.ico")
    reads = ("/config/models", "/session/current", "/session/messages", "/chat/sse", "/sessions", "/auth/me")
    others = ("/healthz", "/readyz", "/metrics", "/nowhere", "/tasks/1", "/wp-login.php", "/.env", "/chat")
    before = left()
    for number, path in zip(range(1_000), itertools.cycle(pages + reads + others), strict=False):
        response = client.get(f"{path}?{number}")
        assert "Set-Cookie" not in response.headers
        response.close()
    rows, keys = left()
    assert rows <= before[0], "other tests' sessions may have been swept meanwhile"
    assert keys <= before[1], "other tests' keys may have expired meanwhile"
