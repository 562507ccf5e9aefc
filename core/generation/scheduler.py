"""The fair queue of generations that wait for a worker and for one of their provider's slots.

The queue is in SQL; a Celery task only wakes a worker, which then claims the generation that is next. Generations are
served in the order of their virtual start time, the column `turn`: the moment at which a generation came or, when its
owner has others under way, a step after the last of them. So the answers to one owner's many messages come between
other people's, and a newcomer never waits for all of them. (It is Zhang's virtual clock of 1990, for answers instead
of packets.) The time never changes, so every generation is served in the end. A generation gets it once its log tells
of it: until then no worker may claim it.
"""

import logging
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, null, or_, select, update
from sqlalchemy.orm import Session as DatabaseSession

from core.clock import Clock
from core.conversation.event_log import EventLog, Fenced, LogLost
from core.conversation.position import Producer
from core.errors import Unavailable
from core.generation.attempts import QUEUE_TIMEOUT, Attempt, Attempts, matched
from core.generation.provider_slots import ProviderSlots, Slot
from core.stores.database import Database
from core.stores.quarantine import MAX_UNAVAILABLE, Quarantine
from core.stores.redis import Redis
from core.stores.tables import IS_ENQUEUED, IS_LIVE, IS_QUEUED, Generation, Session

logger = logging.getLogger(__name__)

VIRTUAL_STEP = timedelta(seconds=20)
"""How far each live generation of an owner puts the next one back: about as long as an answer takes."""
MAX_QUEUE_WAIT = timedelta(minutes=10)
"""After this the time that a generation may wait is not renewed any more, however well the queue moves."""
NOTIFY_LIMIT = 200
"""Generations at the front whose positions are published."""
NOTIFY_INTERVAL = 1000
"""Milliseconds between two publications of positions, by all workers together."""
WAKE_LIMIT = 100
"""Generations for which the reaper wakes workers at once."""


class Claim(NamedTuple):
    """A generation that a worker has taken from the queue."""

    attempt: Attempt
    slot: Slot
    """Of the provider that is asked first."""


class Place(NamedTuple):
    """Where a generation is put into the queue."""

    turn: datetime
    """Its virtual start time."""
    position: int
    """How many generations wait before it."""


