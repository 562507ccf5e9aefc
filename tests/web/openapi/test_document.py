"""The API's description is whole, and what the server does is what it says."""

import re
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, settings
from requests.exceptions import ChunkedEncodingError
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from uuid_utils.compat import uuid7
from werkzeug.serving import make_server

from core.runtime import Runtime
from core.settings import Settings
from web.app import PAGE_ROUTES, create_app
from web.context import context_of
from web.openapi.declaration import declared_operation
from web.openapi.document import describe

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
    negative_data_rejection,
    unsupported_method,
]
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def served(stack: Settings) -> Iterator[Flask]:
    """The application, with real workers behind it."""
    runtime = Runtime(stack)
    application = create_app(runtime)
    yield application
    context_of(application).hub.close()
    runtime.close()


@pytest.fixture(scope="module")
def url(served: Flask) -> Iterator[str]:
    """Where it is served."""
    server = make_server("127.0.0.1", 0, served, threaded=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    """The description."""
    return client.get("/openapi.json").get_json()  # type: ignore[no-any-return]


@pytest.mark.parametrize("oidc", [False, True])
def test_every_route_is_described(stack: Settings, oidc: bool) -> None:
    issuer = {"oidc_issuer": "https://login.example", "oidc_client_id": "switchboard"} if oidc else {}
    app = create_app(Runtime(stack.model_copy(update=issuer)))
    document = app.test_client().get("/openapi.json").get_json()
    assert ("/auth/oidc/login" in document["paths"]) == oidc
    for rule in app.url_map.iter_rules():
        if (rule.endpoint, rule.rule) in PAGE_ROUTES:
            continue
        assert declared_operation(app.view_functions[rule.endpoint])
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            operation = document["paths"][path][method.lower()]
            assert operation["summary"]
            assert operation["responses"]


def test_what_is_served_is_what_is_tried_below(document: dict[str, Any]) -> None:
    assert document == DOCUMENT


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = list(_references(document))
    assert found
    for reference in found:
        at: Any = document
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_its_prose_names_what_it_speaks_of(document: dict[str, Any]) -> None:
    """Plain sentences with a noun as their subject, which a stranger can read one by one."""
    vague = re.compile(r"\b(nobody|somebody|whoever|whom|elsewhere|no such thing|the same\.)(\W|$)", re.IGNORECASE)
    found = list(_prose(document))
    assert len(found) > 100
    assert [text for text in found if vague.search(text)] == []
    assert [text for text in found if not text.endswith(".")] == []


def _prose(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("summary", "description") and isinstance(value, str):
                yield value
            else:
                yield from _prose(value)
    elif isinstance(node, list):
        for value in node:
            yield from _prose(value)


def test_the_contracts_headers_and_refusals_are_in_it(document: dict[str, Any]) -> None:
    def takes(method: str, path: str) -> set[str]:
        return {parameter["name"] for parameter in document["paths"][path][method]["parameters"]}

    assert {"Idempotency-Key", "Prefer"} <= takes("post", "/session/create")
    assert "Idempotency-Key" in takes("post", "/chat")
    assert "If-Match" in takes("post", "/session/model")
    assert {"Last-Event-ID", "last_event_id"} <= takes("get", "/chat/sse")
    for path in ("/chat", "/chat/sse"):
        responses = document["paths"][path]["post"]["responses"]
        assert {"400", "401", "403", "409", "413", "415", "422", "429", "503"} <= set(responses)
        assert set(responses["429"]["headers"]) == {"Retry-After", "RateLimit", "RateLimit-Policy"}
        assert set(responses["429"]["content"]) == {"application/problem+json"}
    assert "412" in document["paths"]["/session/model"]["post"]["responses"]
    assert set(document["paths"]["/chat/sse"]["get"]["responses"]["200"]["content"]) == {"text/event-stream"}
    assert set(document["components"]["securitySchemes"]) == {
        "sessionCookie",
        "sessionHeader",
        "loginCookie",
        "bearer",
    }


def test_the_page_needs_nothing_from_elsewhere(client: FlaskClient, document: dict[str, Any]) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "style=" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<b>{method.upper()}</b> {path}" in page.text


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", f"limit={'9' * 5000}", "before=", "before=x"])
def test_a_page_that_is_none_is_refused(served: Flask, query: str) -> None:
    """Schemathesis does not think of numbers that Python refuses to read."""
    client = served.test_client()
    client.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
    assert client.get(f"/sessions?{query}").status_code == 422


class Caller:
    """Somebody with a session of their own, for as long as it is not deleted."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._headers: dict[str, str] | None = None

    def headers(self) -> dict[str, str]:
        """What proves them."""
        if self._headers is None:
            self._headers = self._arrive(self._app.test_client())
        return self._headers

    def leave(self) -> None:
        """What proved them may prove nothing any more."""
        self._headers = None

    def _arrive(self, client: FlaskClient) -> dict[str, str]:
        client.post("/session/create")
        cookie = client.get_cookie("switchboard")
        assert cookie is not None
        return {"X-Session-ID": cookie.value}


class Nobody(Caller):
    """Somebody who proves nothing."""

    def _arrive(self, client: FlaskClient) -> dict[str, str]:
        return {}


class User(Caller):
    """Somebody who is logged in."""

    def _arrive(self, client: FlaskClient) -> dict[str, str]:
        client.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
        login = client.get_cookie("switchboard_login")
        assert login is not None
        return {**super()._arrive(client), "Cookie": f"switchboard_login={quote(login.value)}"}


class Program(Caller):
    """A user's program, with an API key."""

    def _arrive(self, client: FlaskClient) -> dict[str, str]:
        client.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
        key = client.post("/auth/keys", json={"name": "fuzz"}).get_json()["key"]
        return {**super()._arrive(client), "Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def nobody(served: Flask) -> Caller:
    return Nobody(served)


@pytest.fixture(scope="module")
def guest(served: Flask) -> Caller:
    return Caller(served)


@pytest.fixture(scope="module")
def user(served: Flask) -> Caller:
    return User(served)


@pytest.fixture(scope="module")
def program(served: Flask) -> Caller:
    return Program(served)


# Made here and not fetched, so that each call is a test of its own; that the server serves the same is tested above.
DOCUMENT = describe(create_app(Runtime(Settings(_env_file=None))))
REFUSALS = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]
"""What invalid data may be answered with: also that there is too much of it."""
OPTIONS = {"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}}
described = schemathesis.openapi.from_dict(DOCUMENT, config=schemathesis.Config.from_dict(OPTIONS))
proved = schemathesis.openapi.from_dict(
    DOCUMENT,
    config=schemathesis.Config.from_dict({**OPTIONS, "generation": {"with-security-parameters": False}}),
)
"""The document without its security schemes, for callers with credentials of their own: invented ones would only get
in their way."""
few = settings(
    max_examples=6, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
"""Examples for each call, the same in every run."""


@described.parametrize()
@pytest.mark.one_database
@few
def test_nobody_is_told_what_the_description_says(case: Case[Any], url: str, nobody: Caller) -> None:
    _try(case, url, nobody)


@proved.parametrize()
@pytest.mark.one_database
@few
def test_a_guest_is(case: Case[Any], url: str, guest: Caller) -> None:
    _try(case, url, guest)


@proved.parametrize()
@few
def test_a_user_is(case: Case[Any], url: str, user: Caller) -> None:
    _try(case, url, user)


@proved.parametrize()
@pytest.mark.one_database
@few
def test_a_program_is(case: Case[Any], url: str, program: Caller) -> None:
    _try(case, url, program)


ENDLESS = {("GET", "/chat/sse"), ("GET", "/sessions/events")}
"""Streams that have no end: tests/web/api/test_chat.py and test_sessions.py read them."""


def _try(case: Case[Any], url: str, caller: Caller) -> None:
    if (case.method, case.path) in ENDLESS and caller.headers():
        return
    try:
        response = case.call_and_validate(checks=CHECKS, base_url=url, headers=caller.headers(), timeout=20)
    except ChunkedEncodingError:
        # On a machine so busy that Redis is late, a stream is cut after its headers, and its reader comes again.
        assert case.path in ("/chat/sse", "/api/chat", "/api/chat/{chat_id}/stream")
        return
    if response.status_code == 204:
        caller.leave()
