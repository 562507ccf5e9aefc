"""The API's description in OpenAPI 3.1, made of the routes, their handlers' docstrings and their declarations."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from core.errors import SwitchboardError, Unavailable
from core.limits.status import RateLimited
from web.errors import CrossSite, WrongHost
from web.openapi.declaration import (
    AnswerKind,
    Encoded,
    ErrorShape,
    Operation,
    Stream,
    StreamOf,
    declared_operation,
    kinds_of,
)
from web.schemas.responses import Event, Pending, Problem, Session

Json = dict[str, Any]
LICENSE = {"name": "Apache 2.0", "identifier": "Apache-2.0"}
REFERENCE = "#/components/schemas/{model}"

BY_BODY: Mapping[int, str] = {
    400: "`bad-request`: the body is not JSON",
    413: "`request-entity-too-large`: the body is longer than the limit",
    415: "`unsupported-media-type`: the body is not application/json",
}
BY_UUID = "`not-found`: the id in the path is not a UUID"

SECURITY_SCHEMES = {
    "sessionCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "switchboard",
        "description": "`<session_id>.<secret>` of an anonymous session, or the id of a user's. Over HTTPS it is "
        "named `__Host-switchboard`.",
    },
    "sessionHeader": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Session-ID",
        "description": "The value of the session cookie, for clients without cookies.",
    },
    "loginCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "switchboard_login",
        "description": "A browser's login. Over HTTPS it is named `__Host-switchboard_login`.",
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or an OIDC token; for `/metrics`, the operator's token.",
    },
}
TEXT = {"schema": {"type": "string"}}
HEADERS = {
    "ETag": {**TEXT, "description": "The session's version."},
    "Location": {
        **TEXT,
        "description": "For a 202 the URL of the task, for a 303 the URL that the browser is redirected to.",
    },
    "Retry-After": {"schema": {"type": "integer", "minimum": 0}, "description": "Seconds after which to try again."},
    "RateLimit": {
        **TEXT,
        "description": "The client's remaining allowance under each limit (draft-ietf-httpapi-ratelimit-headers).",
    },
    "RateLimit-Policy": {**TEXT, "description": "The limits that apply."},
    "WWW-Authenticate": TEXT,
}


DOCUMENT = "switchboard.openapi"


def document_of(app: Flask) -> Json:
    """The document of an application whose routes are complete; made once."""
    if DOCUMENT not in app.extensions:
        app.extensions[DOCUMENT] = describe(app)
    document: Json = app.extensions[DOCUMENT]
    return document


def describe(app: Flask) -> Json:
    """The document. HTML pages, which declare no operation, are not part of it."""
    operations = list(_operations(app))
    paths: dict[str, Json] = {}
    for rule, method, operation in operations:
        paths.setdefault(_path(rule), {})[method.lower()] = _operation(rule, method, operation)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Switchboard",
            "version": version("switchboard"),
            "description": "Chat sessions: messages in, answers as server-sent events. Errors are problem details "
            "(RFC 9457), times RFC 3339 in UTC, ids UUIDs.",
            "license": LICENSE,
        },
        "servers": [{"url": app.config["APPLICATION_ROOT"]}],
        "paths": paths,
        "components": {"schemas": _schemas(operations), "securitySchemes": SECURITY_SCHEMES, "headers": HEADERS},
    }


def _operations(app: Flask) -> Iterator[tuple[Rule, str, Operation]]:
    for rule in sorted(app.url_map.iter_rules(), key=str):
        operation = declared_operation(app.view_functions[rule.endpoint])
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            if operation is not None:
                yield rule, method, operation


def _schemas(operations: Sequence[tuple[Rule, str, Operation]]) -> Json:
    wanted: dict[tuple[type[BaseModel], Any], None] = {(Problem, "serialization"): None}
    for _, _, operation in operations:
        wanted[operation.errors_as.model, "serialization"] = None
        if operation.body is not None:
            wanted[operation.body, "validation"] = None
        for declared in operation.answers.values():
            for kind in kinds_of(declared):
                model = _model(kind)
                if model is not None:
                    wanted[model, "serialization"] = None
    _, document = models_json_schema(list(wanted), ref_template=REFERENCE)
    schemas: Json = document["$defs"]
    return dict(sorted(schemas.items()))


def _model(kind: AnswerKind) -> type[BaseModel] | None:
    """The model of an answer's JSON. OpenAPI 3.1 does not say what the schema of a stream is; here, and to
    Schemathesis, it is each event's."""
    if isinstance(kind, Encoded | StreamOf):
        return kind.model
    if isinstance(kind, type):
        return Event if issubclass(kind, Stream) else kind
    return None


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _operation(rule: Rule, method: str, operation: Operation) -> Json:
    summary, _, more = inspect.cleandoc(operation.handler.__doc__ or "").partition("\n\n")
    described: Json = {
        "operationId": f"{rule.endpoint}.{method.lower()}",
        "tags": [rule.rule.split("/")[1]],
        "summary": " ".join(summary.split()),
        "security": [dict(requirement) for requirement in operation.access.security],
        "responses": dict(sorted(_responses(rule, method, operation).items())),
    }
    if more:
        described["description"] = " ".join(more.split())
    parameters = [*_path_parameters(rule), *_parameters(operation)]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": bool(operation.body.model_json_schema().get("required")),
            "content": {"application/json": {"schema": _reference(operation.body)}},
        }
    return described


