"""A span for each request, in its client's trace if it names one (W3C Trace Context)."""

from flask import Flask, Response, g, request

from core.observability.spans import Span
from core.observability.tracing import open_span
from web.middleware.when_sent import when_sent


def register(app: Flask) -> None:
    """Take a span of each request, from its coming to the end of its answer."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    route = request.url_rule.rule if request.url_rule is not None else None
    attributes = {"http.request.method": request.method, "url.scheme": request.scheme}
    g.span = open_span(
        f"{request.method} {route}" if route else request.method,
        "server",
        attributes if route is None else {**attributes, "http.route": route},
        parent=request.headers.get("traceparent"),
    )


def _end(response: Response) -> Response:
    opened: Span = g.span
    opened.set({"http.response.status_code": response.status_code, "switchboard.request_id": g.request_id})
    if response.status_code >= 500:
        opened.fail(str(response.status_code))
    opened.leave()
    when_sent(response, opened.end)
    return response
