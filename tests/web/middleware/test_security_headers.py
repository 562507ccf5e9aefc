"""What browsers are told, and what other sites' pages can't make them do."""

import itertools

import pytest
from flask import Flask
from flask.testing import FlaskClient

from core.runtime import Runtime
from tests.web.api.test_session import _create, _problem
from web.app import create_app
from web.middleware.csrf import same_site

FRIEND = "https://friend.example"
HERE = "chat.example:8000"
FETCH_SITES = {None: None, "same-origin": True, "none": True, "same-site": False, "cross-site": False, "new": False}
ORIGINS = {
    None: True,
    f"http://{HERE}": True,
    f"https://{HERE}": True,  # a proxy that ends TLS may be in between
    f"HTTP://{HERE.upper()}": True,
    "http://chat.example": False,
    "http://chat.example:8001": False,
    "http://evil.example": False,
    f"http://{HERE}.evil.example": False,
    f"http://evil.example/{HERE}": False,
    f"http://evil.example@{HERE}": False,
    "null": False,
    "": False,
    HERE: False,
}


@pytest.mark.parametrize(("fetch_site", "origin"), list(itertools.product(FETCH_SITES, ORIGINS)))
def test_fetch_metadata_decides_and_else_the_origin(fetch_site: str | None, origin: str | None) -> None:
    said = FETCH_SITES[fetch_site]
    expected = ORIGINS[origin] if said is None else said
    assert same_site(fetch_site, origin, HERE, secure=False) == expected


@pytest.mark.parametrize("fetch_site", FETCH_SITES)
def test_a_trusted_origin_is_one_of_ours(fetch_site: str | None) -> None:
    assert same_site(fetch_site, FRIEND, HERE, secure=True, trusted=[FRIEND])
    assert not same_site("cross-site", FRIEND + ".evil.example", HERE, secure=True, trusted=[FRIEND])


@pytest.mark.parametrize(
    ("origin", "host", "secure", "expected"),
    [
        ("https://chat.example", "chat.example", True, True),
        ("https://chat.example", "chat.example:443", True, True),
        ("http://chat.example", "chat.example:80", False, True),
        ("http://chat.example", "chat.example", True, False),
        ("https://[::1]:8000", "[::1]:8000", True, True),
    ],
)
def test_ports_and_schemes_are_compared(origin: str, host: str, secure: bool, expected: bool) -> None:
    assert same_site(None, origin, host, secure=secure) == expected


BROWSER = {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
OLD_BROWSER = {"Origin": "http://evil.example"}
UNSAFE = [("POST", "/chat"), ("POST", "/session/refresh"), ("POST", "/session/model"), ("DELETE", "/session")]


@pytest.mark.parametrize("headers", [BROWSER, OLD_BROWSER, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}])
@pytest.mark.parametrize(("method", "path"), [*UNSAFE, ("PUT", "/chat"), ("POST", "/nowhere"), ("GET", "/chat/sse")])
def test_nothing_is_done_with_a_cookie_for_another_site(
    client: FlaskClient, method: str, path: str, headers: dict[str, str]
) -> None:
    _create(client)
    before = client.get("/session/current").get_json()
    _problem(client.open(path, method=method, headers=headers), 403, "cross-site")
    assert client.get("/session/current").get_json() == before


def test_a_refusal_tells_what_was_compared_with_what(client: FlaskClient) -> None:
    """Behind a proxy that rewrites Host, every message is refused; whoever set it up must learn why."""
    for origin in ("https://chat.example", "https://chat.example" + "x" * 5_000):
        told = _problem(client.post("/chat", headers={"Origin": origin}), 403, "cross-site")["detail"]
        for part in ("'https://chat.example", "'localhost'", "proxy_set_header Host $http_host", "TRUSTED_PROXIES"):
            assert part in told
        assert len(told) < 1_000
    told = _problem(client.post("/chat", headers=BROWSER), 403, "cross-site")["detail"]
    assert "Sec-Fetch-Site is 'cross-site'" in told
    assert "proxy" not in told  # which changes no such header


