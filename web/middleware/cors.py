"""Lets the pages of configured origins use the API (Fetch Standard, 3.3). Off unless some are configured."""

import re

from flask import Flask, Response, request

from web.context import context

ALLOWED_METHODS = "GET, POST, PATCH, DELETE"
ALLOWED_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, Last-Event-ID, Prefer, X-Request-ID, X-Session-ID"
)
OF_SDKS = r"x-stainless-[a-z-]{1,40}"
"""What the packages of OpenAI tell about themselves. They are not read."""
MAX_OF_SDKS = 20
EXPOSED_HEADERS = (
    "ETag, Link, Location, Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID, "
    "X-Workflow-Run-Id, X-Workflow-Stream-Tail-Index"
)
PREFLIGHT_MAX_AGE = "600"
"""Seconds for which a browser need not ask again."""


def register(app: Flask) -> None:
    """Answer preflights, and mark the answers that the configured origins may read."""
    app.before_request(_preflight)
    app.after_request(_allow)


def _preflight() -> Response | None:
    """The answer to a browser's preflight; Flask's own answers every other OPTIONS request."""
    asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if not asked or request.headers.get("Origin") not in context().options.cors_origins:
        return None
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
    response.headers["Access-Control-Allow-Headers"] = _allowed(
        request.headers.get("Access-Control-Request-Headers", "")
    )
    response.headers["Access-Control-Max-Age"] = PREFLIGHT_MAX_AGE
    return response


def _allowed(asked: str) -> str:
    theirs = [name for name in re.split(r"[,\s]+", asked.lower()) if re.fullmatch(OF_SDKS, name)]
    return ", ".join([ALLOWED_HEADERS, *theirs[:MAX_OF_SDKS]])


def _allow(response: Response) -> Response:
    trusted = context().options.cors_origins
    if not trusted:
        return response
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin in trusted:
        # The one origin, never `*`: that would not go with credentials, and would mean any site.
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    return response
