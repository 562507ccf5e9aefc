"""One line for each request, at the level info: what was asked, and what became of it. It has the route and not the
path, which may be anything; no query, no address and no browser."""

import logging
import time
from collections.abc import Mapping

from flask import Flask, Response, g, request

from core.observability.log_ids import current_ids
from web.middleware.when_sent import when_sent

logger = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Log requests when their answers have been sent, or their streams have ended."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    if logger.isEnabledFor(logging.INFO):
        g.began = time.perf_counter()


def _end(response: Response) -> Response:
    if "began" in g:
        route = request.url_rule.rule if request.url_rule is not None else "none"
        asked = {**current_ids(), "method": request.method, "route": route, "status": response.status_code}
        began = g.began
        when_sent(response, lambda: _log(asked, began))
    return response


def _log(asked: Mapping[str, object], began: float) -> None:
    took = round((time.perf_counter() - began) * 1000, 1)
    logger.info("answered", extra={**asked, "ms": took})
