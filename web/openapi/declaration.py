"""What an operation of the API declares about itself. `web.api.operation` enforces it, and the OpenAPI document
(web/openapi/document.py) is made of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

from flask import Flask, Response
from pydantic import BaseModel
from werkzeug.routing import Rule

from core.errors import InvalidBody, SwitchboardError, Unavailable
from core.limits.status import RateLimited
from web.auth.access import LEVELS, PUBLIC, Access
from web.errors import IdempotencyInFlight, IdempotencyKeyInvalid, IdempotencyMismatch
from web.schemas.requests import Body
from web.schemas.responses import Answer, Problem

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods whose requests change nothing (RFC 9110, 9.2.1), unless an operation declares otherwise."""


class Stream:
    """A stream of server-sent events, each a `responses.Event`."""


@dataclass(frozen=True)
class Encoded:
    """JSON of this model that the handler encodes itself: in pieces, where a conversation is too long to be encoded
    at once (web/api/conversation_json.py)."""

    model: type[BaseModel]


@dataclass(frozen=True)
class StreamOf:
    """A stream of server-sent events, the data of each of which is JSON of this model."""

    model: type[BaseModel]


@dataclass(frozen=True)
class Either:
    """One of two kinds, by what the request asks for."""

    whole: type[Answer] | Encoded
    stream: StreamOf


AnswerKind = type[Answer] | type[Stream] | StreamOf | Either | Encoded | str | None
"""A model: the handler returns one, and it is serialised. A stream, an encoded model or another media type: the
handler returns the whole response. None: an answer without a body."""


@dataclass(frozen=True)
class ErrorShape:
    """How the errors of an operation are told."""

    media_type: str
    model: type[BaseModel]
    status_of: Callable[[type[SwitchboardError]], int]


PROBLEM_DETAILS = ErrorShape("application/problem+json", Problem, lambda error: error.status)
"""RFC 9457."""


def _as_text(text: str | None) -> str | None:
    return text


@dataclass(frozen=True)
class Parameter:
    """A header or a query parameter."""

    name: str
    place: Literal["header", "query"]
    description: str
    schema: Mapping[str, Any]
    argument: str
    """The handler's argument that it becomes."""
    parse: Callable[[str | None], object] = _as_text
    """Makes the argument of the text, or of None where there is none. Raises one of `raises`."""
    raises: Sequence[type[SwitchboardError]] = ()


IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "A repeat with the same key and body changes nothing and gets the same answer, for 24 hours. The key must be "
    "random.",
    {"type": "string", "minLength": 1, "maxLength": 255},
    "idempotency_key",
)
"""Not handed to handlers: `web.idempotency` uses it."""