@pytest.mark.parametrize("headers", [BROWSER, OLD_BROWSER])
def test_another_site_makes_no_session_in_place_of_the_visitors_own(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    """A form on another site comes without the cookie (SameSite), but its answer could set one."""
    for path in ("/session/create", "/chat"):
        response = client.post(path, headers=headers)
        _problem(response, 403, "cross-site")
        assert "Set-Cookie" not in response.headers


def test_reading_is_left_to_the_browsers_own_rule(client: FlaskClient) -> None:
    _create(client)
    response = client.get("/session/current", headers=BROWSER)
    assert response.status_code == 200
    assert "Access-Control" not in str(response.headers)
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_header_credential_is_no_browsers_doing(client: FlaskClient, other: FlaskClient) -> None:
    _create(client)
    cookie = client.get_cookie("switchboard")
    assert cookie is not None
    header = {"X-Session-ID": cookie.value}
    assert other.post("/session/refresh", headers={**BROWSER, **header}).status_code == 200
    _problem(client.post("/session/refresh", headers={**BROWSER, **header}), 403, "cross-site")


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}]
)
def test_our_own_pages_and_programs_are_served(client: FlaskClient, headers: dict[str, str]) -> None:
    _create(client)
    assert client.post("/session/refresh", headers=headers).status_code == 200


def test_a_stream_that_would_create_a_session_is_refused_to_another_site(web_runtime: Runtime) -> None:
    client = _app_with(web_runtime, auto_create="on_stream").test_client()
    response = client.get("/chat/sse", headers={"Sec-Fetch-Site": "cross-site"})
    _problem(response, 403, "cross-site")
    assert "Set-Cookie" not in response.headers
    assert client.get("/chat/sse", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


EVERYWHERE = ["/", "/static/css/conversation.css", "/healthz", "/config/models", "/session/current", "/nowhere"]


@pytest.mark.parametrize("path", EVERYWHERE)
def test_every_answer_carries_the_headers(client: FlaskClient, path: str) -> None:
    with client.get(path) as response:
        headers = response.headers
    policy = dict(directive.split(" ", 1) for directive in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "microphone=()" in headers["Permissions-Policy"]
    assert "Strict-Transport-Security" not in headers
    with client.get(path, base_url="https://chat.example") as response:
        assert "Strict-Transport-Security" in response.headers


def test_streams_and_refusals_carry_the_headers_too(client: FlaskClient) -> None:
    _create(client)
    refused = client.post("/chat", headers=BROWSER)
    for response in (client.get("/chat/sse"), refused):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"


def test_what_depends_on_a_person_is_stored_nowhere(client: FlaskClient) -> None:
    answers = [
        client.get("/session/current"),
        client.get("/nowhere"),
        client.post("/session/create"),
        client.get("/session/current"),
        client.get("/session/messages"),
        client.post("/session/model", json={"model": "paused"}),
        client.post("/session/refresh"),
        client.get("/auth/me"),
        client.delete("/session"),
    ]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


def test_static_files_may_be_kept_and_asked_about(client: FlaskClient) -> None:
    first = client.get("/static/css/conversation.css")
    first.close()
    assert "no-store" not in first.headers["Cache-Control"]
    again = client.get("/static/css/conversation.css", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


def _app_with(runtime: Runtime, **options: object) -> Flask:
    return create_app(Runtime(runtime.settings.model_copy(update=options)))


@pytest.fixture
def befriended(web_runtime: Runtime) -> FlaskClient:
    """A front end that lets one other origin in."""
    return _app_with(web_runtime, cors_origins=(FRIEND,)).test_client()


PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-stainless-os,openai-beta,user-agent",
}


def test_without_configuration_no_origin_may_ask(client: FlaskClient) -> None:
    response = client.options("/chat", headers={**PREFLIGHT, "Origin": FRIEND})
    assert "Access-Control" not in str(response.headers)
    assert "Origin" not in response.headers.get("Vary", "")


def test_a_configured_origin_may_ask_write_and_read(befriended: FlaskClient) -> None:
    from_friend = {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}
    allowed = befriended.options("/chat", headers={**PREFLIGHT, **from_friend})
    assert allowed.status_code == 204
    assert allowed.headers["Access-Control-Allow-Origin"] == FRIEND
    assert allowed.headers["Access-Control-Allow-Credentials"] == "true"
    asked = {"Idempotency-Key", "x-stainless-os", "openai-beta", "user-agent"}
    assert asked <= set(allowed.headers["Access-Control-Allow-Headers"].split(", "))
    assert "DELETE" in allowed.headers["Access-Control-Allow-Methods"]
    created = befriended.post("/session/create", headers=from_friend)
    assert created.status_code == 201
    assert created.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "Origin" in created.headers["Vary"]
    exposed = created.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"ETag", "Location", "Retry-After", "RateLimit", "RateLimit-Policy"} <= set(exposed)
    assert befriended.get("/session/current", headers=from_friend).status_code == 200


def test_other_origins_stay_out_of_it(befriended: FlaskClient) -> None:
    stranger = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for response in (
        befriended.options("/chat", headers={**PREFLIGHT, **stranger}),
        befriended.post("/session/create", headers=stranger),
        befriended.get("/config/models", headers=stranger),
    ):
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Origin" in response.headers["Vary"]