class FairQueue:
    """The generations that wait for a worker."""

    def __init__(
        self,
        database: Database,
        redis: Redis,
        attempts: Attempts,
        slots: ProviderSlots,
        log: EventLog,
        quarantine: Quarantine[UUID],
        clock: Clock,
    ) -> None:
        self._database = database
        self._redis = redis
        self._attempts = attempts
        self._slots = slots
        self._log = log
        self._quarantine = quarantine
        self._clock = clock
        self._claim_lock = Lock()

    def standing(
        self, generation_id: UUID, session: Session, now: datetime
    ) -> tuple[ColumnElement[Any], ColumnElement[int]]:
        """What is selected to find a generation's place: the turn of the last generation that its owner has under
        way, and how many wait before one whose turn is now."""
        last = (
            select(func.max(Generation.turn))
            .join(Session, Session.id == Generation.session_id)
            .where(Session.owner_id == session.owner_id, IS_LIVE)
        )
        # A guest has one answer under way at a time.
        return null() if session.anonymous else last.scalar_subquery(), _ahead_of(now, generation_id)

    def place(
        self, generation_id: UUID, now: datetime, last_turn: datetime | None, ahead: int, db_session: DatabaseSession
    ) -> Place:
        """Where a generation that comes now is put into the queue, of what `standing` has selected."""
        turn = now if last_turn is None else max(now, last_turn + VIRTUAL_STEP)
        if turn > now:
            ahead = db_session.scalar(select(_ahead_of(turn, generation_id))) or 0
        return Place(turn, ahead)

    def enqueue(self, generation_id: UUID, turn: datetime) -> bool:
        """Put the generation into the queue; whether it is there: not if it has ended meanwhile, or is gone."""
        until = self._clock.now() + QUEUE_TIMEOUT
        with self._database.writing() as db:
            conditions = (IS_QUEUED, Generation.turn.is_(None))  # it keeps the turn that it was given first
            return matched(db, generation_id, *conditions, turn=turn, lease_until=until)

    def first(self) -> UUID | None:
        """The generation at the front, or None when the queue is empty."""
        return next(iter(self.waiting(limit=1)), None)

    def waiting(self, limit: int = WAKE_LIMIT) -> list[UUID]:
        """The generations that wait, those at the front first."""
        with self._database.reading() as db:
            return list(db.scalars(select(Generation.id).where(IS_ENQUEUED).order_by(*ORDER).limit(limit)))

    def claim_next(self) -> Claim | None:
        """Claim the first generation whose provider has a slot for it; None when there is none (any more).

        Raises Unavailable when there is none of which this could be found out, or Redis fails for several models.
        """
        # One thread at a time: those of a process would only claim the same one and lose.
        with self._claim_lock:
            claim = self._claim()
        if claim is not None:
            self._notify_waiting()
        return claim

    def publish_positions(self) -> None:
        """Publish the positions at the front, where they are further in front than their readers know."""
        with self._database.reading() as db:
            front = db.execute(
                select(Generation.id, Generation.session_id, Generation.attempt)
                .where(IS_ENQUEUED)
                .order_by(*ORDER)
                .limit(NOTIFY_LIMIT)
            ).all()
        places = {
            generation_id: (session_id, position)
            for position, (generation_id, session_id, attempt) in enumerate(front)
            if attempt == 0  # what a worker has handed off has begun
        }
        self._quarantine.for_each(places, lambda each: self._publish_position(each, *places[each]))

    def _publish_position(self, generation_id: UUID, session_id: UUID, position: int) -> None:
        try:
            self._log.write(
                session_id,
                "queued",
                {"generation_id": str(generation_id), "position": position},
                Producer.queued(generation_id, position),
                expires_at=self._clock.now(),
            )
        except (Fenced, LogLost):
            return  # it has just been taken

    def _claim(self) -> Claim | None:
        passed_over: set[str] = set()
        failures: list[Unavailable] = []
        while (row := self._first_outside(passed_over)) is not None:
            generation_id, model = row
            try:
                slot = self._slots.acquire(self._slots.first_choice(model), generation_id)
            except Unavailable as error:  # perhaps one model's key is broken, which concerns no other model
                failures.append(error)
                if len(failures) == MAX_UNAVAILABLE:
                    raise
                slot = None
            if slot is None:
                passed_over.add(model)
                continue
            attempt = next(iter(self._quarantine.for_each([generation_id], self._attempts.claim)), None)
            if attempt is not None:
                return Claim(attempt, slot)
            slot.release()
        if failures:
            raise failures[0]
        return None

    def _first_outside(self, passed_over: set[str]) -> tuple[UUID, str] | None:
        with self._database.reading() as db:
            row = db.execute(
                select(Generation.id, Generation.model)
                .where(
                    IS_ENQUEUED, Generation.model.not_in(passed_over), Generation.id.not_in(self._quarantine.held())
                )
                .order_by(*ORDER)
                .limit(1)
            ).one_or_none()
        return None if row is None else (row[0], row[1])

    def _notify_waiting(self) -> None:
        """The queue has moved: renew the others' time to wait, and publish their positions, once in a while."""
        try:
            if self.first() is None or not self._redis.set("sb:line", 1, nx=True, px=NOTIFY_INTERVAL):
                return
            now = self._clock.now()
            with self._database.writing() as db:
                db.execute(
                    update(Generation)
                    .where(IS_ENQUEUED, Generation.created_at > now - MAX_QUEUE_WAIT)
                    .values(lease_until=now + QUEUE_TIMEOUT)
                )
            self.publish_positions()
        except Unavailable:
            logger.warning("positions in the queue could not be published: a store is away")


ORDER = (Generation.turn, Generation.id)


def _ahead_of(turn: datetime, generation_id: UUID) -> ColumnElement[int]:
    """How many generations wait before one with this virtual start time."""
    same = and_(Generation.turn == turn, Generation.id < generation_id)
    return select(func.count()).where(IS_ENQUEUED, or_(Generation.turn < turn, same)).scalar_subquery()
