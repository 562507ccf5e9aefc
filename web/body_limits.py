"""How long a request's body may be: what its kind of body says (web/bodies.py), before anything reads it."""

from flask import Flask, current_app, request

from web.bodies import Body
from web.documented import documentation


def register(app: Flask) -> None:
    """Bound every request's body, also where none is expected. Call it before what may read one."""
    app.before_request(_bound)


def _bound() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    told = documentation(view) if view else None
    # Whoever reads more gets a 413 instead; what nobody reads is dropped by the server.
    request.max_content_length = (told.body if told and told.body else Body).limit
