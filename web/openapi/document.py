"""The API's description in OpenAPI 3.1, made from the routes, their handlers' docstrings and `@documented`."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from core.errors import (
    InvalidBody,
    LoginInvalid,
    LoginRequired,
    NotOwner,
    RateLimited,
    SessionExpired,
    SessionInvalid,
    SwitchboardError,
    TokenInvalid,
    Unavailable,
)
from web.errors import (
    CrossSite,
    IdempotencyInFlight,
    IdempotencyKeyInvalid,
    IdempotencyMismatch,
    SessionRequired,
    WrongHost,
)
from web.openapi.operation import IDEMPOTENCY_KEY, SAFE_METHODS, STREAM_ENDPOINT, Documentation, Stream, documentation
from web.schemas.responses import Event, Problem

Json = dict[str, Any]
REFERENCE = "#/components/schemas/{model}"

BY_ACCESS: Mapping[str, Sequence[type[SwitchboardError]]] = {
    "open": (),
    "anybody": (LoginInvalid, TokenInvalid, SessionInvalid, SessionExpired, NotOwner),
    "session": (SessionRequired, SessionInvalid, SessionExpired, NotOwner, LoginInvalid, TokenInvalid),
    "user": (LoginRequired, LoginInvalid, TokenInvalid),
}
BY_KEY = (IdempotencyKeyInvalid, IdempotencyMismatch, IdempotencyInFlight)
BY_BODY = {400: "`bad-request`: the body is not JSON", 413: "`request-entity-too-large`", 415: "not application/json"}

_USER: list[dict[str, list[str]]] = [{"loginCookie": []}, {"bearer": []}]
_SESSION: list[dict[str, list[str]]] = [
    {"sessionCookie": []},
    {"sessionHeader": []},
    {"sessionCookie": [], "loginCookie": []},
    {"sessionHeader": [], "bearer": []},
]
SECURITY: Mapping[str, list[dict[str, list[str]]]] = {
    "open": [],
    "anybody": [{}, *_SESSION, *_USER],
    "session": _SESSION,
    "user": _USER,
}
SECURITY_SCHEMES = {
    "sessionCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "switchboard",
        "description": "`<session_id>.<secret>` of an anonymous session, or the id of a user's. Over HTTPS it is "
        "named `__Host-switchboard`.",
    },
    "sessionHeader": {"type": "apiKey", "in": "header", "name": "X-Session-ID", "description": "The same."},
    "loginCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "switchboard_login",
        "description": "A browser's login. Over HTTPS it is named `__Host-switchboard_login`.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or an OIDC token."},
}
TEXT = {"schema": {"type": "string"}}
HEADERS = {
    "ETag": {**TEXT, "description": "The session's version."},
    "Location": {**TEXT, "description": "Where to go on: for a 202, the task to ask about."},
    "Retry-After": {"schema": {"type": "integer", "minimum": 0}, "description": "Seconds."},
    "RateLimit": {**TEXT, "description": "How the client stands with each limit."},
    "RateLimit-Policy": {**TEXT, "description": "The limits."},
    "WWW-Authenticate": TEXT,
}


def describe(app: Flask) -> Json:
    """The document. Handlers without `@documented` are missing in it."""
    operations = list(_operations(app))
    paths: dict[str, Json] = {}
    for rule, method, view, told in operations:
        paths.setdefault(_path(rule), {})[method.lower()] = _operation(rule, method, view, told)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Switchboard",
            "version": version("switchboard"),
            "description": "Chat sessions: messages in, answers as server-sent events. Errors are problem details "
            "(RFC 9457), times RFC 3339 in UTC, ids UUIDs.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": _schemas(operations), "securitySchemes": SECURITY_SCHEMES, "headers": HEADERS},
    }


Operation = tuple[Rule, str, Any, Documentation]


def _operations(app: Flask) -> Iterator[Operation]:
    for rule in sorted(app.url_map.iter_rules(), key=str):
        view = app.view_functions[rule.endpoint]
        told = documentation(view)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            if told is not None:
                yield rule, method, view, told


def _schemas(operations: Sequence[Operation]) -> Json:
    wanted: dict[tuple[type[BaseModel], Any], None] = {(Problem, "serialization"): None}
    for _, _, _, told in operations:
        if told.body is not None:
            wanted[told.body, "validation"] = None
        for answer in told.answers.values():
            if isinstance(answer, type):
                wanted[answer if issubclass(answer, BaseModel) else Event, "serialization"] = None
    _, document = models_json_schema(list(wanted), ref_template=REFERENCE)
    schemas: Json = document["$defs"]
    return dict(sorted(schemas.items()))


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _operation(rule: Rule, method: str, view: Any, told: Documentation) -> Json:
    summary, _, more = inspect.cleandoc(view.__doc__ or "").partition("\n\n")
    described: Json = {
        "operationId": f"{rule.endpoint}.{method.lower()}",
        "tags": [rule.rule.split("/")[1]],
        "summary": " ".join(summary.split()),
        "security": SECURITY[told.access],
        "responses": dict(sorted(_responses(rule, method, told).items())),
    }
    if more:
        described["description"] = more
    parameters = [*_path_parameters(rule), *_parameters(told)]
    if parameters:
        described["parameters"] = parameters
    if told.body is not None:
        described["requestBody"] = {
            "required": bool(told.body.model_json_schema().get("required")),
            "content": {"application/json": {"schema": _reference(told.body)}},
        }
    return described


def _path_parameters(rule: Rule) -> Iterator[Json]:
    for kind, name in re.findall(r"<(?:(\w+):)?(\w+)>", rule.rule):
        schema = {"type": "string", "format": "uuid"} if kind == "uuid" else {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _parameters(told: Documentation) -> Iterator[Json]:
    for parameter in told.takes:
        yield {
            "name": parameter.name,
            "in": parameter.place,
            "description": parameter.description,
            "schema": dict(parameter.schema),
        }


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _responses(rule: Rule, method: str, told: Documentation) -> dict[str, Json]:
    responses = {str(status): _success(status, answer, told) for status, answer in told.answers.items()}
    for status, words in sorted(_problems(rule, method, told).items()):
        responses[str(status)] = _refusal(status, words)
    return responses


def _success(status: int, answer: type[BaseModel] | type[Stream] | str | None, told: Documentation) -> Json:
    if status == 303:
        return {"description": "Elsewhere.", "headers": {"Location": {"$ref": "#/components/headers/Location"}}}
    if answer is None:
        return {"description": "Done."}
    described: Json
    if isinstance(answer, str):
        kind = "string" if answer.startswith("text/plain") else "object"
        described = {"description": answer, "content": {answer: {"schema": {"type": kind}}}}
    elif issubclass(answer, BaseModel):
        described = _content(answer, "application/json")
    else:
        # OpenAPI 3.1 does not say what the schema of a stream is; here, and to Schemathesis, it is each event's.
        described = _content(Event, "text/event-stream")
    # A 202 that tells of a task says where; that of a message does not: the events tell.
    headers = ["ETag"] if told.etag and status != 202 else ["Location"] if told.etag else []
    if headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return described


def _content(model: type[BaseModel], media_type: str) -> Json:
    return {
        "description": " ".join(inspect.cleandoc(model.__doc__ or model.__name__).split()),
        "content": {media_type: {"schema": _reference(model)}},
    }


def _problems(rule: Rule, method: str, told: Documentation) -> dict[int, list[str]]:
    raised: list[type[SwitchboardError]] = [*told.raises, *BY_ACCESS[told.access], Unavailable, WrongHost]
    words: dict[int, list[str]] = {}
    if method not in SAFE_METHODS or rule.endpoint == STREAM_ENDPOINT:
        raised.append(CrossSite)
    if told.body is not None:
        raised.append(InvalidBody)
        words |= {status: [text] for status, text in BY_BODY.items()}
    if IDEMPOTENCY_KEY in told.takes:
        raised += BY_KEY
    if "<uuid:" in rule.rule:
        words.setdefault(404, [])
    for error in dict.fromkeys(raised):
        summary = inspect.cleandoc(error.__doc__ or error.title).splitlines()[0].rstrip(".")
        words.setdefault(error.status, []).append(f"`{error.slug}`: {summary[0].lower()}{summary[1:]}")
    return words


def _refusal(status: int, words: Sequence[str]) -> Json:
    headers = {
        401: ["WWW-Authenticate"],
        RateLimited.status: ["Retry-After", "RateLimit", "RateLimit-Policy"],
        Unavailable.status: ["Retry-After"],
    }.get(status, [])
    described: Json = {
        "description": "; ".join(words) + "." if words else "There is no such thing.",
        "content": {"application/problem+json": {"schema": _reference(Problem)}},
    }
    if headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return described
