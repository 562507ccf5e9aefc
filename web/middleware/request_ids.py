"""Gives each request an id, which its answer names, and each line that is logged for it."""

from flask import Flask, Response, g, request

from core.observability.log_ids import set_ids
from core.observability.request_id import new_request_id, parse_request_id

HEADER = "X-Request-ID"


def register(app: Flask) -> None:
    """Take the id that the client has given the request, if it is a sane one, or another."""
    app.before_request(_begin)
    app.after_request(_name)


def _begin() -> None:
    g.request_id = parse_request_id(request.headers.get(HEADER)) or new_request_id()
    set_ids(request_id=g.request_id)


def _name(response: Response) -> Response:
    if not response.cache_control.public:  # caches give those to other requests, and a page fetches dozens
        # Over what a repeat of an earlier request was answered with.
        response.headers[HEADER] = g.request_id
    return response
