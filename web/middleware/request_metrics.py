"""Counts requests for /metrics: by the rule of their URL, their method and their status, with how long they took."""

import time

from flask import Flask, Response, g, request

from core.operations.counters import Counters

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
OTHER = "_OTHER"
"""A method that is none of these, as OpenTelemetry's conventions name it: clients can make up any."""
UNMATCHED = "unmatched"
"""The route of a path that has none."""


def register(app: Flask, counters: Counters) -> None:
    """Count every request. To be registered first: then it is the first to see a request, and the last to see its
    answer."""

    def begin() -> None:
        g.began = time.perf_counter()

    def count(response: Response) -> Response:
        method = request.method if request.method in METHODS else OTHER
        route = request.url_rule.rule if request.url_rule else UNMATCHED
        took = time.perf_counter() - g.began
        counters.http_requests.labels(method, route, response.status_code).observe(took)
        return response

    app.before_request(begin)
    app.after_request(count)
