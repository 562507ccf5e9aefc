"""The fair queue of generations that wait for a worker and for one of their provider's slots.

The queue is in SQL; a Celery task only wakes a worker, which then claims the generation that is next. Generations are
served in the order of their virtual start time, the column `turn`: the moment at which a generation came or, when its
owner has others under way, a step after the last of them. So the answers to one owner's many messages come between
other people's, and a newcomer never waits for all of them. (It is Zhang's virtual clock of 1990, for answers instead
of packets.) The time never changes, so every generation is served in the end. A generation gets it once its log tells
of it: until then no worker may claim it.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, and_, bindparam, func, literal_column, null, or_, select, update
from sqlalchemy.orm import Session as DatabaseSession

from core.clock import Clock
from core.conversation.event_log import AnswerEvent, EventLog, Fenced, LogLost
from core.conversation.position import Producer
from core.errors import Unavailable
from core.generation.attempts import QUEUE_TIMEOUT, Attempt, Attempts, Claiming, claiming
from core.generation.provider_slots import ProviderSlots, Slot
from core.stores.combiner import Combiner
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


class _Claimed(NamedTuple):
    claim: Claim
    others_wait: bool


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
        self._claims = Combiner(self._claim_for)
        self._firsts: Combiner[None, UUID | None] = Combiner(
            lambda calls: [next(iter(self.waiting(limit=1)), None)] * len(calls)
        )
        self._likely_model: str | None = None

    def place(
        self, generation_id: UUID, now: datetime, last_turn: datetime | None, ahead: int, db_session: DatabaseSession
    ) -> Place:
        """Where a generation that comes now is put into the queue, of what `standing` has selected."""
        turn = now if last_turn is None else max(now, last_turn + VIRTUAL_STEP)
        if turn > now:
            ahead = db_session.scalar(_SELECT_AHEAD, {"turn": turn, "generation_id": generation_id}) or 0
        return Place(turn, ahead)

    def enqueue(self, generation_id: UUID, turn: datetime) -> bool | None:
        """Put the generation into the queue; whether it is to stop, as has been asked for meanwhile. None where it is
        not there: it has ended meanwhile, or is gone."""
        until = self._clock.now() + QUEUE_TIMEOUT
        with self._database.writing_once() as db:
            place = {"generation_id": generation_id, "new_turn": turn, "until": until}
            return db.connection().execute(_ENQUEUE, place).scalar_one_or_none()

    def first(self) -> UUID | None:
        """The generation at the front, or None when the queue is empty."""
        return self._firsts.call(None)

    def waiting(self, limit: int = WAKE_LIMIT) -> list[UUID]:
        """The generations that wait, those at the front first."""
        with self._database.reading() as db:
            return list(db.connection().scalars(_WAITING, {"limit": limit}))

    def claim_next(self, woken: UUID | None = None) -> Claim | None:
        """Claim the first generation whose provider has a slot for it; None when there is none (any more).

        `woken`: the one that a worker has been called for, which most often is the one. Raises Unavailable when there
        is none of which this could be found out, or Redis fails for several models.
        """
        # Together: the threads of a process would only claim the same one and lose.
        claimed = self._claims.call(woken)
        if isinstance(claimed, Unavailable):
            raise claimed
        if claimed is not None and claimed.others_wait:
            self._notify_waiting()
        return claimed and claimed.claim

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
                AnswerEvent(
                    session_id,
                    "queued",
                    {"generation_id": str(generation_id), "position": position},
                    Producer.queued(generation_id, position),
                    expires_at=self._clock.now(),
                )
            )
        except (Fenced, LogLost):
            return  # it has just been taken

    def _claim_for(self, woken: Sequence[UUID | None]) -> "list[_Claimed | Unavailable | None]":
        """A claim for each worker that asks, as long as there are any."""
        likely = self._claim_likely(woken[0]) if len(woken) == 1 and woken[0] is not None else None
        if likely is not None:
            return [likely]
        claims, others_wait, failure = self._claim_first(len(woken))
        if claims:
            self._likely_model = claims[-1].attempt.model
        claimed: list[_Claimed | Unavailable | None] = [
            _Claimed(claim, others_wait and claim is claims[0]) for claim in claims
        ]
        return [*claimed, *[failure] * (len(woken) - len(claims))]

    def _claim_likely(self, woken: UUID) -> "_Claimed | None":
        """The first generation, if it is of the same model as the one before: then its slot can be had before the
        queue is looked at, and one look is enough. What fails here is found out without that."""
        model = self._likely_model
        if model is None:
            return None
        slots: list[Slot] = []
        try:
            slots += self._slots.acquire(self._slots.first_choice(model), [woken])
            for attempt, others_wait in self._claim_front(model) if slots else ():
                slot = slots.pop()
                if attempt.generation_id != woken:
                    slot.hand_to(attempt.generation_id)
                return _Claimed(Claim(attempt, slot), others_wait)
        except Exception as error:
            logger.info("the likely generation could not be claimed: %s", type(error).__name__)
        for slot in slots:
            slot.release()
        return None

    def _claim_front(self, model: str) -> list[tuple[Attempt, bool]]:
        """Claim the first generation if it is of the model, and find out whether others wait, in one statement."""
        return self._attempts.claim_with(_CLAIM_FRONT, {"likely_model": model, "held": self._quarantine.held()})

    def _claim_first(self, wanted: int) -> "tuple[list[Claim], bool, Unavailable | None]":
        """Up to so many claims, whether others wait, and why there are no more if that could not be found out."""
        claims: list[Claim] = []
        passed_over: set[str] = set()
        failures: list[Unavailable] = []
        others_wait = False
        try:
            while len(claims) < wanted and len(failures) < MAX_UNAVAILABLE:
                left = wanted - len(claims)
                rows = self._first_outside(passed_over, left + 1)
                if not rows:
                    break
                others_wait = len(rows) > left
                claims += self._claim_with(self._take_slots(rows[:left], passed_over, failures))
        except Unavailable as error:  # what is claimed is written all the same
            failures.append(error)
        return claims, others_wait or bool(passed_over), failures[0] if failures else None

    def _take_slots(
        self, rows: Sequence[tuple[UUID, str]], passed_over: set[str], failures: list[Unavailable]
    ) -> dict[UUID, Slot]:
        """A slot for each of the generations whose model has one; the other models are passed over from now on."""
        slots: dict[UUID, Slot] = {}
        for model in dict.fromkeys(model for _, model in rows):
            ids = [generation_id for generation_id, its in rows if its == model]
            got: list[Slot] = []
            try:
                got = self._slots.acquire(self._slots.first_choice(model), ids)
            except Unavailable as error:  # perhaps one model's key is broken, which concerns no other model
                failures.append(error)
            slots |= zip(ids, got, strict=False)
            if len(got) < len(ids):
                passed_over.add(model)
        return slots

    def _claim_with(self, slots: dict[UUID, Slot]) -> list[Claim]:
        """Those of the generations that can be claimed; the others' slots are given back."""
        try:
            batches = self._quarantine.for_batch([*slots], self._attempts.claim_all)
            return [Claim(attempt, slots.pop(attempt.generation_id)) for batch in batches for attempt in batch]
        finally:
            for slot in slots.values():
                slot.release()

    def _first_outside(self, passed_over: set[str], limit: int) -> list[tuple[UUID, str]]:
        outside = {"held": self._quarantine.held(), "passed_over": passed_over, "limit": limit}
        with self._database.reading() as db:
            return [(generation_id, model) for generation_id, model in db.execute(_FIRST_OUTSIDE, outside)]

    def _notify_waiting(self) -> None:
        """The queue has moved: renew the others' time to wait, and publish their positions, once in a while."""
        try:
            if not self._redis.set("sb:line", 1, nx=True, px=NOTIFY_INTERVAL):
                return
            now = self._clock.now()
            with self._database.writing_once() as db:
                db.execute(
                    update(Generation)
                    .where(IS_ENQUEUED, Generation.created_at > now - MAX_QUEUE_WAIT)
                    .values(lease_until=now + QUEUE_TIMEOUT)
                )
            self.publish_positions()
        except Unavailable:
            logger.warning("positions in the queue could not be published: a store is away")


