"""`@operation`: what a handler declares, enforced around it.

In this order: the body's length; a repeat under an Idempotency-Key; access; the body; the parameters; the handler;
its answer as JSON. Cross-site requests and the server's name are checked before (web/middleware).
"""

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Literal

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException

from core.errors import SwitchboardError
from web.auth.access import Access
from web.idempotency.header import idempotent
from web.openapi.declaration import (
    PROBLEM_DETAILS,
    AnswerKind,
    ErrorShape,
    Operation,
    Parameter,
    UndeclaredAnswer,
    declare,
)
from web.schemas.requests import Body, parse_body
from web.schemas.responses import Answer, Session

logger = logging.getLogger(__name__)

Handler = Callable[..., Answer | Response | None]
View = Callable[..., Response]

BODY, RESPONSE = "body", "response"


def operation(
    *,
    access: Access,
    answers: Mapping[int, AnswerKind],
    body: type[Body] | None = None,
    takes: Sequence[Parameter] = (),
    raises: Sequence[type[SwitchboardError]] = (),
    idempotent_by: Literal["sender", "session"] | None = None,
    safe: bool = True,
    errors_as: ErrorShape = PROBLEM_DETAILS,
) -> Callable[[Handler], View]:
    """Declare an operation, and enforce what is declared. The handler's docstring describes it.

    A handler is given, by the names of its arguments, what it asks for: the values of its route, what its access
    grants (`session`, `principal`), the `body`, the parameters that it takes, and a `response`, on which it may set
    headers and cookies. It returns a model of web/schemas/responses.py, or None for an answer without a body.
    """

    def decorate(handler: Handler) -> View:
        arguments = frozenset(inspect.signature(handler).parameters)
        given = {BODY} if body else set()
        given |= {RESPONSE, "self", *access.grants, *(parameter.argument for parameter in takes)}
        declared = Operation(
            handler,
            access,
            answers,
            body,
            takes,
            raises,
            idempotent_by,
            safe,
            errors_as,
            route_arguments=arguments - given,
        )
        view = _view(declared, handler, arguments)
        declare(view, declared)
        return view

    return decorate


def _view(declared: Operation, handler: Handler, wanted: frozenset[str]) -> View:
    @wraps(handler)
    def answered(*args: Any, **route: Any) -> Response:
        response = Response()
        given = {**_given(declared), RESPONSE: response}
        asked_for = {argument: value for argument, value in given.items() if argument in wanted}
        return _respond(declared, _handled(declared, lambda: handler(*args, **route, **asked_for)), response)

    repeatable: View = answered
    if declared.idempotent_by is not None:
        repeatable = idempotent(in_session=declared.idempotent_by == "session")(answered)

    @wraps(handler)
    def view(*args: Any, **route: Any) -> Response:
        if declared.body is not None:
            request.get_data()  # raises RequestEntityTooLarge before anything else is done for the request
        try:
            return repeatable(*args, **route)
        except SwitchboardError as error:
            if not declared.declares(error):
                logger.error("%s does not declare the error %s", declared.name, error.problem()["type"])
            raise

    return view


def _given(declared: Operation) -> dict[str, object]:
    given = declared.access.authorise()
    if declared.body is not None:
        given[BODY] = parse_body(declared.body)
    for parameter in declared.takes:
        sent = request.headers if parameter.place == "header" else request.args
        given[parameter.argument] = parameter.parse(sent.get(parameter.name))
    return given


def _handled(declared: Operation, handler: Callable[[], Answer | Response | None]) -> Answer | Response | None:
    """What the handler answers, also by an exception of werkzeug's that holds a response."""
    try:
        return handler()
    except HTTPException as error:
        if isinstance(error.response, Response):
            return error.response
        logger.error("%s does not declare the HTTP error %s", declared.name, error.code)
        raise


def _respond(declared: Operation, answer: Answer | Response | None, response: Response) -> Response:
    status = declared.status_of(answer)
    if isinstance(answer, Response):
        return answer
    response.status_code = status
    if answer is None and response.get_data():
        raise UndeclaredAnswer(f"{declared.name} answers with a body, where it declares none")
    if answer is not None:
        response.data = current_app.json.dumps(answer.wire(), separators=(",", ":"))
        response.mimetype = "application/json"
    if isinstance(answer, Session):
        response.set_etag(str(answer.version))
    return response
