"""A short stream without a session, by which `switchboard doctor --stream` tells whether a proxy gathers events.

It lives below /chat/sse, so that what a proxy does to streams by their path, it does to this one.
"""

import json
import time
from collections.abc import Generator

from flask import Blueprint, Response

from core.errors import RateLimited
from web.api.events import HEADERS
from web.api.stream_slot import take_stream_slot
from web.openapi.operation import documented
from web.streaming import slots
from web.streaming.sse import COMMENT, frame

EVENTS = 5
PAUSE = 0.2
"""Seconds between two events."""

blueprint = Blueprint("probe", __name__)


@blueprint.get("/chat/sse/probe")
@documented({200: "text/event-stream"}, access="open", raises=(RateLimited,))
def probe() -> Response:
    """A few events, one after the other within a second, to see whether they arrive like that."""
    take_stream_slot()
    return Response(slots.held(_events()), headers=HEADERS, direct_passthrough=True)


def _events() -> Generator[bytes, None, None]:
    yield COMMENT
    for number in range(1, EVENTS + 1):
        time.sleep(PAUSE)
        yield frame("probe", json.dumps({"number": number, "of": EVENTS, "pause": PAUSE}))
