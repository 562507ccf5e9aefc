"""Reads one session's log for one client: first what is there, then what comes."""

import json
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from core.auth.principal import Principal
from core.auth.proofs import Proof, Proofs
from core.clock import Clock
from core.conversation.event_log import PAGE_SIZE, Event, EventLog, Page, Reading
from core.conversation.keys import channel
from core.conversation.position import Position
from core.conversation.recovery import NOWHERE, Step, begin, broken, step
from core.errors import Unavailable
from core.operations.counters import Counters
from core.sessions.queries import Session, SessionQueries
from core.stores.combiner import Combiner
from web.streaming.hub import Hub
from web.streaming.sse import COMMENT, frame
from web.streaming.subscription import Subscription
from web.streaming.wire import EVENTS, Wire

HEARTBEAT_INTERVAL = 15.0
"""Seconds between two signs of life. A client that is gone is noticed at the latest with the next."""
MEAN_STREAM_LIFETIME = 3600.0
"""Seconds after which a stream ends and its client comes back, give or take a fifth, so that readers spread over
new processes after a deploy and no connection is for ever."""
LOGS_AT_ONCE = 16
"""Logs that are read in one round trip: when ten thousand readers go to their logs, they share the connection, and no
event waits behind more than these."""
MAX_OFFSET = 2**63 - 1
"""The greatest offset that Redis takes, near enough."""
PIECE = 16 * 1024
"""Characters of events that are sent together when a reader catches up, about."""
PROOFS_AT_ONCE = 50
"""Proofs that are looked up in one query."""
TERMINAL_EVENTS = ("done", "failed", "stopped", "removed")
"""After which nothing comes of a generation; `removed`: of one that has only waited."""
EXPIRED = frame("expired", json.dumps({"reason": "expired"}))


@dataclass(frozen=True)
class StreamSources:
    """What every reader of a process reads from."""

    hub: Hub
    log: EventLog
    sessions: SessionQueries
    proofs: Proofs
    clock: Clock
    counters: Counters
    mark_read: Callable[[UUID], None]
    """The owner of this session has read its answers that have ended."""

    @cached_property
    def pages(self) -> Combiner[Reading, Page]:
        """Reads a page of a log, for many readers at once."""
        return Combiner(self.log.read_many, LOGS_AT_ONCE)

    @cached_property
    def standing(self) -> Combiner[Proof, bool]:
        """Looks up whether a proof still holds, for many readers at once."""
        return Combiner(self.proofs.still_hold, PROOFS_AT_ONCE, gathers=True)


