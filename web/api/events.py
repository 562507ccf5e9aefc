"""SessionStream: flask-sse's blueprint over the event log, so that a reader can go on where it left off."""

import json
from collections.abc import Iterator
from typing import Any

from flask import Response, request
from flask_sse import Message, ServerSentEventsBlueprint

from core.conversation.event_log import Position
from core.errors import RateLimited, TooManySessions
from core.sessions.queries import Session
from core.stores.redis import Redis
from web.api.session_creation import session_to_stream
from web.auth.credentials import set_session_cookie
from web.auth.principal import current_principal
from web.context import context
from web.errors import SessionRequired
from web.openapi.operation import GENERATION_ID, LAST_EVENT_ID, LAST_EVENT_ID_QUERY, Stream, documented
from web.streaming.reader import HEARTBEAT_INTERVAL, Reader
from web.streaming.slots import held
from web.streaming.sse import frame

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would otherwise gather events into blocks
}


class SessionStream(ServerSentEventsBlueprint):
    """The streams of sessions. A reader is a cursor into its session's log."""

    @property
    def redis(self) -> Redis:
        """The process's pool, instead of a new connection for every call."""
        return context().runtime.redis

    def messages(self, channel: str = "sse") -> Iterator[Message]:
        """Live events of one channel, through the process's one subscription."""
        with context().hub.subscribe(channel) as subscription:
            while True:
                announced = subscription.take(HEARTBEAT_INTERVAL)
                subscription.missed()  # whoever reads like this has no place to go on from
                if announced is not None:
                    event_id = str(announced.position) if announced.position else None
                    yield Message(announced.data, type=announced.type, id=event_id)

    @documented(
        {200: Stream, 204: None},
        access="anybody",
        raises=(SessionRequired, RateLimited, TooManySessions),
        takes=(LAST_EVENT_ID, LAST_EVENT_ID_QUERY, GENERATION_ID),
    )
    def stream(self) -> Response:
        """GET: the session's events, from where the client left off; with `generation_id` up to its end."""
        session, issued = session_to_stream()
        wanted = request.headers.get("Last-Event-ID") or request.args.get("last_event_id")
        cursor = None
        if wanted:
            # What can't be read as a position can't be honoured: it is none of this log's.
            cursor = Position.parse(wanted) or Position("unreadable", 0)
        until = request.args.get("generation_id")
        if until is not None and _nothing_left(session, cursor):
            return Response(status=204)  # tells an EventSource not to come back (WHATWG HTML, 9.2.3)
        response = self.respond(session, cursor, until=until)
        if issued is not None:
            set_session_cookie(response, issued)
        return response

    def respond(
        self, session: Session, cursor: Position | None, first: bytes = b"", *, until: str | None = None
    ) -> Response:
        """The event stream of a validated session, after `cursor`; up to the end of generation `until`. It has the
        place that web/streaming/slots.py has taken for it."""
        reader = Reader(context().stream_sources, session, current_principal(), until)
        return Response(held(reader.read(cursor, first), reader.leave), headers=HEADERS, direct_passthrough=True)


def _nothing_left(session: Session, cursor: Position | None) -> bool:
    """Whether nothing is live and the client has seen all there is, or does not ask for what was before."""
    tip = context().runtime.log.read(session.id, after=0, limit=1)
    return tip.start is None and cursor in (None, Position(tip.epoch, tip.top))


def first_event(session: dict[str, Any]) -> bytes:
    """The event `session`, which opens the answer to POST /chat/sse. It is not part of the log."""
    named = ("session_id", "anonymous", "model", "expires_at")
    return frame("session", json.dumps({name: session[name] for name in named}))


events = SessionStream("events", __name__, url_prefix="/chat/sse")
events.add_url_rule("", endpoint="stream", view_func=events.stream)
