"""GET / : the chat page. Everything it shows, it fetches from the same API as any other client."""

from flask import Blueprint, Response, make_response, render_template, request

pages = Blueprint("pages", __name__)

_SESSION_COOKIES = ("__Host-switchboard", "switchboard")


@pages.get("/")
def index() -> Response:
    """The page, told whether a session cookie came with it.

    The cookie is HttpOnly, so the page cannot look; without this hint every first visit would begin
    with a request that fails.
    """
    has_session = any(name in request.cookies for name in _SESSION_COOKIES)
    response = make_response(render_template("index.html", has_session=has_session))
    response.headers["Cache-Control"] = "no-cache"
    response.vary.add("Cookie")
    return response
