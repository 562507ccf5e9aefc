"""An operation declares once what is enforced and described: access, body, parameters, answers, errors."""

import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import wraps
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from flask import Blueprint, Flask, Response, abort
from flask.testing import FlaskClient
from uuid_utils.compat import uuid7
from werkzeug.exceptions import HTTPException

import web.api
import web.app
from core.auth.principal import Principal
from core.errors import (
    EmailTaken,
    GenerationInProgress,
    InvalidBody,
    NotOwner,
    SwitchboardError,
    Unavailable,
    UnknownModel,
)
from core.messaging.replies import Reply
from core.runtime import Runtime
from core.sessions.queries import Session
from core.settings import Settings
from tests.web.api.test_session import _create, _problem
from web.api.operation import operation
from web.api.parameters import PREFER, page_end, page_size
from web.app import PAGE_ROUTES, create_app
from web.auth import access
from web.auth.access import OPERATOR, PUBLIC, SESSION, USER, USER_BY_LOGIN, Access
from web.commands import CommandFailed
from web.context import context_of
from web.errors import IdempotencyMismatch
from web.openapi.declaration import Operation, UndeclaredAnswer, UndeclaredOperation, declared_operation
from web.pages.chat import index
from web.schemas import responses
from web.schemas.requests import ChangeSession

LIMIT = page_size(200, 50)
BEFORE = page_end("The end.", "an id")
PASSWORD = "correct horse battery"

Make = Callable[..., FlaskClient]


