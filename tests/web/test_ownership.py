"""Nobody reaches another's session: every session route, for every kind of stranger, from the URL map itself."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7

from core.runtime import Runtime
from tests.conftest import SOME_ID
from tests.web.api.test_session import _answered, _create, _problem

PASSWORD = "correct horse battery"

SESSION_ROUTES: dict[tuple[str, str], dict[str, Any] | None] = {
    ("GET", "/session/current"): None,
    ("POST", "/session/refresh"): {},
    ("POST", "/session/model"): {"model": "paused"},
    ("POST", "/config/models/switch"): {"model": "paused"},
    ("GET", "/session/messages"): None,
    ("GET", "/session/export"): None,
    ("PATCH", "/session"): {"title": "Mine now"},
    ("DELETE", "/session"): None,
    ("POST", "/session/claim"): {},
    ("POST", "/chat"): {"message": "Why?"},
    ("POST", "/chat/sse"): {"message": "Why?"},
    ("GET", "/chat/sse"): None,
    ("POST", "/chat/stop"): {},
    ("GET", "/session/queue"): None,
    ("PATCH", "/session/queue/<uuid:generation_id>"): {"message": "Why?"},
    ("DELETE", "/session/queue/<uuid:generation_id>"): None,
    ("POST", "/chat/regenerate"): {},
    ("POST", "/chat/continue"): {},
    ("POST", "/session/branch"): {"message_id": SOME_ID},
    ("POST", "/api/chat"): {"message": {"role": "user", "parts": [{"type": "text", "text": "Why?"}]}},
    ("GET", "/api/chat/<chat:chat_id>/stream"): None,
    ("POST", "/api/chat/<chat:chat_id>/stop"): {},
    ("GET", "/api/chat/<chat:chat_id>/messages"): None,
}
"""Every route that acts on the session which the request names, with a good body for it."""

OTHER_ROUTES = {
    *[
        ("GET", path)
        for path in ("/", "/c/<session_id>", "/healthz", "/readyz", "/config/models", "/static/<path:filename>")
    ],
    *[("GET", path) for path in ("/openapi.json", "/docs", "/metrics", "/chat/sse/probe")],
    *[("GET", path) for path in ("/v1/models", "/v1/models/<path:name>")],
    # It names no session, and the one that is made for it is opened by no credential (test_chat_completions.py).
    ("POST", "/v1/chat/completions"),
    *[
        (method, f"/v1/{path}")  # tests/web/api/openai/test_responses.py walks these
        for method, path in (
            *(("POST", "responses"), ("GET", "responses/<response_id>"), ("DELETE", "responses/<response_id>")),
            *(("POST", "responses/<response_id>/cancel"), ("GET", "responses/<response_id>/input_items")),
            *(("POST", "conversations"), ("GET", "conversations/<conversation_id>")),
            *(("POST", "conversations/<conversation_id>"), ("DELETE", "conversations/<conversation_id>")),
            *(("GET", "conversations/<conversation_id>/items"), ("POST", "conversations/<conversation_id>/items")),
            *((method, "conversations/<conversation_id>/items/<item_id>") for method in ("GET", "DELETE")),
        )
    ],
    ("POST", "/session/create"),
    # Named by their own arguments; tested below and in test_session.py.
    ("GET", "/tasks/<task_id>"),
    ("GET", "/sessions"),
    ("GET", "/sessions/events"),
    ("GET", "/usage"),  # tests/web/api/test_usage.py
    ("POST", "/session/open"),
}
"""Routes that act on no session that the request names. /auth is about accounts, tested in test_auth.py."""


@pytest.fixture
def owner(app: Flask) -> FlaskClient:
    """Somebody logged in, with a session."""
    return _person(app)


@pytest.fixture
def stranger(app: Flask) -> FlaskClient:
    """Somebody else, logged in."""
    return _person(app)


def _person(app: Flask) -> FlaskClient:
    client = app.test_client()
    registered = client.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
    assert registered.status_code == 201
    return client


def _routes(app: Flask) -> Iterator[tuple[str, str]]:
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            if not rule.rule.startswith("/auth/"):
                yield method, rule.rule


def test_every_route_is_accounted_for(app: Flask) -> None:
    """A new route must be put into one of the tables above; then the walk below tries it. No table has others."""
    assert set(_routes(app)) == set(SESSION_ROUTES) | OTHER_ROUTES


def _call(client: FlaskClient, route: tuple[str, str], named: str) -> Any:
    method, path = route
    path = path.replace("<uuid:generation_id>", str(uuid7()))
    return client.open(path, method=method, json=SESSION_ROUTES[route], headers={"X-Session-ID": named})


@pytest.mark.parametrize("route", SESSION_ROUTES, ids=" ".join)
class TestWalk:
    """Users x sessions x verbs."""

    def test_an_owned_session_is_closed_to_strangers(
        self, app: Flask, owner: FlaskClient, stranger: FlaskClient, route: tuple[str, str]
    ) -> None:
        session_id = _create(owner)["session_id"]
        before = owner.get("/session/export").get_json()
        guest = app.test_client()
        _create(guest)
        for somebody in (stranger, guest, app.test_client()):
            for named in (session_id, f"{session_id}.{'x' * 43}"):
                _problem(_call(somebody, route, named), 403, "not-owner") if not _wants_login(
                    somebody, route, stranger
                ) else _problem(_call(somebody, route, named), 401, "login-required")
        assert owner.get("/session/export").get_json() == before

    def test_a_guests_session_is_closed_to_whoever_lacks_its_secret(
        self, app: Flask, stranger: FlaskClient, route: tuple[str, str]
    ) -> None:
        guest = app.test_client()
        session_id = _create(guest)["session_id"]
        before = guest.get("/session/export").get_json()
        for somebody in (stranger, app.test_client()):
            for named in (session_id, f"{session_id}.{'x' * 43}"):
                response = _call(somebody, route, named)
                expected = "login-required" if _wants_login(somebody, route, stranger) else "session-invalid"
                _problem(response, 401, expected)
        assert guest.get("/session/export").get_json() == before


def _wants_login(somebody: FlaskClient, route: tuple[str, str], logged_in: FlaskClient) -> bool:
    return route == ("POST", "/session/claim") and somebody is not logged_in


def test_a_users_session_is_named_by_its_id_alone(owner: FlaskClient, app: Flask) -> None:
    response = owner.post("/session/create", json={"model": "good"})
    session = response.get_json()
    assert session["anonymous"] is False
    cookie = owner.get_cookie("switchboard")
    assert cookie is not None
    assert cookie.value == session["session_id"]
    assert owner.get("/session/current").get_json()["session_id"] == session["session_id"]


def test_a_first_message_makes_a_session_of_the_user_who_sent_it(owner: FlaskClient, web_runtime: Runtime) -> None:
    session_id = owner.post("/chat", json={"message": "Why is the sky blue?"}).get_json()["session_id"]
    _answered(owner)
    listed = owner.get("/sessions").get_json()["sessions"]
    assert [(each["session_id"], each["title"]) for each in listed] == [(session_id, "Why is the sky blue?")]


def test_sessions_are_listed_in_pages_renamed_opened_and_deleted(owner: FlaskClient, stranger: FlaskClient) -> None:
    made = [_create(owner)["session_id"] for _ in range(5)]
    first = owner.get("/sessions?limit=3").get_json()
    rest = owner.get(f"/sessions?limit=3&before={first['next']}").get_json()
    assert [each["session_id"] for each in first["sessions"] + rest["sessions"]] == made[::-1]
    assert rest["next"] is None

    oldest = {"X-Session-ID": made[0]}
    assert (
        owner.patch("/session", json={"title": "  Blue skies "}, headers=oldest).get_json()["title"] == "Blue skies"
    )
    assert owner.post("/session/open", json={"session_id": made[0]}).status_code == 200
    assert owner.get("/session/current").get_json()["session_id"] == made[0]
    assert owner.delete("/session", headers={"X-Session-ID": made[1]}).status_code == 204
    assert made[1] not in [each["session_id"] for each in owner.get("/sessions").get_json()["sessions"]]

    assert owner.get("/session/current").get_json()["session_id"] == made[0]  # deleting another left the cookie alone

    _problem(stranger.post("/session/open", json={"session_id": made[0]}), 403, "not-owner")
    assert stranger.get("/sessions").get_json() == {"sessions": [], "next": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "before=x"])
def test_a_bad_page_is_told_which_argument(owner: FlaskClient, query: str) -> None:
    problem = _problem(owner.get(f"/sessions?{query}"), 422, "invalid-body")
    assert problem["field"] == query.partition("=")[0]


def test_guests_have_no_list_and_open_nothing(client: FlaskClient) -> None:
    session_id = _create(client)["session_id"]
    _problem(client.get("/sessions"), 401, "login-required")
    _problem(client.post("/session/open", json={"session_id": session_id}), 401, "login-required")
    _problem(client.post("/session/claim"), 401, "login-required")


def test_a_claim_takes_the_words_along_and_the_old_secret_dies(app: Flask, stranger: FlaskClient) -> None:
    browser = app.test_client()
    session_id = _create(browser)["session_id"]
    browser.post("/chat", json={"message": "Why?"})
    _answered(browser)
    before = browser.get("/session/messages").get_json()
    old = browser.get_cookie("switchboard")
    assert old is not None

    browser.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
    claimed = browser.post("/session/claim")
    assert (claimed.status_code, claimed.get_json()["anonymous"]) == (200, False)
    assert browser.get("/session/messages").get_json() == before
    assert [each["session_id"] for each in browser.get("/sessions").get_json()["sessions"]] == [session_id]

    _problem(app.test_client().get("/session/current", headers={"X-Session-ID": old.value}), 403, "not-owner")
    _problem(stranger.post("/session/claim", headers={"X-Session-ID": old.value}), 403, "not-owner")


def test_logging_in_does_not_take_the_guests_session_by_itself(app: Flask) -> None:
    browser = app.test_client()
    session = _create(browser)
    browser.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
    current = browser.get("/session/current").get_json()
    assert (current["session_id"], current["anonymous"]) == (session["session_id"], True)
    assert browser.get("/sessions").get_json()["sessions"] == []


def test_an_export_holds_everything_about_the_session(owner: FlaskClient) -> None:
    session_id = owner.post("/chat", json={"message": "Why?"}).get_json()["session_id"]
    _answered(owner)
    response = owner.get("/session/export")
    assert "attachment" in response.headers["Content-Disposition"]
    exported = response.get_json()
    assert exported["session_id"] == session_id
    assert exported["title"] == "Why?"
    shown = owner.get("/session/messages").get_json()["messages"]
    # An export has all branches: what stands beside a message is told by the parents.
    assert exported["messages"] == [{name: each[name] for name in each if name != "siblings"} for each in shown]
