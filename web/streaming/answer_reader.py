"""Reads one answer to its end, for a request that is answered with it and can't come back for the rest."""

import json
import time
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from core.auth.principal import Principal
from core.auth.proofs import Proof
from core.conversation.event_log import PAGE_SIZE, Event, Reading
from core.conversation.keys import channel
from core.conversation.position import Position
from core.conversation.recovery import NOWHERE, Step, broken, step
from core.errors import SwitchboardError
from core.generation.accepted import Accepted
from core.sessions.queries import Session
from web.streaming.reader import TERMINAL_EVENTS, StreamSources
from web.streaming.subscription import Announced, Subscription

TICK = 1.0
"""Seconds of silence after which a reader is given a moment to look around: whether its client is still there."""


class AnswerInterrupted(SwitchboardError):
    """The answer can't be told to its end, and its reader can't come back for the rest."""

    slug, title, status = "answer-interrupted", "The answer was interrupted", 503
    detail = "The answer was interrupted. Please send the request again."


class AnswerEvent(NamedTuple):
    """An event of the session's log."""

    type: str
    data: dict[str, Any]


class AnswerReader:
    """The events of one generation, from its first to its last, each once.

    A log that Redis has lost is read from its beginning when a worker has restored it, so words may come again: their
    `at` says which they are.
    """

    def __init__(
        self, sources: StreamSources, session: Session, principal: Principal | None, accepted: Accepted
    ) -> None:
        self._sources = sources
        self._session = session
        self._proof = Proof.for_session(session, principal)
        self._generation_id = str(accepted.generation_id)
        self._at = accepted.before
        self.ended = False
        """Whether the last event has been given."""

    def events(self) -> Generator[AnswerEvent | None, None, None]:
        """The events as they come, and None for each tick without any. Raises Unavailable, or AnswerInterrupted when
        the rest can't be told."""
        with self._sources.hub.subscribe(channel(self._session.id), self._proof) as subscription:
            subscription.doubted = True  # what ended before Redis had the subscription was announced to no reader
            while not self.ended:
                yield from self._catch_up(subscription)
                subscription.at = self._at.offset
                yield from self._follow(subscription)

    def _catch_up(self, subscription: Subscription) -> Iterator[AnswerEvent]:
        """What the log has that has not been given."""
        while not self.ended:
            page = self._sources.pages.call(Reading(self._session.id, self._at.offset))
            reason = broken(self._at, page)
            if reason == "log-lost":
                self._at = Position(page.epoch, 0) if page.epoch else NOWHERE
                if page.epoch:
                    continue
                return
            if reason is not None:
                raise AnswerInterrupted
            self._require_proof(subscription)
            for event in page.events:
                self._at = Position(page.epoch, event.offset)
                yield from self._own(event)
                if self.ended:
                    return
            if len(page.events) < PAGE_SIZE:
                return

    def _follow(self, subscription: Subscription) -> Iterator[AnswerEvent | None]:
        """What is announced, until the log must be read again."""
        while not self.ended:
            announced = subscription.take(TICK)
            if announced is not None and announced.position is None:
                raise AnswerInterrupted
            self._require_proof(subscription)
            if announced is None:
                if subscription.leave_at is not None and time.monotonic() >= subscription.leave_at:
                    raise AnswerInterrupted("The server is about to restart. Please send the request again.")
                if subscription.missed():
                    return
                yield None
                continue
            assert announced.position is not None
            match step(self._at, announced.position):
                case Step.DROP:
                    continue
                case Step.READ:
                    return
            self._at = announced.position
            subscription.at = self._at.offset
            yield from self._own(announced)

    def _own(self, event: Event | Announced) -> Iterator[AnswerEvent]:
        data = json.loads(event.data)
        if event.type == "reset":
            raise AnswerInterrupted  # a damaged event: what it said is not known
        if data.get("generation_id") == self._generation_id:
            self.ended = event.type in TERMINAL_EVENTS
            yield AnswerEvent(event.type, data)

    def _require_proof(self, subscription: Subscription) -> None:
        """Raises AnswerInterrupted when what proved the sender to be a user holds no more, such as a revoked key."""
        if subscription.doubted:
            subscription.doubted = False  # first: what is doubted meanwhile is looked up again
            if not self._sources.standing.call(self._proof):
                subscription.revoke()
        if subscription.revoked:
            raise AnswerInterrupted("The key or login that this was sent with has ended.")
