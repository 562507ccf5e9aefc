"""SessionStream: flask-sse's blueprint over the event log, so that a reader can go on where it left off."""

import json
from collections.abc import Iterator
from typing import Any

from flask import Response
from flask_sse import Message, ServerSentEventsBlueprint

from core.conversation.position import Position
from core.errors import LoginRequired, QueueSlow, TooManySessions, UnknownModel
from core.limits.status import RateLimited
from core.sessions.queries import Session
from core.stores.redis import Redis
from web.api.operation import operation
from web.api.parameters import GENERATION_ID, LAST_EVENT_ID, LAST_EVENT_ID_QUERY
from web.api.session_creation import session_to_stream
from web.auth.access import OPTIONAL_SESSION
from web.auth.credentials import set_session_cookie
from web.auth.principal import current_principal
from web.context import context
from web.errors import SessionRequired
from web.openapi.declaration import Stream
from web.streaming.door import wait_for_turn
from web.streaming.reader import HEARTBEAT_INTERVAL, Reader
from web.streaming.slots import held
from web.streaming.sse import frame

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would otherwise gather events into blocks
}
SLOW_JSON_HEADERS = {**STREAM_HEADERS, "Content-Type": "application/json"}
"""Of a document that has signs of life before it."""


class SessionStream(ServerSentEventsBlueprint):
    """The streams of sessions. A reader is a cursor into its session's log."""

    @property
    def redis(self) -> Redis:
        """The process's pool, instead of a new connection for every call."""
        return context().services.redis

    def messages(self, channel: str = "sse") -> Iterator[Message]:
        """Live events of one channel, through the process's one subscription."""
        with context().hub.subscribe(channel) as subscription:
            while True:
                announced = subscription.take(HEARTBEAT_INTERVAL)
                subscription.missed()  # this kind of reader has no position to resume from
                if announced is not None:
                    event_id = str(announced.position) if announced.position else None
                    yield Message(announced.data, type=announced.type, id=event_id)

    @operation(
        access=OPTIONAL_SESSION,
        takes=(LAST_EVENT_ID, LAST_EVENT_ID_QUERY, GENERATION_ID),
        answers={200: Stream, 204: None},
        raises=(SessionRequired, RateLimited, TooManySessions, LoginRequired, UnknownModel, QueueSlow),
        safe=False,  # it holds a reader, and under the policy `on_stream` it creates a session
    )
    def stream(
        self,
        session: Session | None,
        last_event_id: str | None,
        last_event_id_query: str | None,
        generation_id: str | None,
    ) -> Response | None:
        """Read the session's events, from where the client left off; with `generation_id` until that one ends.

        204 when no event is left, which tells an EventSource not to come back (WHATWG HTML, 9.2.3).
        """
        session, issued = session_to_stream(session)
        cursor = _position(last_event_id or last_event_id_query)
        if generation_id is not None and _has_ended(session, cursor):
            return None
        response = self.respond(session, cursor, until=generation_id)
        if issued is not None:
            set_session_cookie(response, issued)
        return response

    def respond(
        self, session: Session, cursor: Position | None, first: bytes = b"", *, until: str | None = None
    ) -> Response:
        """The event stream of a validated session, after `cursor`; up to the end of generation `until`. It has the
        place that web/streaming/slots.py has taken for it."""
        reader = Reader(context().stream_sources, session, current_principal(), until)
        return Response(
            held(reader.read(cursor, first), reader.leave), headers=STREAM_HEADERS, direct_passthrough=True
        )


def _position(event_id: str | None) -> Position | None:
    # What can't be read as a position can't be honoured: it is none of this log's.
    return (Position.parse(event_id) or Position("unreadable", 0)) if event_id else None


def _has_ended(session: Session, cursor: Position | None) -> bool:
    """Whether nothing is live and the client has seen every event, or asks for no earlier ones."""
    tip = context().services.log.read(session.id, after=0, limit=1)
    return tip.start is None and cursor in (None, Position(tip.epoch, tip.top))


def session_event(session: dict[str, Any]) -> bytes:
    """The event `session`, which opens the answer to POST /chat/sse. It is not part of the log."""
    named = ("session_id", "anonymous", "model", "expires_at")
    return frame("session", json.dumps({name: session[name] for name in named}))


blueprint = SessionStream("events", __name__, url_prefix="/chat/sse")
blueprint.before_request(wait_for_turn)
blueprint.add_url_rule("", endpoint="stream", view_func=blueprint.stream)