def _path_parameters(rule: Rule) -> Iterator[Json]:
    for kind, name in re.findall(r"<(?:(\w+):)?(\w+)>", rule.rule):
        schema = {"type": "string", "format": "uuid"} if kind == "uuid" else {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _parameters(operation: Operation) -> Iterator[Json]:
    for parameter in operation.parameters:
        yield {
            "name": parameter.name,
            "in": parameter.place,
            "description": parameter.description,
            "schema": dict(parameter.schema),
        }


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _responses(rule: Rule, method: str, operation: Operation) -> dict[str, Json]:
    responses = {str(status): _success(status, kind) for status, kind in operation.answers.items()}
    for status, words in sorted(_problems(rule, method, operation).items()):
        responses[str(status)] = _refusal(status, words, operation.errors_as)
    return responses


def _success(status: int, kind: AnswerKind) -> Json:
    described: Json
    headers: list[str] = []
    if status == 303:
        headers, described = ["Location"], {"description": "A redirect to the URL in `Location`."}
    elif kind is None:
        described = {"description": "Success; the answer has no body."}
    elif isinstance(kind, str):
        schema = {"type": "string" if kind.startswith("text/plain") else "object"}
        described = {"description": f"A body of `{kind}`.", "content": {kind: {"schema": schema}}}
    else:
        first, *others = kinds_of(kind)
        described = _content(first)
        for other in others:
            described["content"] |= _content(other)["content"]
    if isinstance(kind, type) and issubclass(kind, Session | Pending):
        headers = ["Location"] if issubclass(kind, Pending) else ["ETag"]
    return _with_headers(described, headers)


def _content(kind: AnswerKind) -> Json:
    model = _model(kind)
    assert model is not None
    return {
        "description": " ".join(inspect.cleandoc(model.__doc__ or model.__name__).split()),
        "content": {_media_type(kind): {"schema": _reference(model)}},
    }


def _media_type(kind: AnswerKind) -> str:
    return "text/event-stream" if kind is Stream or isinstance(kind, StreamOf) else "application/json"


def _problems(rule: Rule, method: str, operation: Operation) -> dict[int, list[str]]:
    raised: list[type[SwitchboardError]] = [*operation.errors, WrongHost]
    words: dict[int, list[str]] = {}
    if not operation.is_safe(method):
        raised.append(CrossSite)
    if operation.body is not None:
        words |= {status: [text] for status, text in BY_BODY.items()}
    if "<uuid:" in rule.rule:
        words[404] = [BY_UUID]
    for error in dict.fromkeys(raised):
        summary = inspect.cleandoc(error.__doc__ or error.title).splitlines()[0].rstrip(".")
        status = operation.errors_as.status_of(error)
        words.setdefault(status, []).append(f"`{error.slug}`: {summary[0].lower()}{summary[1:]}")
    return words


def _refusal(status: int, words: Sequence[str], shape: ErrorShape) -> Json:
    headers = {
        401: ["WWW-Authenticate"],
        RateLimited.status: ["Retry-After", "RateLimit", "RateLimit-Policy"],
        Unavailable.status: ["Retry-After"],
    }.get(status, [])
    described = {
        "description": "; ".join(words) + ".",
        "content": {shape.media_type: {"schema": _reference(shape.model)}},
    }
    return _with_headers(described, headers)


def _with_headers(described: Json, names: Sequence[str]) -> Json:
    if names:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return described