@dataclass(frozen=True)
class Operation:
    """The declaration of an operation."""

    handler: Callable[..., object]
    access: Access
    answers: Mapping[int, AnswerKind]
    """By status."""
    body: type[Body] | None = None
    takes: Sequence[Parameter] = ()
    raises: Sequence[type[SwitchboardError]] = ()
    """What the handler raises, besides what the rest of the declaration entails."""
    idempotent_by: Literal["sender", "session"] | None = None
    """Whose an Idempotency-Key is: the sender's alone, or that of the sender in a session. None: the operation does
    not take one."""
    safe: bool = True
    """Whether a GET changes nothing. One that does is checked against cross-site requests like a POST."""
    errors_as: ErrorShape = PROBLEM_DETAILS
    """What errors look like, for the description; something else puts them into that shape."""
    route_arguments: frozenset[str] = frozenset()
    """The handler's arguments that the route has to provide."""

    def __post_init__(self) -> None:
        """Raises UndeclaredOperation for an access level of its own making."""
        if not any(self.access is level for level in LEVELS):
            raise UndeclaredOperation(f"{self.name} has an access level that is none of web/auth/access.py")

    @property
    def name(self) -> str:
        """The handler's module and name."""
        return f"{self.handler.__module__}.{self.handler.__qualname__}"

    @property
    def errors(self) -> Sequence[type[SwitchboardError]]:
        """Every error with which the operation may be answered, once each."""
        found = [*self.raises, *self.access.raises]
        if self.access is not PUBLIC:
            found.append(Unavailable)
        if self.body is not None:
            found.append(InvalidBody)
        if self.idempotent_by is not None:
            found += [IdempotencyKeyInvalid, IdempotencyMismatch, IdempotencyInFlight, RateLimited]
        for parameter in self.takes:
            found += parameter.raises
        return list(dict.fromkeys(found))

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The headers and query parameters."""
        return [*self.takes, IDEMPOTENCY_KEY] if self.idempotent_by else self.takes

    def is_safe(self, method: str) -> bool:
        """Whether a request by this method changes nothing."""
        return self.safe and method in SAFE_METHODS

    def declares(self, error: SwitchboardError) -> bool:
        """Whether the error's problem type is among those declared; an unexpected one (500) never needs to be.

        By type and status and not by class, as a worker's problem comes without its class.
        """
        problem = error.problem()
        declared = {(f"/problems/{each.slug}", each.status) for each in self.errors}
        return problem["status"] == SwitchboardError.status or (problem["type"], problem["status"]) in declared

    def status_of(self, answer: object) -> int:
        """The status of a handler's answer. Raises UndeclaredAnswer."""
        for status, declared in self.answers.items():
            for kind in kinds_of(declared):
                whole = isinstance(answer, Response) and (answer.status_code, answer.mimetype)
                if whole == (status, _media_type(kind)):
                    return status
                if (answer is None and kind is None) or (_is_model(kind) and type(answer) is kind):
                    return status
        found = f"{answer.status_code} {answer.mimetype}" if isinstance(answer, Response) else type(answer).__name__
        raise UndeclaredAnswer(f"{self.name} answers with {found}, which it does not declare")


class UndeclaredAnswer(Exception):
    """A handler has answered with what its operation does not declare: a mistake in the code."""


class UndeclaredOperation(Exception):
    """A route has no operation, or one of an unknown access level or whose handler wants arguments that nothing
    provides: a mistake in the code, found when the application is created."""


_declared: WeakKeyDictionary[Callable[..., Any], Operation] = WeakKeyDictionary()
"""By view, and not as an attribute of it: functools.wraps would give that to a function that checks nothing."""


def declare(view: Callable[..., Any], operation: Operation) -> None:
    """Note that the view enforces the operation."""
    _declared[view] = operation


def declared_operation(view: Callable[..., Any] | None) -> Operation | None:
    """The declaration of a view, if it has one."""
    return None if view is None else _declared.get(getattr(view, "__func__", view))


def require_operations(app: Flask, pages: Mapping[tuple[str, str], Callable[..., Any]]) -> None:
    """Refuse to start with a route that declares nothing: requests would go unchecked there.

    `pages` are the HTML pages and the static files, which are no part of the API: their views, by endpoint and path.
    They are exempt for methods that change nothing. Raises UndeclaredOperation, which names the handler.
    """
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        is_page = view is pages.get((rule.endpoint, rule.rule)) and set(SAFE_METHODS).issuperset(rule.methods or ())
        if not is_page:
            _require_operation(rule, view)


def _require_operation(rule: Rule, view: Callable[..., Any]) -> None:
    operation = declared_operation(view)
    if operation is None:
        raise UndeclaredOperation(f"{view.__module__}.{view.__qualname__} at {rule} lacks @operation")
    missing = operation.route_arguments - rule.arguments
    if missing:
        raise UndeclaredOperation(f"{operation.name} at {rule} is given no {', '.join(sorted(missing))}")


def kinds_of(kind: AnswerKind) -> Sequence[AnswerKind]:
    """The kinds that it stands for: itself, or either of two."""
    return (kind.whole, kind.stream) if isinstance(kind, Either) else (kind,)


def _media_type(kind: AnswerKind) -> str | None:
    """That of the whole response that a handler returns, or None where it returns none."""
    if isinstance(kind, Encoded):
        return "application/json"
    if kind is Stream or isinstance(kind, StreamOf):
        return "text/event-stream"
    return kind if isinstance(kind, str) else None


def _is_model(kind: AnswerKind) -> bool:
    return isinstance(kind, type) and issubclass(kind, Answer)
