"""How long a request's body may be: what its kind of body says (web/schemas/requests.py), before anything
reads it."""

from urllib.parse import unquote

from flask import Flask, current_app, request
from werkzeug.exceptions import HTTPException

from web.middleware.root_path import without_root
from web.openapi.declaration import declared_operation
from web.schemas.requests import MAX_BODY, Body


def register(app: Flask) -> None:
    """Bound every request's body, also where none is expected. Call it before what may read one."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.before_request(_bound)


def limit_of(app: Flask, method: str, path: str) -> int:
    """Bytes that the body of such a request may have, before there is a request. The path is as it was sent."""
    try:
        path = without_root(unquote(path), app.config["APPLICATION_ROOT"].rstrip("/"))
        endpoint, _ = app.url_map.bind("").match(path, method)
    except HTTPException:
        return Body.limit
    return _limit(app, endpoint)


def _bound() -> None:
    # A handler that reads more raises a 413; what no handler reads is dropped by the server.
    request.max_content_length = _limit(current_app, request.endpoint)


def _limit(app: Flask, endpoint: str | None) -> int:
    operation = declared_operation(app.view_functions.get(endpoint or ""))
    return (operation.body if operation and operation.body else Body).limit
