"""Whose turn it is: the line of generations that wait for a worker and for one of their provider's slots.

The line is in SQL; a task on the queue only wakes a worker, which then takes whoever's turn it is. A generation's
turn is the moment at which it came or, when its owner has others under way, a step after the last of them: who
sends many messages gets their answers between other people's, and a newcomer never waits for all of them. (It is
Zhang's virtual clock of 1990, for answers instead of packets.) The turn never changes, so everybody's comes. It is
given to a generation once its log tells of it: until then nobody may take it.
"""

import logging
from datetime import datetime, timedelta
from threading import Lock
from uuid import UUID

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session as DatabaseSession

from core.clock import Clock
from core.conversation.event_log import LAST, EventLog, Fenced, LogLost, Producer
from core.errors import Unavailable
from core.generation.attempts import QUEUE_PATIENCE, Attempt, Attempts, matched, new_holder
from core.generation.provider_slots import Slots
from core.stores.database import Database
from core.stores.redis import Redis
from core.stores.tables import IN_LINE, IS_LIVE, IS_QUEUED, Generation, Session

logger = logging.getLogger(__name__)

STEP = timedelta(seconds=20)
"""What each answer of an owner's that is under way puts the next one back: about as long as an answer takes."""
LONGEST_WAIT = timedelta(minutes=10)
"""After this a generation's patience is not renewed any more, however well the line moves."""
TOLD = 200
"""How many from the front are told of their places."""
TELL_EVERY = 1000
"""Milliseconds between two tellings, of all workers together."""
CALLED = 100
"""How many the reaper calls at once."""


class Line:
    """Those who wait."""

    def __init__(
        self, database: Database, redis: Redis, attempts: Attempts, slots: Slots, log: EventLog, clock: Clock
    ) -> None:
        self._database = database
        self._redis = redis
        self._attempts = attempts
        self._slots = slots
        self._log = log
        self._clock = clock
        self._at_the_counter = Lock()

    def turn(self, session: Session, db_session: DatabaseSession) -> datetime:
        """The turn of a message that comes now."""
        now = self._clock.now()
        if session.anonymous:  # it has one answer under way at a time
            return now
        last = db_session.scalar(
            select(func.max(Generation.turn))
            .join(Session, Session.id == Generation.session_id)
            .where(Session.owner_id == session.owner_id, IS_LIVE)
        )
        return now if last is None else max(now, last + STEP)

    def position(self, turn: datetime, generation_id: UUID, db_session: DatabaseSession) -> int:
        """How many wait before one with this turn."""
        same = and_(Generation.turn == turn, Generation.id < generation_id)
        return db_session.scalar(select(func.count()).where(IN_LINE, or_(Generation.turn < turn, same))) or 0

    def enter(self, generation_id: UUID, turn: datetime) -> bool:
        """Let it wait for its turn; whether it does: one that has ended meanwhile, or is gone, does not."""
        patience = self._clock.now() + QUEUE_PATIENCE
        with self._database.writing() as db:
            conditions = (IS_QUEUED, Generation.turn.is_(None))  # it keeps the turn that it was given first
            return matched(db, generation_id, *conditions, turn=turn, lease_until=patience)

    def first(self) -> UUID | None:
        """Who is at the front, if anybody waits."""
        return next(iter(self.waiting(limit=1)), None)

    def waiting(self, limit: int = CALLED) -> list[UUID]:
        """Who waits, those at the front first."""
        with self._database.reading() as db:
            return list(db.scalars(select(Generation.id).where(IN_LINE).order_by(*ORDER).limit(limit)))

    def next(self) -> Attempt | None:
        """Take the first generation whose provider has a slot for it; None when there is none (any more).

        Raises Unavailable.
        """
        # One thread at a time: those of a process would only take the same one and lose.
        with self._at_the_counter:
            attempt = self._take()
        if attempt is not None:
            self._move_up()
        return attempt

    def tell(self) -> None:
        """Tell those at the front where they stand now, if that is further in front than they know."""
        with self._database.reading() as db:
            front = db.execute(
                select(Generation.id, Generation.session_id, Generation.attempt)
                .where(IN_LINE)
                .order_by(*ORDER)
                .limit(TOLD)
            ).all()
        for position, (generation_id, session_id, attempt) in enumerate(front):
            if attempt == 0:  # what a worker has handed on has begun
                self._tell(generation_id, session_id, position)

    def _tell(self, generation_id: UUID, session_id: UUID, position: int) -> None:
        try:
            self._log.append(
                session_id,
                "queued",
                {"generation_id": str(generation_id), "position": position},
                expires_at=self._clock.now(),
                producer=place(generation_id, position),
                role="write",
            )
        except (Fenced, LogLost):
            return  # it has just been taken

    def _take(self) -> Attempt | None:
        full: set[str] = set()
        while (row := self._first_outside(full)) is not None:
            generation_id, model = row
            slot, holder = self._slots.first_choice(model), new_holder(generation_id)
            if not self._slots.take(slot, holder):
                full.add(model)
                continue
            attempt = self._attempts.claim(generation_id)
            if attempt is not None:
                attempt.slot, attempt.holder = slot, holder
                return attempt
            self._slots.give_back(slot, holder)
        return None

    def _first_outside(self, full: set[str]) -> tuple[UUID, str] | None:
        with self._database.reading() as db:
            row = db.execute(
                select(Generation.id, Generation.model)
                .where(IN_LINE, Generation.model.not_in(full))
                .order_by(*ORDER)
                .limit(1)
            ).one_or_none()
        return None if row is None else (row[0], row[1])

    def _move_up(self) -> None:
        """The line has moved: those who wait have reason to go on waiting, and are told, once in a while."""
        try:
            if self.first() is None or not self._redis.set("sb:line", 1, nx=True, px=TELL_EVERY):
                return
            now = self._clock.now()
            with self._database.writing() as db:
                db.execute(
                    update(Generation)
                    .where(IN_LINE, Generation.created_at > now - LONGEST_WAIT)
                    .values(lease_until=now + QUEUE_PATIENCE)
                )
            self.tell()
        except Unavailable:
            logger.warning("those who wait could not be told: a store is away")


ORDER = (Generation.turn, Generation.id)


def place(generation_id: UUID, position: int) -> Producer:
    """Who tells of a place in the line. The log takes only growing numbers, so whoever stands where they stood, or
    further back, is told nothing."""
    return Producer(generation_id, 0, LAST - 1 - position)