@pytest.fixture
def serve(web_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Serves handlers, one below /probe/<its name>, beside the API."""
    apps: list[Flask] = []

    def make(*handlers: Callable[..., Any], methods: tuple[str, ...] = ("GET", "POST")) -> FlaskClient:
        blueprint = Blueprint("probe_of_a_test", __name__, url_prefix="/probe")
        for handler in handlers:
            blueprint.add_url_rule(f"/{handler.__name__}", view_func=handler, methods=methods)
        monkeypatch.setattr(web.app, "API", (*web.app.API, SimpleNamespace(blueprint=blueprint)))
        apps.append(create_app(web_runtime))
        return apps[-1].test_client()

    yield make
    for app in apps:
        context_of(app).hub.close()


def test_a_route_without_an_operation_does_not_start(serve: Make) -> None:
    def forgotten() -> Response:
        return Response()

    with pytest.raises(UndeclaredOperation, match=r"forgotten at /probe/forgotten lacks @operation"):
        serve(forgotten)


def test_a_wrapper_of_an_operation_is_none(serve: Make) -> None:
    @operation(access=OPERATOR, answers={204: None})
    def checked() -> None:
        """Answer the operator."""

    @wraps(checked)
    def wrapper() -> Response:
        return Response("unchecked")

    with pytest.raises(UndeclaredOperation, match=r"checked at /probe/checked lacks @operation"):
        serve(wrapper)


@pytest.mark.parametrize(("path", "method"), [("/", "POST"), ("/probe", "GET"), ("/probe", "POST")])
def test_another_route_to_a_page_does_not_start(
    web_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, path: str, method: str
) -> None:
    blueprint = Blueprint("probe_of_a_test", __name__)
    blueprint.record(lambda state: state.app.add_url_rule(path, "pages.index", index, methods=[method]))
    monkeypatch.setattr(web.app, "PAGES", (*web.app.PAGES, SimpleNamespace(blueprint=blueprint)))
    with pytest.raises(UndeclaredOperation, match=f"index at {path} lacks @operation"):
        create_app(web_runtime)


@pytest.mark.parametrize(("endpoint", "path"), PAGE_ROUTES)
def test_a_page_whose_function_was_replaced_does_not_start(
    web_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, endpoint: str, path: str
) -> None:
    def replacement() -> Response:
        return Response("unchecked")

    blueprint = Blueprint("probe_of_a_test", __name__)
    blueprint.record(lambda state: state.app.view_functions.update({endpoint: replacement}))
    monkeypatch.setattr(web.app, "PAGES", (*web.app.PAGES, SimpleNamespace(blueprint=blueprint)))
    with pytest.raises(UndeclaredOperation, match=f"replacement at {path} lacks @operation"):
        create_app(web_runtime)


def test_an_access_level_is_one_of_those_that_are_known() -> None:
    for level in (replace(USER, grants={}), Access(USER.grants, USER.raises, USER.security)):
        with pytest.raises(UndeclaredOperation, match="an access level that is none of"):
            operation(access=level, answers={204: None})(test_an_access_level_is_one_of_those_that_are_known)


def test_a_response_that_is_raised_is_an_answer_like_another(serve: Make, caplog: pytest.LogCaptureFixture) -> None:
    @operation(access=PUBLIC, answers={200: "text/csv"})
    def declared() -> None:
        """Raise what is declared."""
        abort(Response("a,b", mimetype="text/csv"))

    @operation(access=PUBLIC, answers={204: None})
    def undeclared() -> None:
        """Raise something else."""
        abort(Response('{"secret": 1}', 200, content_type="application/json"))

    client = serve(declared, undeclared)
    assert client.get("/probe/declared").data == b"a,b"
    _problem(client.get("/probe/undeclared"), 500, "internal")
    assert "undeclared answers with 200 application/json" in caplog.text


def test_an_http_error_of_a_handler_is_answered_and_logged(serve: Make, caplog: pytest.LogCaptureFixture) -> None:
    @operation(access=PUBLIC, answers={204: None})
    def conflict() -> None:
        """Raise what no operation can declare."""
        abort(409)

    _problem(serve(conflict).get("/probe/conflict"), 409, "conflict")
    [record] = [record for record in caplog.records if record.name == "web.api.operation"]
    assert record.getMessage().endswith("conflict does not declare the HTTP error 409")
    caplog.clear()


def test_an_answer_without_a_body_has_none(serve: Make) -> None:
    @operation(access=PUBLIC, answers={200: None})
    def wordy(response: Response) -> None:
        """Write a body all the same."""
        response.data = b"anything"

    _problem(serve(wordy).get("/probe/wordy"), 500, "internal")


def test_nothing_is_added_to_an_application_that_is_complete(app: Flask) -> None:
    def late() -> Response:
        return Response("unchecked")

    with pytest.raises(AssertionError, match="'add_url_rule' can no longer be called"):
        app.add_url_rule("/late", view_func=late)
    with pytest.raises(AssertionError, match="'register_blueprint' can no longer be called"):
        app.register_blueprint(Blueprint("late", __name__))
    with pytest.raises(AssertionError, match="'before_request' can no longer be called"):
        app.before_request(late)
    with pytest.raises(AssertionError, match="'errorhandler' can no longer be called"):
        app.errorhandler(404)
    assert app.test_client().get("/late").status_code == 404


def test_requests_are_answered_by_views_and_by_these_hooks_alone(stack: Settings) -> None:
    """A hook before requests may answer them unchecked, and an error handler turn a refusal into a success."""
    issuer = {"oidc_issuer": "https://login.example", "oidc_client_id": "switchboard"}
    app = create_app(Runtime(stack.model_copy(update=issuer)))

    def names(hooks: Iterable[Callable[..., Any]]) -> list[str]:
        return [f"{hook.__module__}.{hook.__qualname__}" for hook in hooks]

    assert {scope: names(hooks) for scope, hooks in app.before_request_funcs.items()} == {
        None: [
            "web.middleware.request_ids._begin",
            "web.middleware.access_log._begin",
            "web.middleware.request_metrics.register.<locals>.begin",
            "web.middleware.body_limits._bound",
            "web.middleware.hosts.register.<locals>.check",
            "web.middleware.cors._preflight",
            "web.middleware.csrf._check",
        ],
        "events": ["web.streaming.door.wait_for_turn"],
    }
    assert {scope: names(hooks) for scope, hooks in app.after_request_funcs.items()} == {
        None: [
            "web.middleware.request_ids._name",
            "web.middleware.access_log._end",
            "web.middleware.request_metrics.register.<locals>.count",
            "web.middleware.cors._allow",
            "web.middleware.security_headers._add_headers",
            "web.limits.rate_limit_headers._announce",
            "web.api.openai.errors._reshape",
        ]
    }
    assert {scope: names(hooks) for scope, hooks in app.teardown_request_funcs.items()} == {
        None: ["web.streaming.slots._release"]
    }
    assert not any(app.url_value_preprocessors.values())
    handlers = {
        (scope, code, error): handler.__qualname__
        for scope, by_code in app.error_handler_spec.items()
        for code, by_error in by_code.items()
        for error, handler in by_error.items()
    }
    assert handlers == {
        (None, None, SwitchboardError): "_domain_error",
        (None, None, Unavailable): "_unavailable",
        (None, None, HTTPException): "_http_error",
        (None, None, Exception): "_unexpected",
    }
    context_of(app).hub.close()


def test_every_blueprint_of_the_api_is_served(stack: Settings) -> None:
    issuer = {"oidc_issuer": "https://login.example", "oidc_client_id": "switchboard"}
    app = create_app(Runtime(stack.model_copy(update=issuer)))
    for found in pkgutil.iter_modules(web.api.__path__, "web.api."):
        blueprint = getattr(importlib.import_module(found.name), "blueprint", None)
        assert blueprint is None or blueprint in app.blueprints.values(), f"{found.name} is missing from API"
    context_of(app).hub.close()


def test_a_handler_that_wants_what_nothing_provides_does_not_start(serve: Make) -> None:
    @operation(access=PUBLIC, answers={204: None})
    def unprotected(session: Session, task_id: str) -> None:
        """Ask for a session without the access level that grants one."""

    with pytest.raises(UndeclaredOperation, match=r"unprotected at /probe/unprotected is given no session, task_id"):
        serve(unprotected)


def test_a_handler_is_given_what_it_asks_for(serve: Make) -> None:
    seen: dict[str, object] = {}

    @operation(access=SESSION, body=ChangeSession, takes=(LIMIT, BEFORE, PREFER), answers={200: responses.Health})
    def asking(
        session: Session,
        body: ChangeSession,
        limit: int,
        before: UUID | None,
        respond_async: bool,
        response: Response,
    ) -> responses.Health:
        """Ask for everything."""
        seen.update(session=session.id, title=body.title, limit=limit, before=before, respond_async=respond_async)
        response.headers["Location"] = "/elsewhere"
        return responses.Health(status="ok")

    client = serve(asking)
    session = _create(client)
    before = uuid7()
    answer = client.post(
        f"/probe/asking?limit=7&before={before}", json={"title": " A "}, headers={"Prefer": "wait=1, respond-async"}
    )
    assert (answer.status_code, answer.data) == (200, b'{"status":"ok"}')
    assert (answer.headers["Location"], answer.headers["Cache-Control"]) == ("/elsewhere", "no-store")
    assert seen == {
        "session": UUID(session["session_id"]),
        "title": "A",
        "limit": 7,
        "before": before,
        "respond_async": True,
    }


def test_length_comes_before_access_and_access_before_the_body(client: FlaskClient) -> None:
    def rename(body: bytes) -> Any:
        return client.patch("/session", data=body, content_type="application/json")

    _problem(rename(b"x" * (ChangeSession.limit + 1)), 413, "request-entity-too-large")
    _problem(rename(b"{"), 401, "session-required")
    _create(client)
    _problem(rename(b"{"), 400, "bad-request")
    _problem(client.get("/session/messages?limit=0"), 422, "invalid-body")


OPENAI_REFUSAL = (401, "invalid_api_key")
"""What a stranger meets below /v1, in OpenAI's shape."""
REFUSALS = {
    "SESSION": (401, "session-required"),
    "PRESENTED_CREDENTIAL": (401, "session-required"),
    "USER": (401, "login-required"),
    "USER_OR_WAYS_IN": (401, "login-required"),
    "USER_BY_LOGIN": (401, "login-required"),
    "USER_WITH_SESSION": (401, "login-required"),
    "OPERATOR": (403, "operator-only"),
}
OPEN = {"PUBLIC", "OPTIONAL_USER", "OPTIONAL_SESSION"}
LEVELS = {name: value for name, value in vars(access).items() if isinstance(value, Access)}


def test_every_access_level_is_open_or_refuses_somebody() -> None:
    assert set(LEVELS) == set(REFUSALS) | OPEN
    assert list(access.LEVELS) == list(LEVELS.values())
    assert not LEVELS["PUBLIC"].grants
    assert all({} in LEVELS[name].security for name in OPEN - {"PUBLIC"})


RUBBISH = {
    "session header": {"X-Session-ID": "rubbish"},
    "unknown session": {"X-Session-ID": f"{UUID(int=1)}.{'a' * 43}"},
    "session cookie": {"Cookie": "switchboard=rubbish"},
    "login cookie": {"Cookie": "switchboard_login=rubbish"},
    "bearer": {"Authorization": "Bearer rubbish"},
}
"""Credentials that prove nothing."""
CHECKED: dict[str, set[str]] = {
    "PUBLIC": set(),
    "OPTIONAL_USER": {"login cookie", "bearer"},
    "OPTIONAL_SESSION": set(RUBBISH),
}
"""Which of them each open level refuses."""


@pytest.mark.parametrize("name", sorted(OPEN))
def test_an_open_level_lets_a_stranger_in_and_checks_what_credentials_there_are(serve: Make, name: str) -> None:
    """Also where the handler looks at none of them."""

    @operation(access=LEVELS[name], answers={204: None})
    def heedless() -> None:
        """Look at no credential."""

    client = serve(heedless)
    assert client.get("/probe/heedless").status_code == 204
    for credential, headers in RUBBISH.items():
        answer = client.application.test_client(use_cookies=False).get("/probe/heedless", headers=headers)
        assert answer.status_code == (401 if credential in CHECKED[name] else 204), credential


def test_what_an_open_level_found_is_given_to_the_handler(serve: Make) -> None:
    seen: list[tuple[UUID | None, UUID | None]] = []

    @operation(access=LEVELS["OPTIONAL_SESSION"], answers={204: None})
    def asking(session: Session | None, principal: Principal | None) -> None:
        """Ask for both."""
        seen.append((session.id if session else None, principal.user_id if principal else None))

    client = serve(asking)
    assert client.get("/probe/asking").status_code == 204
    user = client.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD}).get_json()
    session = _create(client)
    assert client.get("/probe/asking").status_code == 204
    assert seen == [(None, None), (UUID(session["session_id"]), UUID(user["user_id"]))]


