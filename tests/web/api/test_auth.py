"""The users' part of the contract, over HTTP."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from core.limits.rate import parse_rate
from core.operations.audit import Kind
from core.runtime import Runtime
from core.settings import Settings
from core.stores.redis import Redis
from core.stores.tables import Login, Session, User
from tests.conftest import SOME_ID
from tests.support.issuer import AUDIENCE, CLIENT_ID, CLIENT_SECRET, Issuer, answer_with, drip, flood
from tests.support.runtime_of import runtime_of
from web.app import create_app
from web.context import context_of

PASSWORD = "correct horse battery staple"
OTHER_PASSWORD = "four other words entirely"
COOKIE = "switchboard_login"


def _address() -> str:
    return f"{uuid4().hex}@example.org"


def _registered(client: FlaskClient, email: str | None = None) -> dict[str, Any]:
    response = client.post("/auth/register", json={"email": email or _address(), "password": PASSWORD})
    assert response.status_code == 201, response.text
    return response.get_json()  # type: ignore[no-any-return]


def _problem(response: TestResponse, status: int, slug: str) -> dict[str, Any]:
    assert (response.status_code, response.content_type) == (status, "application/problem+json"), response.text
    problem: dict[str, Any] = response.get_json(force=True)
    assert problem["type"] == f"/problems/{slug}"
    if status == 401:
        assert response.headers["WWW-Authenticate"]
    return problem


def _value(client: FlaskClient, name: str = COOKIE) -> str:
    cookie = client.get_cookie(name)
    assert cookie is not None
    return cookie.value


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# Registering, logging in and out


def test_registering_logs_in(client: FlaskClient) -> None:
    email = _address()
    response = client.post("/auth/register", json={"email": email.upper(), "password": PASSWORD})
    assert response.status_code == 201
    assert set(response.get_json()) == {"user_id", "email"}
    assert response.get_json()["email"] == email
    assert response.headers["Cache-Control"] == "no-store"
    me = client.get("/auth/me")
    assert me.get_json() == {
        **response.get_json(),
        "method": "login",
        "registration": "open",
        "oidc": False,
    }


def test_the_login_cookie_is_out_of_reach_of_scripts_and_other_sites(client: FlaskClient) -> None:
    body = {"email": _address(), "password": PASSWORD}
    plain = client.post("/auth/register", json=body).headers["Set-Cookie"]
    assert plain.startswith("switchboard_login=")
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(plain.split("; "))
    assert "Secure" not in plain
    secure = client.post("/auth/login", json=body, base_url="https://localhost").headers["Set-Cookie"]
    assert secure.startswith("__Host-switchboard_login=")
    assert {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"} <= set(secure.split("; "))
    assert "Domain" not in secure


def test_who_is_anonymous_is_told_how_to_become_somebody(client: FlaskClient) -> None:
    problem = _problem(client.get("/auth/me"), 401, "login-required")
    assert (problem["registration"], problem["oidc"]) == ("open", False)
    for method, path in (
        ("post", "/auth/password"),
        ("get", "/auth/logins"),
        ("delete", f"/auth/logins/{uuid4()}"),
        ("post", "/auth/keys"),
        ("get", "/auth/keys"),
        ("delete", f"/auth/keys/{uuid4()}"),
        ("delete", "/auth/me"),
    ):
        body = {
            "/auth/password": {"current_password": "a", "new_password": "b"},
            "/auth/keys": {"name": "backup"},
        }.get(path, {})
        _problem(client.open(path, method=method, json=body), 401, "login-required")


def test_an_account_can_be_logged_in_to_from_two_browsers(client: FlaskClient, other: FlaskClient) -> None:
    registered = _registered(client)
    response = other.post("/auth/login", json={"email": registered["email"], "password": PASSWORD})
    assert (response.status_code, response.get_json()) == (200, registered)
    listed = other.get("/auth/logins").get_json()["logins"]
    assert [login["current"] for login in listed] == [True, False]
    assert client.get("/auth/me").status_code == 200


def _said(answer: TestResponse) -> dict[str, str]:
    """The headers, without the one that is another for each request."""
    return {name: value for name, value in answer.headers.items() if name != "X-Request-ID"}


def test_wrong_password_and_unknown_user_are_answered_alike(client: FlaskClient, other: FlaskClient) -> None:
    registered = _registered(client)
    answers = [
        other.post("/auth/login", json={"email": email, "password": OTHER_PASSWORD})
        for email in (registered["email"], _address(), "no address")
    ]
    for answer in answers:
        _problem(answer, 401, "login-failed")
        assert answer.data == answers[0].data
        assert _said(answer) == _said(answers[0])
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        ({}, 422, "invalid-body"),
        ({"email": "a@example.org"}, 422, "invalid-body"),
        ({"email": "a@example.org", "password": 12345678}, 422, "invalid-body"),
        ({"email": "a@example.org", "password": PASSWORD, "admin": True}, 422, "invalid-body"),
        ({"email": "nobody", "password": PASSWORD}, 422, "invalid-body"),
        ({"email": "a@example.org", "password": "short"}, 422, "password-refused"),
        ({"email": "a@example.org", "password": "x" * 129}, 422, "password-refused"),
        ({"email": "a@example.org", "password": "iloveyou"}, 422, "password-refused"),
    ],
)
def test_what_can_not_be_registered_is_refused(client: FlaskClient, body: Any, status: int, slug: str) -> None:
    _problem(client.post("/auth/register", json=body), status, slug)
    assert client.get_cookie(COOKIE) is None


def test_a_taken_address_is_refused(client: FlaskClient, other: FlaskClient) -> None:
    registered = _registered(client)
    body = {"email": registered["email"], "password": PASSWORD}
    _problem(other.post("/auth/register", json=body), 409, "email-taken")


def test_logging_in_renews_the_cookie_and_ends_the_old_one(client: FlaskClient, other: FlaskClient) -> None:
    registered = _registered(client)
    old = _value(client)
    client.post("/auth/login", json={"email": registered["email"], "password": PASSWORD})
    assert _value(client) != old
    assert len(client.get("/auth/logins").get_json()["logins"]) == 1
    other.set_cookie(COOKIE, old)
    _problem(other.get("/auth/me"), 401, "login-invalid")


def test_logging_out_ends_the_login(client: FlaskClient, other: FlaskClient) -> None:
    _registered(client)
    stolen = _value(client)
    assert client.post("/auth/logout").status_code == 204
    assert client.get_cookie(COOKIE) is None
    _problem(client.get("/auth/me"), 401, "login-required")
    other.set_cookie(COOKIE, stolen)
    _problem(other.get("/auth/me"), 401, "login-invalid")
    assert client.post("/auth/logout").status_code == 204  # nothing to end is no error


@pytest.mark.parametrize("value", ["x", ".", f"{SOME_ID}.x", SOME_ID, "x" * 3000])
def test_a_login_that_is_none_is_refused_and_its_cookie_taken_back(client: FlaskClient, value: str) -> None:
    client.set_cookie(COOKIE, value)
    _problem(client.get("/auth/me"), 401, "login-invalid")
    assert client.get_cookie(COOKIE) is None
    _problem(client.get("/auth/me"), 401, "login-required")


@pytest.mark.parametrize("value", ["x", f"{SOME_ID}.x"])
def test_a_broken_cookie_keeps_nobody_from_logging_in_or_out(client: FlaskClient, value: str) -> None:
    registered = _registered(client)
    client.set_cookie(COOKIE, value)
    body = {"email": registered["email"], "password": PASSWORD}
    assert client.post("/auth/login", json=body).status_code == 200
    client.set_cookie(COOKIE, value)
    assert client.post("/auth/logout").status_code == 204


def test_an_expired_login_is_over(client: FlaskClient, web_runtime: Runtime) -> None:
    _registered(client)
    login_id = _value(client).partition(".")[0]
    past = web_runtime.clock.now() - timedelta(seconds=1)
    with web_runtime.database.writing() as db:
        db.execute(update(Login).where(Login.id == _uuid(login_id)).values(expires_at=past))
    _problem(client.get("/sessions"), 401, "login-invalid")
    assert client.get_cookie(COOKIE) is None


def _uuid(text: str) -> Any:
    from uuid import UUID

    return UUID(text)


def test_a_malformed_body_is_said_to_be_one(client: FlaskClient) -> None:
    response = client.post("/auth/login", data="email=a", content_type="application/x-www-form-urlencoded")
    assert response.status_code == 415
    assert client.post("/auth/login", data="{", content_type="application/json").status_code == 400


# The session cookie follows


def test_logging_out_takes_the_cookie_of_an_owned_session_and_leaves_an_anonymous_one(
    client: FlaskClient, web_runtime: Runtime
) -> None:
    created = client.post("/session/create", json={}).get_json()
    registered = _registered(client)
    assert client.get_cookie("switchboard") is not None
    client.post("/auth/logout")
    assert client.get_cookie("switchboard") is not None
    assert client.get("/session/current").get_json()["session_id"] == created["session_id"]

    client.post("/auth/login", json={"email": registered["email"], "password": PASSWORD})
    assert client.post("/session/claim").status_code == 200
    assert client.get("/session/current").status_code == 200
    client.post("/auth/logout")
    assert client.get_cookie("switchboard") is None
    assert [event.kind for event in web_runtime.audit.read(user_id=_uuid(registered["user_id"]))] == [
        Kind.REGISTERED,
        Kind.LOGOUT,
        Kind.LOGIN,
        Kind.SESSION_CLAIMED,
        Kind.LOGOUT,
    ]


def test_who_logs_in_does_not_stumble_over_the_session_of_somebody_else(client: FlaskClient) -> None:
    _registered(client)
    assert client.post("/session/create", json={}).status_code == 201
    client.delete_cookie(COOKIE)
    _registered(client)
    assert client.get_cookie("switchboard") is None


# Passwords


def test_a_new_password_renews_the_cookie_and_ends_the_others(client: FlaskClient, other: FlaskClient) -> None:
    registered = _registered(client)
    other.post("/auth/login", json={"email": registered["email"], "password": PASSWORD})
    old = _value(client)
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD, "end_other_logins": True}
    assert client.post("/auth/password", json=body).status_code == 204
    assert _value(client) != old
    assert client.get("/auth/me").status_code == 200
    _problem(other.get("/auth/me"), 401, "login-invalid")
    failed = other.post("/auth/login", json={"email": registered["email"], "password": PASSWORD})
    _problem(failed, 401, "login-failed")


def test_others_may_stay_logged_in(client: FlaskClient, other: FlaskClient) -> None:
    registered = _registered(client)
    other.post("/auth/login", json={"email": registered["email"], "password": PASSWORD})
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD, "end_other_logins": False}
    assert client.post("/auth/password", json=body).status_code == 204
    assert other.get("/auth/me").status_code == 200


def test_a_wrong_current_password_changes_nothing(client: FlaskClient) -> None:
    _registered(client)
    body = {"current_password": "not this one", "new_password": OTHER_PASSWORD}
    _problem(client.post("/auth/password", json=body), 401, "login-failed")
    body = {"current_password": PASSWORD, "new_password": "12345678"}
    _problem(client.post("/auth/password", json=body), 422, "password-refused")
    assert client.get("/auth/me").status_code == 200


# Logins


def test_a_login_can_be_ended_from_another_browser(client: FlaskClient, other: FlaskClient) -> None:
    registered = _registered(client)
    other.post("/auth/login", json={"email": registered["email"], "password": PASSWORD})
    listed = client.get("/auth/logins").get_json()["logins"]
    assert set(listed[0]) == {"id", "created_at", "last_used_at", "expires_at", "current"}
    theirs = next(login["id"] for login in listed if not login["current"])
    assert client.delete(f"/auth/logins/{theirs}").status_code == 204
    _problem(other.get("/auth/me"), 401, "login-invalid")
    _problem(client.delete(f"/auth/logins/{theirs}"), 404, "unknown-login")
    assert client.get("/auth/me").status_code == 200


def test_ending_ones_own_login_logs_out(client: FlaskClient) -> None:
    _registered(client)
    mine = client.get("/auth/logins").get_json()["logins"][0]["id"]
    assert client.delete(f"/auth/logins/{mine}").status_code == 204
    assert client.get_cookie(COOKIE) is None


def test_nobody_ends_another_users_login(client: FlaskClient, other: FlaskClient) -> None:
    _registered(client)
    _registered(other)
    theirs = other.get("/auth/logins").get_json()["logins"][0]["id"]
    _problem(client.delete(f"/auth/logins/{theirs}"), 404, "unknown-login")
    assert other.get("/auth/me").status_code == 200


# API keys


def _key(client: FlaskClient) -> dict[str, str]:
    response = client.post("/auth/keys", json={"name": "backup"})
    assert response.status_code == 201
    return response.get_json()  # type: ignore[no-any-return]


def test_a_key_is_shown_once_and_works_until_it_is_revoked(client: FlaskClient, other: FlaskClient) -> None:
    registered = _registered(client)
    key = _key(client)
    assert set(key) == {"id", "name", "key", "created_at"}
    me = other.get("/auth/me", headers=_bearer(key["key"])).get_json()
    assert (me["user_id"], me["method"]) == (registered["user_id"], "api-key")
    listed = client.get("/auth/keys")
    assert key["key"] not in listed.text
    assert set(listed.get_json()["keys"][0]) == {"id", "name", "created_at", "last_used_at"}
    assert client.delete(f"/auth/keys/{key['id']}").status_code == 204
    _problem(other.get("/auth/me", headers=_bearer(key["key"])), 401, "token-invalid")
    _problem(client.delete(f"/auth/keys/{key['id']}"), 404, "unknown-key")


def test_a_key_can_not_make_itself_at_home(client: FlaskClient, other: FlaskClient) -> None:
    _registered(client)
    key = _key(client)
    login = client.get("/auth/logins").get_json()["logins"][0]["id"]
    for method, path, body in (
        ("post", "/auth/keys", {"name": "another"}),
        ("delete", f"/auth/keys/{key['id']}", None),
        ("post", "/auth/password", {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}),
        ("delete", f"/auth/logins/{login}", None),
        ("delete", "/auth/me", {"password": PASSWORD}),
    ):
        response = other.open(path, method=method, json=body, headers=_bearer(key["key"]))
        _problem(response, 403, "login-required")


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "nul\0", "bell\a", 7])
def test_a_key_needs_a_name_that_can_be_shown(client: FlaskClient, name: Any) -> None:
    _registered(client)
    _problem(client.post("/auth/keys", json={"name": name}), 422, "invalid-body")


def test_a_bearer_goes_before_the_cookie_and_a_wrong_one_is_not_passed_over(client: FlaskClient) -> None:
    _registered(client)
    for token in ("sb_x", "x", "", "a.b.c"):
        response = client.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
        _problem(response, 401, "token-invalid")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert "Set-Cookie" not in response.headers
    # What a proxy's own password protection makes browsers send is not meant for us.
    assert client.get("/auth/me", headers={"Authorization": "Basic YTpi"}).status_code == 200


# The end


def test_an_account_is_deleted_with_its_password_only(client: FlaskClient, web_runtime: Runtime) -> None:
    registered = _registered(client)
    client.post("/session/create", json={})
    client.post("/chat", json={"message": "Why?"})
    for body, status, slug in (({}, 422, "invalid-body"), ({"password": OTHER_PASSWORD}, 401, "login-failed")):
        _problem(client.delete("/auth/me", json=body), status, slug)
    assert client.delete("/auth/me", json={"password": PASSWORD}).status_code == 204
    assert client.get_cookie(COOKIE) is None
    assert client.get_cookie("switchboard") is None
    with web_runtime.database.reading() as db:
        assert db.scalars(select(Session).where(Session.owner_id == _uuid(registered["user_id"]))).all() == []
    failed = client.post("/auth/login", json={"email": registered["email"], "password": PASSWORD})
    _problem(failed, 401, "login-failed")


# Refusals and limits


def test_refusals_are_written_down_without_where_they_came_from(
    client: FlaskClient, other: FlaskClient, web_runtime: Runtime
) -> None:
    _registered(client)
    eve = _registered(other)
    session_id = client.post("/session/create", json={}).get_json()["session_id"]
    for _ in range(3):
        _problem(other.get("/session/current", headers={"X-Session-ID": session_id}), 403, "not-owner")
    events = web_runtime.audit.read(user_id=_uuid(eve["user_id"]), kind=Kind.NOT_OWNER)
    assert [(str(event.session_id), event.detail) for event in events] == [(session_id, None)]


@pytest.fixture
def strict(stack: Settings) -> Iterator[FlaskClient]:
    """A browser of a server that lets people try three passwords."""
    settings = stack.model_copy(update={"limit_login": parse_rate("3/5m")})
    yield from _served(settings)


def _served(settings: Settings) -> Iterator[FlaskClient]:
    runtime = Runtime(settings)
    application = create_app(runtime)
    yield application.test_client()
    context_of(application).hub.close()
    runtime.close()


def test_passwords_can_not_be_tried_without_end(strict: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    email = _address()
    strict.environ_base["REMOTE_ADDR"] = "2001:db8:1::1"
    _registered(strict, email)
    strict.delete_cookie("switchboard_device")  # what those who are known may do: test_locked_out.py
    strict.delete_cookie(COOKIE)
    for _ in range(2):
        _problem(strict.post("/auth/login", json={"email": email, "password": "wrong"}), 401, "login-failed")
    monkeypatch.setattr(
        "core.auth.passwords.Passwords.verify", lambda *_: pytest.fail("hashed before it was charged")
    )
    strict.environ_base["REMOTE_ADDR"] = "2001:db8:2::1"  # the account has a limit too, wherever they come from
    body = {"email": f" {email.upper()}", "password": PASSWORD}
    response = strict.post("/auth/login", json=body)
    _problem(response, 429, "rate-limited")
    assert int(response.headers["Retry-After"]) > 0
    runtime = runtime_of(strict.application)
    assert runtime.audit.read(kind=Kind.LIMITED)[-1].detail == "login-account"


def test_closed_registration_is_said_and_refused(stack: Settings) -> None:
    for client in _served(stack.model_copy(update={"registration": "closed"})):
        assert _problem(client.get("/auth/me"), 401, "login-required")["registration"] == "closed"
        body = {"email": _address(), "password": PASSWORD}
        _problem(client.post("/auth/register", json=body), 403, "registration-closed")


# The identity provider


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    server = Issuer()
    yield server
    server.stop()


@pytest.fixture
def federated(stack: Settings, issuer: Issuer) -> Iterator[FlaskClient]:
    """A browser of a server that trusts the issuer."""
    issuer.down = issuer.broken_nonce = False
    issuer.instead, issuer.said, issuer.id_token, issuer.id_token_header = {}, {}, {}, {}
    issuer.subject = uuid4().hex
    update = {
        "oidc_issuer": issuer.url,
        "oidc_audience": AUDIENCE,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": Settings(oidc_client_secret=CLIENT_SECRET).oidc_client_secret,
    }
    yield from _served(stack.model_copy(update=update))


def test_an_issuers_token_is_a_user(federated: FlaskClient, issuer: Issuer) -> None:
    me = federated.get("/auth/me", headers=_bearer(issuer.token()))
    assert me.status_code == 200
    assert (me.get_json()["method"], me.get_json()["email"], me.get_json()["oidc"]) == ("oidc", None, True)
    again = federated.get("/auth/me", headers=_bearer(issuer.token("ec")))
    assert again.get_json()["user_id"] == me.get_json()["user_id"]
    created = federated.post("/session/create", json={}, headers=_bearer(issuer.token()))
    assert (created.status_code, created.get_json()["anonymous"]) == (201, False)


def test_hostile_tokens_are_refused(federated: FlaskClient, issuer: Issuer) -> None:
    good = issuer.token()
    unsigned = f"eyJhbGciOiJub25lIn0.{good.split('.')[1]}."
    hostile = [
        unsigned,
        good[:-8] + "AAAAAAAA",
        issuer.token(aud="https://other.example"),
        issuer.token(iss="https://evil.example"),
        issuer.token(exp=1),
        issuer.token(sub=None),
        issuer.token(headers={"typ": "logout+jwt"}),
        issuer.token(headers={"kid": "unknown"}),
        issuer.token("ec", headers={"kid": "rsa"}),
    ]
    for token in hostile:
        response = federated.get("/auth/me", headers=_bearer(token))
        _problem(response, 401, "token-invalid")
        assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def _sent_away(client: FlaskClient) -> str:
    """Begin a login; where the browser is sent to."""
    response = client.get("/auth/oidc/login")
    assert response.status_code == 303
    return response.headers["Location"]


def _sent_back(url: str) -> str:
    """What the issuer does with the browser: the path and query that it comes back to."""
    response = requests.get(url, allow_redirects=False, timeout=5)
    assert response.status_code == 302
    back = urlsplit(response.headers["Location"])
    assert (back.netloc, back.path) == ("localhost", "/auth/oidc/callback")
    return f"{back.path}?{back.query}"


def test_a_browser_logs_in_through_the_issuer(federated: FlaskClient, issuer: Issuer) -> None:
    away = _sent_away(federated)
    asked = parse_qs(urlsplit(away).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["nonce"]
    back = federated.get(_sent_back(away))
    assert (back.status_code, back.headers["Location"]) == (303, "/")
    me = federated.get("/auth/me").get_json()
    assert me["method"] == "login"
    assert federated.get_cookie("switchboard_oidc") is None
    bearer = federated.application.test_client().get("/auth/me", headers=_bearer(issuer.token()))
    assert bearer.get_json()["user_id"] == me["user_id"]


def test_a_login_is_finished_once(federated: FlaskClient, issuer: Issuer) -> None:
    back = _sent_back(_sent_away(federated))
    binding = _value(federated, "switchboard_oidc")
    assert federated.get(back).status_code == 303
    federated.set_cookie("switchboard_oidc", binding)
    # Refused here, not only by the issuer, whose codes may be good for more than once.
    assert "finished before" in _problem(federated.get(back), 401, "login-failed")["detail"]


def test_nobody_is_sent_back_into_the_login_of_another(federated: FlaskClient, issuer: Issuer) -> None:
    victim = federated.application.test_client()
    back = _sent_back(_sent_away(federated))
    _problem(victim.get(back), 401, "login-failed")
    back = _sent_back(_sent_away(federated))
    _sent_away(victim)
    _problem(victim.get(back), 401, "login-failed")
    assert victim.get_cookie(COOKIE) is None


@pytest.mark.parametrize(
    "query", ["", "?state=x", "?code=x", "?state=x&code=y", "?error=access_denied&state=x", "?state=%00&code=%ff"]
)
def test_a_way_back_that_nobody_went_is_refused(federated: FlaskClient, query: str) -> None:
    _problem(federated.get(f"/auth/oidc/callback{query}"), 401, "login-failed")


def test_a_wrong_code_or_nonce_logs_nobody_in(federated: FlaskClient, issuer: Issuer) -> None:
    state = parse_qs(urlsplit(_sent_away(federated)).query)["state"][0]
    _problem(federated.get(f"/auth/oidc/callback?state={state}&code=guessed"), 401, "login-failed")
    back = _sent_back(_sent_away(federated))
    issuer.broken_nonce = True
    _problem(federated.get(back), 401, "login-failed")


def test_an_issuer_that_is_away_is_said_to_be(federated: FlaskClient, issuer: Issuer) -> None:
    issuer.down = True
    _problem(federated.get("/auth/oidc/login"), 503, "unavailable")


AWAY = "The identity provider is away; try again in a moment."
MISCONFIGURED = "Logging in through the identity provider is not set up correctly here; tell the operator."
NOT_CONFIRMED = "The identity provider did not confirm this login; begin again."
UNTRUSTED = "The identity provider's answer can't be trusted; begin again, or tell the operator."
NOT_LOGGED_IN = "The identity provider did not log you in."


def _oauth(error: str) -> bytes:
    return json.dumps({"error": error, "error_description": "hunter2", "id_token": "hunter2"}).encode()


def _failures(client: FlaskClient) -> list[str]:
    """What the audit log says of logins that failed."""
    return [str(event.detail) for event in runtime_of(client.application).audit.read(kind=Kind.LOGIN_FAILED)]


def _fails(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, path: str, status: int, told: str, why: str
) -> list[str]:
    """The lines of the log about a login that fails, which are to hold nothing of it."""
    before = _failures(client)
    caplog.clear()
    answer = client.get(path)
    problem = _problem(answer, status, "login-failed" if status == 401 else "unavailable")
    assert problem["detail"] == told
    assert (status == 503) == ("Retry-After" in answer.headers)
    assert _failures(client)[len(before) :] == [f"oidc: {why}"]
    asked = parse_qs(urlsplit(path).query)
    brought = asked.get("code", []) + asked.get("state", [])
    assert not [each for each in (CLIENT_SECRET, "hunter2", *brought) if each in caplog.text]
    # Threads of other tests may tell of a store that has gone with theirs.
    records = [record for record in caplog.records if not record.name.startswith("web.streaming")]
    return [record.getMessage() for record in records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("answer", "status", "told", "why", "right"),
    [
        (
            answer_with(401, _oauth("invalid_client")),
            503,
            MISCONFIGURED,
            "its token endpoint answers invalid_client",
            "correct SWITCHBOARD_OIDC_CLIENT_ID and SWITCHBOARD_OIDC_CLIENT_SECRET",
        ),
        (
            answer_with(400, _oauth("invalid_grant")),
            401,
            NOT_CONFIRMED,
            "its token endpoint answers invalid_grant",
            "SWITCHBOARD_OIDC_CLIENT_ID, SWITCHBOARD_OIDC_CLIENT_SECRET and the redirect URI",
        ),
        (
            answer_with(400, _oauth("hunter2")),
            401,
            NOT_CONFIRMED,
            "its token endpoint answers an error that is none of OAuth",
            "SWITCHBOARD_OIDC_CLIENT_SECRET",
        ),
        (answer_with(400, _oauth("server_error")), 503, AWAY, "its token endpoint answers server_error", "log"),
        (answer_with(401, b"<p>hunter2"), 503, MISCONFIGURED, "its token endpoint answers with 401", "metadata"),
        (
            answer_with(302, b"", Location="/hunter2"),
            503,
            MISCONFIGURED,
            "its token endpoint answers with 302, a redirect, which is not followed",
            "metadata",
        ),
        (answer_with(502, b"hunter2"), 503, AWAY, "its token endpoint answers with 502", "metadata"),
        (
            answer_with(200, b'["hunter2"]'),
            503,
            MISCONFIGURED,
            "its token endpoint answers with something that is no JSON object",
            "metadata",
        ),
        (
            answer_with(200, b'{"access_token": "hunter2", "expires_in": ["hunter2"]}'),
            503,
            MISCONFIGURED,
            "its token endpoint gives no ID token",
            "allow this client the scope openid",
        ),
        (flood, 503, MISCONFIGURED, "its token endpoint answers with more than 1,048,576 bytes", "metadata"),
        (drip, 503, AWAY, "its token endpoint gives no whole answer within 3 s", "metadata"),
    ],
)
def test_a_code_that_is_not_redeemed_is_told_to_the_operator(
    federated: FlaskClient,
    issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[BaseHTTPRequestHandler], None],
    status: int,
    told: str,
    why: str,
    right: str,
) -> None:
    issuer.instead["/token"] = answer
    (line,) = _fails(federated, caplog, _sent_back(_sent_away(federated)), status, told, why)
    setting, _, rest = line.partition(f": {why}; ")
    assert setting == f"SWITCHBOARD_OIDC_ISSUER={issuer.url}"
    assert right in rest


@pytest.mark.parametrize(
    ("claims", "header", "wrong", "right"),
    [
        ({"aud": "another"}, {}, "its audience (aud) is another", "SWITCHBOARD_OIDC_CLIENT_ID"),
        ({"iss": "https://hunter2.example"}, {}, "its issuer (iss) is another", "SWITCHBOARD_OIDC_ISSUER"),
        ({"nonce": "another"}, {}, "it does not repeat the login's nonce", "provider"),
        ({"iat": time.time() + 600}, {}, "it is from the future, by more than 30 s (iat, nbf)", "NTP"),
        ({"exp": 1}, {}, "it has expired (exp)", "NTP"),
        ({"exp": None}, {}, "it has no exp", "exp"),
        ({"sub": ""}, {}, "its subject (sub) can't be used", "1 to 255 ASCII characters"),
        ({}, {"kid": None}, "it does not name its key (kid)", "keys"),
        ({}, {"kid": "hunter2"}, "it names no key of the issuer's, or is no token at all", "keys"),
        ({}, {"kid": "ec"}, "its signature is not that of its key", "keys"),
        ({"aud": ["another", CLIENT_ID], "azp": "another"}, {}, "it was made for another client (azp)", "CLIENT_ID"),
        ({"aud": ["another", CLIENT_ID]}, {}, "it was made for another client (azp)", "CLIENT_ID"),
        ({"azp": "another"}, {}, "it was made for another client (azp)", "CLIENT_ID"),
    ],
)
def test_an_id_token_that_is_not_believed_is_told_to_the_operator(
    federated: FlaskClient,
    issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
    claims: dict[str, Any],
    header: dict[str, Any],
    wrong: str,
    right: str,
) -> None:
    issuer.id_token, issuer.id_token_header = claims, header
    back = _sent_back(_sent_away(federated))
    (line,) = _fails(federated, caplog, back, 401, UNTRUSTED, f"its ID token: {wrong}")
    assert line.startswith(f"an ID token is refused: SWITCHBOARD_OIDC_ISSUER={issuer.url}: {wrong}; ")
    assert right in line.rpartition("; ")[2]


@pytest.mark.parametrize(
    "claims", [{"azp": CLIENT_ID}, {"aud": [CLIENT_ID]}, {"aud": ["another", CLIENT_ID], "azp": CLIENT_ID}]
)
def test_an_id_token_for_this_client_among_others_is_believed(
    federated: FlaskClient, issuer: Issuer, claims: dict[str, Any]
) -> None:
    issuer.id_token = claims
    assert federated.get(_sent_back(_sent_away(federated))).status_code == 303


@pytest.mark.parametrize(
    ("error", "status", "told", "why"),
    [
        ("access_denied", 401, NOT_LOGGED_IN, "the provider answers access_denied"),
        ("hunter2", 401, NOT_LOGGED_IN, "the provider answers an error that is none of OAuth"),
        ("invalid_scope", 503, MISCONFIGURED, "the provider answers invalid_scope"),
        ("temporarily_unavailable", 503, AWAY, "the provider answers temporarily_unavailable"),
    ],
)
def test_an_error_instead_of_a_code_is_told(
    federated: FlaskClient, caplog: pytest.LogCaptureFixture, error: str, status: int, told: str, why: str
) -> None:
    state = parse_qs(urlsplit(_sent_away(federated)).query)["state"][0]
    path = f"/auth/oidc/callback?error={error}&error_description=hunter2&state={state}"
    lines = _fails(federated, caplog, path, status, told, why)
    assert [why in line for line in lines] == ([True] if status == 503 else [])
    assert "expired or was finished" in _problem(federated.get(path), 401, "login-failed")["detail"]


def test_a_provider_of_another_name_is_told_to_people_and_the_operator(
    federated: FlaskClient, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.said = {"issuer": f"{issuer.url}/"}
    why = f"its metadata names another issuer, {issuer.url}/"
    (line,) = _fails(federated, caplog, "/auth/oidc/login", 503, MISCONFIGURED, why)
    assert line.startswith(f"SWITCHBOARD_OIDC_ISSUER={issuer.url}: {why}; ")
    for _ in range(5):
        _problem(federated.get("/auth/oidc/login"), 503, "unavailable")
    assert _failures(federated).count(f"oidc: {why}") == 1  # in a minute
    assert [record.getMessage() for record in caplog.records] == [line]


def test_a_deleted_account_is_not_logged_in_to_and_is_told(
    federated: FlaskClient, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    assert federated.get(_sent_back(_sent_away(federated))).status_code == 303
    with runtime_of(federated.application).database.writing() as db:
        db.execute(update(User).where(User.oidc_subject == issuer.subject).values(deleted_at=func.now()))
    told, why = "This account has been deleted.", "the account has been deleted"
    assert _fails(federated, caplog, _sent_back(_sent_away(federated)), 401, told, why) == []


def test_who_comes_back_with_nothing_is_noted(federated: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    why = "the provider sent no state, or no code"
    _fails(federated, caplog, "/auth/oidc/callback?error=access_denied", 401, NOT_LOGGED_IN, why)


def test_strangers_fill_no_audit_log(federated: FlaskClient) -> None:
    before = len(_failures(federated))
    for each in range(5):
        _problem(federated.get(f"/auth/oidc/callback?state={each}&code=x"), 401, "login-failed")
    assert _failures(federated)[before:] == ["oidc: a login that has expired, or never was begun"]


def test_what_waits_for_a_browser_does_not_wait_for_ever(federated: FlaskClient, web_runtime: Runtime) -> None:
    _sent_away(federated)
    redis: Redis = web_runtime.redis
    keys = list(redis.scan_iter("sb:oidc:*"))
    assert keys
    assert all(0 < int(redis.ttl(key)) <= 600 for key in keys)


def test_without_an_issuer_there_is_no_such_way(client: FlaskClient, app: Flask) -> None:
    assert client.get("/auth/oidc/login").status_code == 404
