"""/chat/sse/probe: a short stream without a session, by which `switchboard doctor --stream` tells whether a proxy
gathers events.

Its path is below /chat/sse, so that a proxy's rules for the streams apply to it.
"""

import json
import time
from collections.abc import Generator

from flask import Blueprint, Response

from core.errors import Unavailable
from core.limits.status import RateLimited
from web.api.events import STREAM_HEADERS
from web.api.operation import operation
from web.api.stream_slot import take_stream_slot
from web.auth.access import PUBLIC
from web.streaming import slots
from web.streaming.sse import COMMENT, frame

EVENTS = 5
PAUSE = 0.2
"""Seconds between two events."""

blueprint = Blueprint("probe", __name__)


@blueprint.get("/chat/sse/probe")
@operation(access=PUBLIC, answers={200: "text/event-stream"}, raises=(RateLimited, Unavailable))
def probe() -> Response:
    """Send a few events within a second, which shows whether they arrive one by one."""
    take_stream_slot()
    return Response(slots.held(_events()), headers=STREAM_HEADERS, direct_passthrough=True)


def _events() -> Generator[bytes, None, None]:
    yield COMMENT
    for number in range(1, EVENTS + 1):
        time.sleep(PAUSE)
        yield frame("probe", json.dumps({"number": number, "of": EVENTS, "pause": PAUSE}))