class Reader:
    """The body of an event stream. It is a cursor, not a queue: what it has not told yet is in the log."""

    __slots__ = (
        "_at",
        "_beat_at",
        "_expires_at",
        "_has_told_all",
        "_proof",
        "_rotate_at",
        "_session_id",
        "_sources",
        "_subscription",
        "_until",
        "_wire",
    )

    def __init__(
        self,
        sources: StreamSources,
        session: Session,
        principal: Principal | None,
        until: str | None,
        wire: Wire = EVENTS,
    ) -> None:
        """With `until`, a generation's id, the stream ends with that generation. `wire`: how it says what happens."""
        self._sources = sources
        self._session_id = session.id
        self._expires_at = session.expires_at
        self._proof = Proof.for_session(session, principal)
        # An event's data begins with its generation's id: so its end can be told without parsing it.
        self._until = None if until is None else f'{{"generation_id":"{until}"'
        self._rotate_at = time.monotonic() + MEAN_STREAM_LIFETIME * random.uniform(0.8, 1.2)  # noqa: S311
        self._beat_at = time.monotonic() + HEARTBEAT_INTERVAL
        self._at = NOWHERE
        self._has_told_all = False
        self._subscription: Subscription | None = None
        self._wire = wire

    def leave(self) -> None:
        """End it, its client has left."""
        if self._subscription is not None:
            self._subscription.leave(time.monotonic())

    def read(self, cursor: Position | None, first: bytes) -> Generator[bytes, None, None]:
        """The response's body: what comes after `cursor`, with `first` before it."""
        counters = self._sources.counters
        counters.streams.labels("new" if cursor is None or first else "resumed").inc()
        with counters.open_streams.track_inprogress():
            yield self._wire.begin() + first
            try:
                ended = yield from self._tell(cursor)
            except Unavailable:
                ended = False
            if not ended:
                self._wire.leave()  # an end between two events: the client comes back, and goes on from there

    def _tell(self, cursor: Position | None) -> Generator[bytes, None, bool]:
        """Returns whether all has been told that was asked for."""
        with self._sources.hub.subscribe(channel(self._session_id), self._proof) as subscription:
            self._subscription = subscription
            subscription.doubted = True  # what ended before Redis had the subscription was announced to no reader
            tip = self._sources.pages.call(_first_reading(self._session_id, cursor))
            begun = begin(cursor, tip)
            page = tip if begun is cursor else None  # it has what comes after the cursor
            if begun is None:
                yield self._reset(tip, "unknown-cursor")
            else:
                self._at = begun
            # The top was read after Redis had the subscription: from there on everything is announced.
            behind = self._at != Position(tip.epoch, tip.top)
            while True:
                if behind and (yield from self._catch_up(subscription, page)):
                    return self._has_told_all
                behind, page = True, None
                subscription.at = self._at.offset
                if (yield from self._follow(subscription)):
                    return self._has_told_all

    def _catch_up(self, subscription: Subscription, page: Page | None) -> Generator[bytes, None, bool]:
        """Page through the log up to its top, from `page` on if it has been read. Returns whether the stream has
        ended."""
        while True:
            page = page or self._sources.pages.call(Reading(self._session_id, self._at.offset))
            reason = broken(self._at, page)
            if reason is not None:
                yield self._reset(page, reason)
                return False
            for events in _pieces(page.events):
                if self._is_revoked(subscription):
                    yield from self._farewell()
                    return True
                frames, ended = self._told(page.epoch, events)
                if frames:
                    yield frames
                if any(event.type in TERMINAL_EVENTS for event in events):
                    self._mark_read()
                if ended:
                    return True
            if len(page.events) < PAGE_SIZE:
                return False
            page = None

    def _told(self, epoch: str, events: Sequence[Event]) -> tuple[bytes, bool]:
        """The events as they are sent, up to the stream's end; whether that is among them."""
        frames, ended = [], False
        for event in events:
            self._at = Position(epoch, event.offset)
            frames.append(self._wire.tell(event.type, event.data, self._at))
            if ended := self._is_end(event.type, event.data):
                break
        return b"".join(frames), ended

    def _follow(self, subscription: Subscription) -> Generator[bytes, None, bool]:
        """Pass on what is announced, until the log must be read again. Returns whether the stream has ended."""
        while True:
            announced = subscription.take(self._patience(subscription))
            if announced is not None and announced.position is None:
                yield self._wire.expire(announced.frame)
                return True
            if self._is_revoked(subscription):
                yield from self._farewell()
                return True
            if announced is None:
                if self._leaves(subscription):
                    return True
                if self._seconds_left() <= 0:
                    yield self._wire.expire(EXPIRED)
                    return True
                if self._beat_is_due():
                    self._beat_at = time.monotonic() + HEARTBEAT_INTERVAL
                    yield COMMENT
                if subscription.missed():
                    return False
                continue
            assert announced.position is not None
            match step(self._at, announced.position):
                case Step.DROP:
                    continue
                case Step.READ:
                    return False
            self._at = announced.position
            subscription.at = self._at.offset
            told = self._wire.tell(announced.type, announced.data, self._at, announced.frame)
            if told:
                yield told
            if announced.type in TERMINAL_EVENTS:
                self._mark_read()
            if self._is_end(announced.type, announced.data):
                return True

    def _mark_read(self) -> None:
        """An end of an owned session's has been told to its owner."""
        if self._proof.principal is None:
            return
        with suppress(Unavailable):  # then it stays new until it is read again
            self._sources.mark_read(self._session_id)

    def _is_end(self, kind: str, data: str) -> bool:
        ended = self._until is not None and kind in TERMINAL_EVENTS and data.startswith(self._until)
        self._has_told_all = self._has_told_all or ended
        return ended

    def _patience(self, subscription: Subscription) -> float:
        """How long to wait for the next event before something else is due."""
        due = min(self._beat_at, self._rotate_at, subscription.leave_at or self._beat_at)
        return max(0.0, min(due - time.monotonic(), self._seconds_left()))

    def _beat_is_due(self) -> bool:
        return time.monotonic() >= self._beat_at

    def _leaves(self, subscription: Subscription) -> bool:
        """Whether it is time to end, between two events, and let the client come back."""
        now = time.monotonic()
        return now >= self._rotate_at or (subscription.leave_at is not None and now >= subscription.leave_at)

    def _is_revoked(self, subscription: Subscription) -> bool:
        """Whether what opened this stream holds no more, looked up when there is doubt. Raises Unavailable."""
        if subscription.doubted:
            subscription.doubted = False  # first: what is doubted meanwhile is looked up again
            if not self._sources.standing.call(self._proof):
                subscription.revoke()
        return subscription.revoked

    def _farewell(self) -> Iterator[bytes]:
        """That it is over, when the session is gone, or a user's login, key or token has ended. A guest whose session
        is another's now hears nothing more: it comes back with what it has, and is told then."""
        gone = self._sources.sessions.find_session(self._session_id) is None
        if gone or self._proof.principal is not None:
            yield self._wire.expire(EXPIRED)

    def _seconds_left(self) -> float:
        """Until the session expires. When the time that is known has come, the database may know a later one."""
        clock = self._sources.clock
        if self._expires_at <= clock.now():
            session = self._sources.sessions.find_session(self._session_id)
            if session is None:
                return 0.0
            self._expires_at = session.expires_at
        return max(0.0, (self._expires_at - clock.now()).total_seconds())

    def _reset(self, page: Page, reason: str) -> bytes:
        self._at = Position(page.epoch, page.top)
        self._sources.counters.stream_resets.labels(reason).inc()
        return self._wire.reset(reason, self._at if page.epoch else None)


def _pieces(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Events that are sent together: each send costs as much as making some of them."""
    size, begun = 0, 0
    for at, event in enumerate(events):
        size += len(event.data)
        if size >= PIECE:
            yield events[begun : at + 1]
            size, begun = 0, at + 1
    if begun < len(events):
        yield events[begun:]


def _first_reading(session_id: UUID, cursor: Position | None) -> Reading:
    """The log's top, with what comes after the cursor; a client may name one that no log can have."""
    return Reading(session_id, min(cursor.offset, MAX_OFFSET)) if cursor else Reading(session_id, after=0, limit=1)