# Statements are put together once, which takes as long as running them.
ORDER = (Generation.turn, Generation.id)
_ENQUEUE = (
    update(Generation)
    .where(Generation.id == bindparam("generation_id"), IS_QUEUED, Generation.turn.is_(None))
    .values(turn=bindparam("new_turn"), lease_until=bindparam("until"))
    .returning(Generation.stop_requested)
)
"""A generation keeps the turn that it was given first."""
_WAITING = select(Generation.id).where(IS_ENQUEUED).order_by(*ORDER).limit(bindparam("limit"))
_FRONT = (
    select(Generation.id).where(IS_ENQUEUED, Generation.id.not_in(bindparam("held", expanding=True))).order_by(*ORDER)
)
"""The ids of the generations to be served, in their order."""
_FIRST_OUTSIDE = (
    _FRONT.add_columns(Generation.model)
    .where(Generation.model.not_in(bindparam("passed_over", expanding=True)))
    .limit(bindparam("limit"))
)
_SAME_TURN = and_(Generation.turn == bindparam("turn"), Generation.id < bindparam("generation_id"))
_AHEAD = (
    select(func.count()).where(IS_ENQUEUED, or_(Generation.turn < bindparam("turn"), _SAME_TURN)).scalar_subquery()
)
"""How many generations wait before one with this virtual start time."""
_SELECT_AHEAD = select(_AHEAD)


def standing(*, anonymous: bool) -> tuple[ColumnElement[Any], ColumnElement[int]]:
    """What is selected to find a generation's place: the turn of the last generation that its owner has under way,
    and how many wait before one whose turn is now. Takes `owner_id`, `generation_id`, and now as `turn`."""
    last = (
        select(func.max(Generation.turn))
        .join(Session, Session.id == Generation.session_id)
        .where(Session.owner_id == bindparam("owner_id"), IS_LIVE)
    )
    # A guest has one answer under way at a time.
    return null() if anonymous else last.scalar_subquery(), _AHEAD


def _claim_front() -> Claiming:
    front = _FRONT.limit(1).with_for_update(skip_locked=True).correlate(None).scalar_subquery()
    # Written out: in what a statement returns, SQLAlchemy leaves the tables' names out for SQLite, and `id` alone
    # would be the other's own.
    others = literal_column(
        "EXISTS (SELECT 1 FROM generation AS other"
        " WHERE other.state = 'queued' AND other.turn IS NOT NULL AND other.id <> generation.id)",
        Boolean,
    )
    return claiming(Generation.id == front, Generation.model == bindparam("likely_model"), also=others)


_CLAIM_FRONT = _claim_front()
