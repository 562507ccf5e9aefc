"""Every error as problem details (RFC 9457), Flask's own included."""

import logging
import re
from collections.abc import Mapping
from typing import cast

from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge

from core.auth.principal import Principal
from core.errors import LoginInvalid, LoginRequired, NotOwner, SwitchboardError, TokenInvalid, Unavailable
from core.limits.status import RateLimited
from core.operations.audit import Kind
from web.auth.credentials import clear_login_cookie, named_session
from web.context import context
from web.limits import rate_limit_headers

logger = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Handle all errors of the application."""
    app.register_error_handler(SwitchboardError, _domain_error)
    app.register_error_handler(Unavailable, _unavailable)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _response(problem: Mapping[str, object], status: int) -> Response:
    body = json.dumps(problem)
    response = Response(body, status, content_type="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _domain_error(error: SwitchboardError) -> Response:
    response = _response(error.problem(), error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = _challenge(error)
    if isinstance(error, RateLimited):
        context().services.counters.limit_refusals.labels(str(error.extra["limit"])).inc()
        rate_limit_headers.note(error.limit_statuses)
    _audit_refusal(error)
    if isinstance(error, LoginInvalid):
        clear_login_cookie(response)  # so that the next request is an anonymous one
    return response


def _challenge(error: SwitchboardError) -> str:
    """What a 401 asks for (RFC 9110, 11.6.1)."""
    if isinstance(error, TokenInvalid):
        return 'Bearer error="invalid_token"'
    return "Bearer" if isinstance(error, LoginRequired) else "Session"


def _audit_refusal(error: SwitchboardError) -> None:
    """Record a refusal that an operator may want to know of: the user, if it was proved, and which session or limit.
    Never the address."""
    principal = cast("Principal | None", g.get("principal"))
    user_id = principal.user_id if principal else None
    audit = context().services.audit
    if isinstance(error, NotOwner):
        audit.refusal(Kind.NOT_OWNER, user_id=user_id, session_id=named_session())
    elif isinstance(error, RateLimited):
        audit.refusal(Kind.LIMITED, user_id=user_id, detail=str(error.extra["limit"]))


def _unavailable(error: Unavailable) -> Response:
    if error.cause is not error:
        logger.warning("a store is away: %s", error.reason)
    return _domain_error(error)


def _http_error(error: HTTPException) -> Response:
    name = error.name
    problem = {
        "type": f"/problems/{re.sub('[^a-z]+', '-', name.lower()).strip('-')}",
        "title": name,
        "status": error.code,
        "detail": _detail(error),
    }
    response = _response(problem, error.code or 500)
    for header, value in error.get_headers(request.environ):
        if header in ("Allow", "Retry-After", "Location"):
            response.headers[header] = value
    return response


def _detail(error: HTTPException) -> str:
    if isinstance(error, RequestEntityTooLarge) and request.max_content_length is not None:
        return f"The body is too long: at most {request.max_content_length:,} bytes are taken here."
    if error.description == NotFound.description:
        return f"There is nothing at this address ({request.method} {request.path[:200]})."
    return error.description or error.name


def _unexpected(error: Exception) -> Response:
    # The exception's class and place, but not its words: those may quote what people wrote.
    logger.exception("unexpected %s at %s %s", type(error).__name__, request.method, request.endpoint)
    return _domain_error(SwitchboardError())
