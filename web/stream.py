"""SessionStream: flask-sse's blueprint over the event log, so that a reader can go on where it left off."""

import json
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from flask import Response, request
from flask_sse import Message, ServerSentEventsBlueprint
from redis import Redis

from core.event_log import PAGE, Page, Position, channel
from core.models import Session
from web import admission
from web.credentials import set_cookie
from web.hub import Announced
from web.parts import Parts, parts
from web.sse import COMMENT, RETRY, frame

HEARTBEAT = 15.0
"""Seconds between two signs of life."""
TERMINAL = ("done", "failed", "stopped")
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
        return parts().runtime.redis

    def messages(self, channel: str = "sse") -> Iterator[Message]:
        """Live events of one channel, through the process's one subscription."""
        with parts().hub.subscribe(channel) as subscription:
            while True:
                announced = subscription.take(HEARTBEAT)
                if announced is not None:
                    event_id = str(announced.position) if announced.position else None
                    yield Message(announced.data, type=announced.type, id=event_id)

    def stream(self) -> Response:
        """GET: the session's events, from where the client left off."""
        session, issued = admission.session_to_stream()
        wanted = request.headers.get("Last-Event-ID") or request.args.get("last_event_id")
        cursor = None
        if wanted:
            # What can't be read as a position can't be honoured: it is none of this log's.
            cursor = Position.parse(wanted) or Position("unreadable", 0)
        response = self.respond(session, cursor)
        if issued is not None:
            set_cookie(response, issued)
        return response

    def respond(
        self, session: Session, cursor: Position | None, first: bytes = b"", *, one_answer: bool = False
    ) -> Response:
        """The event stream of a validated session, after `cursor`; with `one_answer` it ends with the answer."""
        # The reader holds what it needs: it outlives the request's context by hours.
        reader = _Reader(parts(), session, one_answer)
        return Response(reader.read(cursor, first), headers=HEADERS, direct_passthrough=True)


class _Reader:
    """Reads one session's log for one client: first what is there, then what comes."""

    def __init__(self, parts: Parts, session: Session, one_answer: bool) -> None:
        self._hub = parts.hub
        self._log = parts.runtime.log
        self._database = parts.runtime.database
        self._clock = parts.runtime.clock
        self._session_id = session.id
        self._expires_at = session.expires_at
        self._one_answer = one_answer
        self._at = Position("", 0)

    def read(self, cursor: Position | None, first: bytes) -> Iterator[bytes]:
        """The response's body."""
        yield COMMENT + RETRY + first
        with self._hub.subscribe(channel(self._session_id)) as subscription:
            yield from self._join(cursor)
            while True:
                ended = yield from self._catch_up()
                if ended:
                    return
                ended = yield from self._follow(subscription.take)
                if ended:
                    return

    def _join(self, cursor: Position | None) -> Iterator[bytes]:
        """Find the place to begin at; say `reset` when it is not the one that was asked for."""
        tip = self._log.read(self._session_id, after=0, limit=1)
        if cursor is None:
            self._at = Position(tip.epoch, tip.top if tip.start is None else tip.start)
        elif cursor.epoch == tip.epoch and cursor.offset <= tip.top:
            self._at = cursor
        else:
            yield self._reset(tip, "unknown-cursor")

    def _catch_up(self) -> Generator[bytes, None, bool]:
        """Page through the log up to its top. Returns whether the stream has ended."""
        while True:
            page = self._log.read(self._session_id, self._at.offset)
            if page.epoch != self._at.epoch and self._at != Position("", 0):
                yield self._reset(page, "log-lost")
                return False
            if page.top > self._at.offset and (not page.events or page.events[0].offset != self._at.offset + 1):
                yield self._reset(page, "log-trimmed")
                return False
            for event in page.events:
                self._at = Position(page.epoch, event.offset)
                yield frame(event.type, event.data, str(self._at))
                if self._one_answer and event.type in TERMINAL:
                    return True
            if len(page.events) < PAGE:
                return False

    def _follow(self, take: Callable[[float], Announced | None]) -> Generator[bytes, None, bool]:
        """Pass on what is announced, until the log must be read again. Returns whether the stream has ended."""
        beat = time.monotonic() + HEARTBEAT
        while True:
            announced = take(max(0.0, min(beat - time.monotonic(), self._seconds_left())))
            if announced is None:
                if self._seconds_left() <= 0:
                    yield _farewell("expired")
                    return True
                if time.monotonic() >= beat:
                    yield COMMENT
                return False
            if announced.position is None:
                yield announced.frame
                return True
            if announced.position.epoch == self._at.epoch and announced.position.offset <= self._at.offset:
                continue
            if announced.position != Position(self._at.epoch, self._at.offset + 1):
                return False
            self._at = announced.position
            yield announced.frame
            if self._one_answer and announced.type in TERMINAL:
                return True

    def _seconds_left(self) -> float:
        """Until the session expires. When the time that is known has come, the database may know a later one."""
        if self._expires_at <= self._clock.now():
            with self._database.reading() as db:
                session = db.get(Session, self._session_id)
            if session is None:
                return 0.0
            self._expires_at = session.expires_at
        return max(0.0, (self._expires_at - self._clock.now()).total_seconds())

    def _reset(self, page: Page, reason: str) -> bytes:
        self._at = Position(page.epoch, page.top)
        return frame("reset", json.dumps({"reason": reason}), str(self._at) if page.epoch else None)


def _farewell(reason: str) -> bytes:
    return frame("expired", json.dumps({"reason": reason}))


def first_event(session: dict[str, Any]) -> bytes:
    """The event `session`, which opens the answer to POST /chat/sse. It is not part of the log."""
    named = ("session_id", "anonymous", "model", "expires_at")
    return frame("session", json.dumps({name: session[name] for name in named}))


events = SessionStream("events", __name__, url_prefix="/chat/sse")
events.add_url_rule("", endpoint="stream", view_func=events.stream)