def _operations(app: Flask) -> Iterator[tuple[str, str, Operation]]:
    for rule in app.url_map.iter_rules():
        if (rule.endpoint, rule.rule) in PAGE_ROUTES:
            continue
        found = declared_operation(app.view_functions[rule.endpoint])
        assert found is not None
        path = re.sub(r"<[^>]+>", str(uuid7()), rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            yield method, path, found


def test_every_operation_that_is_not_open_refuses_a_stranger(app: Flask) -> None:
    refused = 0
    for method, path, found in _operations(app):
        if found.access in [LEVELS[name] for name in OPEN]:
            continue
        level = next(name for name in REFUSALS if LEVELS[name] is found.access)
        answer = app.test_client().open(path, method=method, headers={"X-Forwarded-For": "192.0.2.1"})
        if path.startswith("/v1/"):
            assert (answer.status_code, answer.get_json()["error"]["code"]) == OPENAI_REFUSAL
        else:
            _problem(answer, *REFUSALS[level])
        refused += 1
    assert refused > 20


def test_a_key_opens_what_is_a_users_but_not_what_is_for_browsers(serve: Make) -> None:
    @operation(access=USER, answers={204: None})
    def by_any_proof(principal: Principal) -> None:
        """Take any proof of a user."""

    @operation(access=USER_BY_LOGIN, answers={204: None})
    def by_login(principal: Principal) -> None:
        """Take a login only."""

    client = serve(by_any_proof, by_login)
    client.post("/auth/register", json={"email": f"{uuid7()}@example.org", "password": PASSWORD})
    assert client.get("/probe/by_login").status_code == 204
    key = client.post("/auth/keys", json={"name": "program"}).get_json()["key"]
    client.delete_cookie("switchboard_login")
    bearer = {"Authorization": f"Bearer {key}"}
    assert client.get("/probe/by_any_proof", headers=bearer).status_code == 204
    _problem(client.get("/probe/by_login", headers=bearer), 403, "login-required")


def test_a_get_that_is_not_safe_is_checked_against_other_sites(serve: Make) -> None:
    @operation(access=PUBLIC, answers={204: None})
    def looking() -> None:
        """Change nothing."""

    @operation(access=PUBLIC, answers={204: None}, safe=False)
    def acting() -> None:
        """Change something."""

    client = serve(looking, acting, methods=("GET",))
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert client.get("/probe/looking", headers=foreign).status_code == 204
    _problem(client.get("/probe/acting", headers=foreign), 403, "cross-site")
    document = client.get("/openapi.json").get_json()
    assert "403" not in document["paths"]["/probe/looking"]["get"]["responses"]
    assert "403" in document["paths"]["/probe/acting"]["get"]["responses"]


def test_an_error_that_is_not_declared_is_answered_and_logged(serve: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The log entry fails every other test in which it appears (tests/conftest.py)."""

    @operation(access=PUBLIC, answers={204: None}, raises=(NotOwner,))
    def surprising() -> None:
        """Raise what is declared, or something else."""
        raise errors.pop()

    errors: list[SwitchboardError] = [NotOwner(), EmailTaken()]
    client = serve(surprising)
    _problem(client.get("/probe/surprising"), 409, "email-taken")
    [record] = [record for record in caplog.records if record.name == "web.api.operation"]
    assert record.getMessage().endswith("surprising does not declare the error /problems/email-taken")
    caplog.clear()
    _problem(client.get("/probe/surprising"), 403, "not-owner")
    assert not [record for record in caplog.records if record.name == "web.api.operation"]


@pytest.mark.parametrize(
    "answer",
    [
        *(None, responses.Health(status="ok"), Response(status=202), Response(status=404)),
        Response("{}", 203, mimetype="application/json"),
    ],
)
def test_an_answer_that_is_not_declared_is_a_mistake(answer: object) -> None:
    declared = Operation(str, PUBLIC, {200: responses.Ready, 202: responses.Pending, 203: "text/csv"})
    with pytest.raises(UndeclaredAnswer):
        declared.status_of(answer)


def test_the_status_is_that_of_the_answers_kind() -> None:
    declared = Operation(str, PUBLIC, {201: responses.Session, 202: responses.Pending, 204: None, 200: "text/csv"})
    assert declared.status_of(responses.Pending(state="pending")) == 202
    assert declared.status_of(None) == 204
    assert declared.status_of(Response("a,b", 200, mimetype="text/csv")) == 200


def test_an_operation_entails_the_errors_of_what_it_declares() -> None:
    assert Operation(str, PUBLIC, {}).errors == []
    declared = Operation(
        str, OPERATOR, {}, body=ChangeSession, takes=(LIMIT,), raises=(NotOwner,), idempotent_by="sender"
    )
    assert {NotOwner, *OPERATOR.raises, Unavailable, InvalidBody, IdempotencyMismatch} <= set(declared.errors)
    assert declared.declares(InvalidBody("a field"))
    assert not declared.declares(GenerationInProgress())
    assert declared.declares(SwitchboardError()), "an unexpected error needs no declaration"


def test_a_workers_problem_is_declared_like_the_error_that_it_was() -> None:
    def failed(error: SwitchboardError) -> CommandFailed:
        return CommandFailed(Reply("", "", "", problem=error.problem()))

    declared = Operation(str, PUBLIC, {}, raises=(UnknownModel,))
    assert declared.declares(failed(UnknownModel()))
    assert not declared.declares(failed(NotOwner()))


def test_moments_have_microseconds_and_z_on_the_wire() -> None:
    answer = responses.Session(
        session_id=UUID(int=1),
        anonymous=True,
        model="good",
        version=1,
        created_at="2026-01-02T03:04:05Z",
        expires_at="2026-01-02T04:04:05.5+01:00",
    )
    assert json.loads(json.dumps(answer.wire())) == {
        "session_id": str(UUID(int=1)),
        "anonymous": True,
        "model": "good",
        "version": 1,
        "created_at": "2026-01-02T03:04:05.000000Z",
        "expires_at": "2026-01-02T03:04:05.500000Z",
    }


@pytest.mark.parametrize("text", ["0", "201", "x", "-1", "1.0", "", "9" * 5000])
def test_a_page_size_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidBody, match="a number from 1 to 200 is needed"):
        LIMIT.parse(text)


@pytest.mark.parametrize(("text", "size"), [(None, 50), ("1", 1), ("200", 200), ("007", 7)])
def test_a_page_size_in_range_is_taken(text: str | None, size: int) -> None:
    assert LIMIT.parse(text) == size


def test_a_page_end_is_an_id() -> None:
    some = uuid7()
    assert BEFORE.parse(None) is None
    assert BEFORE.parse(str(some)) == some
    with pytest.raises(InvalidBody, match="an id is needed"):
        BEFORE.parse("x")
