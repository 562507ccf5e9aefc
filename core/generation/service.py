"""GenerationService: accepts a message, stops its answer, tells what is live.

A generation is a row with one owner at a time and exactly one end. Every transition is a compare-and-set in SQL;
the process that wins it, and no other, publishes it. The rest of core/generation/ writes the answer (writer.py), ends
it (finalizer.py), and looks after generations whose worker is gone (reaper.py).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, bindparam, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.clock import Clock, born_at, rfc3339
from core.conversation.event_log import EndedBefore, EventLog
from core.conversation.message import Message
from core.conversation.position import Position, Producer
from core.conversation.removals import Removals
from core.conversation.transcript import Transcript
from core.conversation.user_events import UserEvents
from core.errors import GenerationInProgress, GenerationLost, MessageTooLarge, NothingToStop, SessionInvalid
from core.generation import usage
from core.generation.attempts import ENQUEUE_TIMEOUT, keep_log_until
from core.generation.finalizer import RETRACTS, Finalizer, Outcome
from core.generation.scheduler import MAX_QUEUE_WAIT, FairQueue, Place, standing
from core.limits.message_limits import CONCURRENT, MessageLimits, owner_of
from core.limits.status import LimitStatus, RateLimited
from core.llm.client_pool import ClientPool
from core.observability.log_ids import current_request_id
from core.observability.tracing import traceparent
from core.sessions.service import SessionService, is_held_as
from core.stores.database import Database
from core.stores.redis import RedisUnavailable
from core.stores.tables import IS_LIVE, LIVE, Generation, GenerationState, Session
from core.text.characters import storable

ADMISSION_TIMEOUT = timedelta(seconds=3)
"""How long it may take from a generation's id to its row, and from there to its place in the queue, for a front end
that lives: what it asks of its stores on the way has less than a second each."""
MAX_MESSAGE_BYTES = 32 * 1024
"""Bytes of UTF-8 in one message."""


@dataclass(frozen=True)
class Accepted:
    """A message that will be answered."""

    session_id: UUID
    generation_id: UUID
    position: int
    """How many generations wait before this one."""
    before: Position
    """The place in the log just before the generation's first event."""
    limit_statuses: Sequence[LimitStatus]
    """How its owner stands with the limits."""

    def describe(self) -> dict[str, Any]:
        """As the wire has it."""
        return {
            "session_id": str(self.session_id),
            "generation_id": str(self.generation_id),
            "state": GenerationState.QUEUED,
            "position": self.position,
            "events": "/chat/sse",
        }


class _Taken(NamedTuple):
    """A generation that has its row, and no place in the queue yet."""

    generation: Generation
    session: Session
    """As it is now."""
    question: Message
    place: Place
    unpublished: bool
    """Whether the session may have an end that could not be published when it came."""


class GenerationService:
    """Answers, as the front end sees them."""

    def __init__(
        self,
        database: Database,
        sessions: SessionService,
        finalizer: Finalizer,
        removals: Removals,
        queue: FairQueue,
        log: EventLog,
        transcript: Transcript,
        limits: MessageLimits,
        pool: ClientPool,
        user_events: UserEvents,
        clock: Clock,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._finalizer = finalizer
        self._removals = removals
        self._queue = queue
        self._log = log
        self._transcript = transcript
        self._limits = limits
        self._pool = pool
        self._user_events = user_events
        self._clock = clock

    def accept(
        self, session: Session, message: str, generation_id: UUID | None = None, *, repeated: bool = True
    ) -> Accepted:
        """Take a message of a validated session: a row, and the event `queued` with the words.

        Idempotent by `generation_id`: a second call with the same one takes nothing more. `repeated` is False where
        it is known to be the first. Raises MessageTooLarge, GenerationInProgress, RateLimited, SessionInvalid,
        SessionExpired or Unavailable, or GenerationLost when what the first call took will never be answered; then
        nothing stays. The caller wakes a worker; if it can't, the reaper does.
        """
        message = storable(message)
        check_size(message)
        if generation_id is not None and repeated:
            with self._database.reading() as db:
                known = db.get(Generation, generation_id)
            if known is not None:
                return self._accept_repeat(known, session, message)
        return self._accept_new(generation_id, session, message)

    def retract(self, generation_id: UUID) -> None:
        """Retract a generation that no worker has begun, with its question: the session is as it was before."""
        with self._database.reading() as db:
            row = db.get(Generation, generation_id)
        if row is None:
            return
        retracted = {RETRACTS: str(row.question_id)} if row.question_id else {}
        failed = Outcome(GenerationState.FAILED, {"problem": GenerationLost().problem(), **retracted})
        # With Redis away its end can't be published; the row, which decides, is free all the same.
        with suppress(RedisUnavailable):
            self._finalizer.finalize_from_outside(generation_id, failed, Generation.state == GenerationState.QUEUED)

    def stop(self, session: Session, generation_id: UUID | None = None) -> UUID:
        """Stop the live generation of a validated session, before or after its first word; returns its id. With
        `generation_id` only that one.

        What has been written is kept. The request is in the row, so it holds for any worker, also after a takeover.
        Raises NothingToStop.
        """
        live = update(Generation).where(
            Generation.session_id == session.id, IS_LIVE, exists().where(is_held_as(session))
        )
        if generation_id is not None:
            live = live.where(Generation.id == generation_id)
        with self._database.writing_once() as db:
            stopped: UUID | None = db.scalar(live.values(stop_requested=True).returning(Generation.id))
        if stopped is None:
            raise NothingToStop
        # No worker writes it yet: then it ends here.
        if not self._finalizer.finalize_from_outside(
            stopped, Outcome(GenerationState.STOPPED), Generation.state == GenerationState.QUEUED
        ):
            self._log.request_stop(session.id, stopped)
        return stopped

    def active(self, session_id: UUID) -> dict[str, Any] | None:
        """The session's live generation as the wire has it, or None."""
        with self._database.reading() as db:
            row = db.scalar(select(Generation).where(Generation.session_id == session_id, IS_LIVE))
        if row is None:
            return None
        return {"generation_id": str(row.id), "state": row.state, "model": row.model}

    def _accept_new(self, generation_id: UUID | None, session: Session, message: str) -> Accepted:
        question = _question(uuid7(), message, self._clock.now())
        generation_id = generation_id or uuid7()  # after the question's, for the order of messages of one moment
        tokens = usage.tokens(message) + usage.most(self._pool.config(self._sessions.model_of(session)))
        limit_statuses = self._admit(session, generation_id, tokens)
        try:
            taken = self._take(generation_id, session, question)
        except Exception:
            self._limits.cancel(session, generation_id)
            raise
        return self._enqueue(taken, limit_statuses)

    def _accept_repeat(self, known: Generation, session: Session, message: str) -> Accepted:
        """The first call with this id has died on its way to the queue, or its caller has not got its answer."""
        if _never_begun(known):
            raise GenerationLost("The message was taken but could not be answered. Please send it again.")
        if not _is_halfway(known):
            return Accepted(session.id, known.id, 0, self._live_start(session.id), limit_statuses=())
        assert known.question_id is not None
        now = self._clock.now()
        question = _question(known.question_id, message, now)
        with self._database.reading() as db:
            _, _, last_turn, ahead = _standing(known.id, session, now, db)
            place = self._queue.place(known.id, now, last_turn, ahead, db)
        return self._enqueue(_Taken(known, session, question, place, unpublished=True), ())

    def _enqueue(self, taken: "_Taken", limit_statuses: Sequence[LimitStatus]) -> Accepted:
        """Announce a generation that has its row, and put it into the queue; if that fails, nothing of it stays."""
        generation, session, _, place, unpublished = taken
        try:
            if unpublished:
                self._finalizer.publish_pending(session.id)
            before = self._announce(taken)
            waits = self._queue.enqueue(generation.id, place.turn)
        except EndedBefore:
            self._require_living(session)
            raise GenerationLost("The message has been stopped, or came too late to be answered.") from None
        except Exception:
            self.retract(generation.id)
            self._require_living(session)
            raise
        if not waits:
            self._require_living(session)
        self._user_events.publish(
            session.owner_id,
            "answering",
            session.id,
            generation_id=str(generation.id),
            title=session.title,
            last_active_at=rfc3339(generation.created_at),
        )
        return Accepted(session.id, generation.id, place.position, before, limit_statuses)

    def _live_start(self, session_id: UUID) -> Position:
        tip = self._log.read(session_id, after=0, limit=1)
        return Position(tip.epoch, tip.top if tip.start is None else tip.start)

    def _admit(self, session: Session, generation_id: UUID, tokens: int) -> Sequence[LimitStatus]:
        """Let the limits take the generation, also when they still count one that has ended.

        A live answer comes before every limit: then there is nothing to wait for but its end.
        """
        try:
            return self._limits.admit(session, generation_id, MAX_QUEUE_WAIT, tokens)
        except (GenerationInProgress, RateLimited) as refused:
            self._require_free(session.id)
            of_rate = isinstance(refused, RateLimited) and refused.extra["limit"] != CONCURRENT
            if of_rate:
                raise
            self._release_ended(owner_of(session))
        return self._limits.admit(session, generation_id, MAX_QUEUE_WAIT, tokens)

    def _require_free(self, session_id: UUID) -> None:
        """Raise GenerationInProgress when the session has a live generation.

        One whose front end has died on its way to the queue does not count: it is retracted.
        """
        with self._database.reading() as db:
            live = db.scalar(select(Generation).where(Generation.session_id == session_id, IS_LIVE))
        if live is None:
            return
        if not _is_halfway(live) or live.created_at > self._clock.now() - ADMISSION_TIMEOUT:
            raise GenerationInProgress
        self.retract(live.id)

    def _release_ended(self, owner: UUID) -> None:
        """Give the owner's leases back that no live generation holds.

        One that the database does not know may be about to be inserted; so it must be older than that can take.
        """
        holders = self._limits.lease_holders(owner)
        with self._database.reading() as db:
            states = select(Generation.id, Generation.state).where(Generation.id.in_(holders))
            known = dict(db.execute(states).all())
        inserted = self._clock.now() - ADMISSION_TIMEOUT
        dead = [each for each in holders if (known[each] not in LIVE if each in known else born_at(each) < inserted)]
        for generation_id in dead:
            self._limits.release_lease(owner, generation_id)

    def _require_living(self, session: Session) -> None:
        """Leave no words behind when the session has been deleted between its row's and its log's change.

        Raises SessionInvalid or SessionExpired then.
        """
        if self._removals.remove_if_gone(session):
            with self._database.reading() as db:
                self._sessions.validate_session(session.id, db, session.owner_id, require_valid=True)

    def _take(self, generation_id: UUID, session: Session, question: Message) -> "_Taken":
        """The row, and an owned session's words. Raises GenerationInProgress when the session has a live generation,
        unless its front end has died on its way to the queue."""
        try:
            return self._insert(generation_id, session, question)
        except GenerationInProgress:
            self._require_free(session.id)
        return self._insert(generation_id, session, question)

    def _insert(self, generation_id: UUID, session: Session, question: Message) -> "_Taken":
        now = self._clock.now()
        with self._database.writing() as db:
            current = self._sessions.lock_living(session.id, db)
            if current.owner_id != session.owner_id:
                raise SessionInvalid("This session has just been claimed by a user.")
            later, unpublished, last_turn, ahead = _standing(generation_id, current, now, db)
            row = {
                "id": generation_id,
                "session_id": session.id,
                "model": self._sessions.model_of(current),
                "question_id": UUID(question.id),
                "state": GenerationState.QUEUED,
                "attempt": 0,
                "stop_requested": False,
                "lease_until": now + ENQUEUE_TIMEOUT,
                "created_at": now,
                "request_id": current_request_id(),
                "traceparent": traceparent(),
            }
            if later or db.scalar(_INSERT[db.get_bind().dialect.name], row) is None:
                raise GenerationInProgress
            place = self._queue.place(generation_id, now, last_turn, ahead, db)
            if not current.anonymous:
                self._transcript.keep(question, session.id, db)
            current = self._sessions.note_message(current, question.text, db)
        return _Taken(Generation(**row), current, question, place, unpublished)

    def _announce(self, taken: "_Taken") -> Position:
        generation, session, question, (_, position), _ = taken
        at = rfc3339(generation.created_at)
        answer = Message(str(generation.id), "assistant", "", generation.model, "streaming", at)
        queued = self._log.begin(
            session.id,
            "queued",
            {"generation_id": str(generation.id), "position": position},
            Producer.queued(generation.id, position),
            expires_at=keep_log_until(session, self._clock.now()),
            answer=answer.dump(),
            question=question.dump() if session.anonymous else "",
        )
        return Position(queued.epoch, queued.offset - 1)


class _Standing(NamedTuple):
    later: bool
    """Whether the session has a later one, made by a host whose clock is ahead; the log needs the order."""
    unpublished: bool
    """Whether it may have an end that could not be published when it came."""
    last_turn: datetime | None
    ahead: int
    """These two are what `FairQueue.place` takes."""


def _select_standing(*, anonymous: bool) -> Select[Any]:
    mine = select(Generation.id).where(Generation.session_id == bindparam("session_id"))
    return select(
        exists(mine.where(Generation.id > bindparam("generation_id"))),
        exists(mine.where(Generation.unpublished.is_not(None))),
        *standing(anonymous=anonymous),
    )


_STANDING = {anonymous: _select_standing(anonymous=anonymous) for anonymous in (True, False)}


def _standing(generation_id: UUID, session: Session, now: datetime, db_session: DatabaseSession) -> _Standing:
    """How a generation of the session that comes now stands."""
    ids = {"generation_id": generation_id, "session_id": session.id, "owner_id": session.owner_id}
    return _Standing(*db_session.execute(_STANDING[session.anonymous], {**ids, "turn": now}).one())


def _insertion(dialect: Any) -> postgresql.Insert | sqlite.Insert:
    """The statement that inserts a generation, unless its session has a live one, or another has its id."""
    table = Generation.__table__
    new: postgresql.Insert | sqlite.Insert = dialect.insert(table).on_conflict_do_nothing().returning(table.c.id)
    return new


_INSERT = {"sqlite": _insertion(sqlite), "postgresql": _insertion(postgresql)}


def _question(message_id: UUID, text: str, now: datetime) -> Message:
    return Message(str(message_id), "user", text, None, "complete", rfc3339(now))


def _is_halfway(generation: Generation) -> bool:
    """Whether it has a row, and no place in the queue yet."""
    return generation.state == GenerationState.QUEUED and generation.turn is None


def _never_begun(generation: Generation) -> bool:
    return generation.state == GenerationState.FAILED and generation.started_at is None


def check_size(message: str) -> None:
    """Raise MessageTooLarge when a message is longer than is taken."""
    size = len(message.encode())
    if size > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(
            f"The message has {size} bytes; at most {MAX_MESSAGE_BYTES} are taken.", field="message"
        )
