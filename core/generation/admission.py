"""Admission: how a generation gets its row, its place in the queue and its first event; or nothing of it stays.

In this order, so that whoever dies on the way leaves what another can go on with, or take back: the limits, the row,
the event `queued`, the place in the queue.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, Uuid, bindparam, exists, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.clock import Clock, born_at, rfc3339
from core.conversation.event_log import EndedBefore, EventLog
from core.conversation.finished_messages import select_leaf_and_newest
from core.conversation.message import PREVIOUS, Message
from core.conversation.position import Position, Producer
from core.conversation.removals import Removals
from core.conversation.transcript import Transcript
from core.conversation.user_events import UserEvents
from core.errors import (
    GenerationInProgress,
    GenerationLost,
    NoSuchMessage,
    SessionInvalid,
)
from core.generation import usage
from core.generation.accepted import Accepted
from core.generation.attempts import ENQUEUE_TIMEOUT, keep_log_until
from core.generation.events import MOMENT
from core.generation.finalizer import RETRACTS, Finalizer, Outcome
from core.generation.scheduler import MAX_QUEUE_WAIT, FairQueue, Place, standing
from core.generation.wishes import CURRENT_LEAF, Parent, Target
from core.limits.message_limits import CONCURRENT, NO_OVERRIDES, MessageLimits, Spending, owner_of
from core.limits.status import LimitStatus, RateLimited
from core.llm.client_pool import ClientPool
from core.observability.log_ids import current_request_id
from core.observability.tracing import traceparent
from core.sessions.service import NewSession, SessionService
from core.stores.database import Database
from core.stores.redis import RedisUnavailable
from core.stores.tables import IS_ENQUEUED, IS_LIVE, LIVE, Generation, GenerationState, Session, User, Waiting

ADMISSION_TIMEOUT = timedelta(seconds=3)
"""How long it may take from a generation's id to its row, and from there to its place in the queue, for a front end
that lives: what it asks of its stores on the way has less than a second each."""


class Edited(Exception):
    """The question that waits has other words by now, or waits no more."""


class Taken(NamedTuple):
    """A generation that has its row, and no place in the queue yet."""

    generation: Generation
    session: Session
    """As it is now."""
    question: Message
    """New, or, without its text, the one that is answered again."""
    target: Target
    place: Place
    unpublished: bool
    """Whether the session may have an end that could not be published when it came."""


class Admission:
    """Takes what is to be answered."""

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

    def admit(self, session: Session | NewSession, generation_id: UUID, spending: Spending) -> Sequence[LimitStatus]:
        """Let the limits take the generation, also when they still count one that has ended.

        A live answer comes before every limit: then there is nothing to wait for but its end.
        """
        overrides = self._overrides(session)
        try:
            return self._limits.admit(session, generation_id, MAX_QUEUE_WAIT, spending, overrides)
        except (GenerationInProgress, RateLimited) as refused:
            self.require_free(session.id)
            of_rate = isinstance(refused, RateLimited) and refused.extra["limit"] != CONCURRENT
            if of_rate:
                raise
            self._release_ended(owner_of(session))
        return self._limits.admit(session, generation_id, MAX_QUEUE_WAIT, spending, overrides)

    def _overrides(self, session: Session | NewSession) -> Mapping[str, str]:
        """The owner's own limits. The front end has mostly read them with the session."""
        if session.owner_id is None:
            return NO_OVERRIDES
        if isinstance(session, Session) and session.owner_limits is not None:
            return session.owner_limits
        with self._database.reading() as db:
            return db.scalar(select(User.limits).where(User.id == session.owner_id)) or NO_OVERRIDES

    def at_most(self, session: Session, text: str, model: str | None, limit: int | None = None) -> Spending:
        """What an answer to this question may come to, by the model or the session's. `limit`: the tokens that it is
        not to exceed."""
        config = self._pool.config(model or self._sessions.model_of(session))
        return usage.at_most(config, usage.tokens(text), limit)

    def take(self, generation_id: UUID, session: Session | NewSession, target: Target, model: str | None) -> Taken:
        """The row, and an owned session's words. Raises GenerationInProgress when the session has a live generation,
        unless its front end has died on its way to the queue."""
        try:
            return self.insert(generation_id, session, target, model)
        except GenerationInProgress:
            self.require_free(session.id)
        return self.insert(generation_id, session, target, model)

    def insert(
        self,
        generation_id: UUID,
        session: Session | NewSession,
        target: Target,
        model: str | None,
        waiting: Waiting | None = None,
    ) -> Taken:
        """With `waiting`, of a question that has waited. No other is taken as long as one waits."""
        now = self._clock.now()
        with self._database.writing() as db:
            current = self._sessions.begin_session(session, target.text, db)
            if current.owner_id != session.owner_id:
                raise SessionInvalid("This session has just been claimed by a user.")
            standing = _standing(generation_id, current, now, db)
            refused = waiting is None and (standing.later or standing.others_wait)
            if waiting is not None:
                words_id = db.scalar(select(Waiting.words_id).where(Waiting.id == waiting.id))
                if words_id != waiting.words_id:
                    raise Edited
            # Younger than all that there is, also where another host's clock is ahead.
            at = now if standing.newest_at is None else max(now, standing.newest_at + MOMENT)
            question = self._question_of(target, standing, at)
            row = {
                "id": generation_id,
                "session_id": session.id,
                "model": model or self._sessions.model_of(current),
                "question_id": UUID(question.id),
                "answer_id": _answer_id(target, generation_id),
                "kept_length": len(target.kept.text),
                "kept_thinking": len(target.kept.thinking),
                "state": GenerationState.QUEUED,
                "attempt": 0,
                "stop_requested": False,
                "lease_until": now + ENQUEUE_TIMEOUT,
                "created_at": at,
                "waited": True if waiting else None,
                "handovers": target.goes_on.handovers if target.goes_on else None,
                "max_tokens": target.terms.max_tokens,
                "client_options": target.terms.client_options,
                "request_id": waiting.request_id if waiting else current_request_id(),
                "traceparent": waiting.traceparent if waiting else traceparent(),
            }
            if refused or db.scalar(_INSERT[db.get_bind().dialect.name], row) is None:
                raise GenerationInProgress
            place = self._queue.place(generation_id, now, standing.last_turn, standing.ahead, db)
            if not current.words_in_redis:
                self._keep_words(target, question, standing, current, db)
        return Taken(Generation(**row), current, question, target, place, standing.unpublished)

    def enqueue(self, taken: Taken, limit_statuses: Sequence[LimitStatus], *, retracts: bool = True) -> Accepted:
        """Announce a generation that has its row, and put it into the queue; if that fails, nothing of it stays,
        unless it is another's to go on with it: `retracts`."""
        generation, session, _, _, place, unpublished = taken
        try:
            if unpublished:
                self._finalizer.publish_pending(session.id)
            before = self.announce(taken)
            to_stop = self._queue.enqueue(generation.id, place.turn)
        except EndedBefore:
            self._require_living(session)
            raise GenerationLost("The message has been stopped, or came too late to be answered.") from None
        except Exception:
            if retracts:
                self.retract(generation.id)
            self._require_living(session)
            raise
        if to_stop is None:
            self._require_living(session)
        elif to_stop:
            self.stop_queued(generation.id)
        if not session.words_in_redis:
            told = {"title": session.title, "last_active_at": rfc3339(generation.created_at)}
            self._user_events.publish(
                session.owner_id, "answering", session.id, generation_id=str(generation.id), **told
            )
        return Accepted(session.id, generation.id, place.position, before, limit_statuses)

    def stop_queued(self, generation_id: UUID) -> bool:
        """Stop a generation that no worker has begun; whether this call did.

        One without a place in the queue is not ended from here: its log has not told of it yet, and its end would
        have no beginning. Who puts it there finds that it is to stop.
        """
        return self._finalizer.finalize_from_outside(generation_id, Outcome(GenerationState.STOPPED), IS_ENQUEUED)

    def taken_halfway(self, known: Generation, session: Session, target: Target) -> Taken:
        assert known.question_id is not None
        now = self._clock.now()
        kept = None if session.anonymous else self._transcript.message(session, known.question_id)
        question = kept or _question(known.question_id, target.text, now, target.parent)
        with self._database.reading() as db:
            standing = _standing(known.id, session, now, db)
            place = self._queue.place(known.id, now, standing.last_turn, standing.ahead, db)
        return Taken(known, session, question, target, place, unpublished=True)

    def announce(self, taken: Taken) -> Position:
        generation, session, question, target, (_, position), _ = taken
        if question.parent == PREVIOUS and target.question_id is None:
            leaf = self._transcript.message(session, None)
            question = replace(question, parent=leaf.id if leaf else None)
        kept, goes_on = target.kept, target.goes_on
        answer = Message(
            str(generation.answer_id or generation.id),
            "assistant",
            "",
            generation.model,
            "streaming",
            goes_on.created_at if goes_on else rfc3339(generation.created_at),
            parent=question.id,
            handovers=goes_on.handovers if goes_on else None,
        )
        queued = self._log.begin(
            session.id,
            "queued",
            {
                "generation_id": str(generation.id),
                "position": position,
                "question": question.id,
                "parent": question.parent or None,
                "answer": answer.id,
                "at": len(kept.text),
            },
            Producer.queued(generation.id, position),
            expires_at=keep_log_until(session, self._clock.now()),
            answer=answer.dump(),
            question=question.dump() if session.anonymous and target.question_id is None else "",
            kept=kept,
            leaf=answer.id if session.anonymous and goes_on else "",
        )
        return Position(queued.epoch, queued.offset - 1)

    def require_free(self, session_id: UUID) -> None:
        """Raise GenerationInProgress when the session has a live generation.

        One whose front end has died on its way to the queue does not count: it is retracted.
        """
        with self._database.reading() as db:
            live = db.scalar(select(Generation).where(Generation.session_id == session_id, IS_LIVE))
        if live is None:
            return
        if not is_halfway(live) or live.created_at > self._clock.now() - ADMISSION_TIMEOUT:
            raise GenerationInProgress
        with self._database.reading() as db:
            if db.get(Waiting, live.id) is not None:  # it goes on by itself, and nobody would ask it again
                raise GenerationInProgress
        self.retract(live.id)

    def retract(self, generation_id: UUID) -> None:
        """Retract a generation that no worker has begun, with its question: the session is as it was before."""
        with self._database.reading() as db:
            row = db.get(Generation, generation_id)
        if row is None:
            return
        retracted = {RETRACTS: str(row.id if row.answer_id else row.question_id)} if row.question_id else {}
        failed = Outcome(GenerationState.FAILED, {"problem": GenerationLost().problem(), **retracted})
        # With Redis away its end can't be published; the row, which decides, is free all the same.
        with suppress(RedisUnavailable):
            self._finalizer.finalize_from_outside(generation_id, failed, Generation.state == GenerationState.QUEUED)

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

    def _keep_words(
        self, target: Target, question: Message, standing: "_Standing", session: Session, db: DatabaseSession
    ) -> None:
        """What of an owned session's tree changes with the row."""
        if target.named is not None and not self._transcript.has(target.named, session.id, db):
            raise NoSuchMessage("The message has just been taken back, for it could not be answered.")
        if target.question_id is None:
            self._transcript.keep(question, session.id, db)
        if target.goes_on is not None and standing.newest is not None:
            answer_id = UUID(target.goes_on.id)
            if answer_id != standing.leaf:
                self._sessions.turn_to(session.id, answer_id, standing.newest, db)

    def _question_of(self, target: Target, standing: "_Standing", at: datetime) -> Message:
        """The new question, or the one that is answered again."""
        parent: UUID | str | None
        if target.parent is not CURRENT_LEAF:
            parent = target.parent
        elif standing.anonymous:
            parent = PREVIOUS  # it is looked for when all before it has been published
        else:
            parent = standing.leaf
        return _question(target.question_id or uuid7(), target.text, at, parent)


class _Standing(NamedTuple):
    later: bool
    """Whether the session has a later one, made by a host whose clock is ahead; the log needs the order."""
    others_wait: bool
    """Whether questions wait in the session, which come first."""
    unpublished: bool
    """Whether it may have an end that could not be published when it came."""
    last_turn: datetime | None
    ahead: int
    """These two are what `FairQueue.place` takes."""
    anonymous: bool
    leaf: UUID | None = None
    """With which message an owned session's current branch ends."""
    newest: UUID | None = None
    newest_at: datetime | None = None
    """The newest of its messages."""


def _select_standing(*, anonymous: bool) -> Select[Any]:
    mine = select(Generation.id).where(Generation.session_id == bindparam("session_id"))
    return select(
        exists(mine.where(Generation.id > bindparam("generation_id"))),
        exists(select(Waiting.id).where(Waiting.session_id == bindparam("session_id"))),
        exists(mine.where(Generation.unpublished.is_not(None))),
        *standing(anonymous=anonymous),
        literal(anonymous),
        *(() if anonymous else select_leaf_and_newest(bindparam("session_id", type_=Uuid()))),
    )


_STANDING = {anonymous: _select_standing(anonymous=anonymous) for anonymous in (True, False)}


def _standing(generation_id: UUID, session: Session, now: datetime, db_session: DatabaseSession) -> _Standing:
    """How a generation of the session that comes now stands."""
    ids = {"generation_id": generation_id, "session_id": session.id, "owner_id": session.owner_id}
    # Past the ORM, which adds half of its time: no entity is wanted.
    return _Standing(*db_session.connection().execute(_STANDING[session.anonymous], {**ids, "turn": now}).one())


def _insertion(dialect: Any) -> postgresql.Insert | sqlite.Insert:
    """The statement that inserts a generation, unless its session has a live one, or another has its id."""
    table = Generation.__table__
    new: postgresql.Insert | sqlite.Insert = dialect.insert(table).on_conflict_do_nothing().returning(table.c.id)
    return new


_INSERT = {"sqlite": _insertion(sqlite), "postgresql": _insertion(postgresql)}


def _question(message_id: UUID, text: str, at: datetime, parent: Parent | str) -> Message:
    follows = PREVIOUS if parent is CURRENT_LEAF else str(parent) if parent is not None else None
    return Message(str(message_id), "user", text, None, "complete", rfc3339(at), parent=follows)


def _answer_id(target: Target, generation_id: UUID) -> UUID | None:
    """The message that a generation writes; None where its question comes with it."""
    if target.goes_on is not None:
        return UUID(target.goes_on.id)
    return None if target.question_id is None else generation_id


def is_halfway(generation: Generation) -> bool:
    """Whether it has a row, and no place in the queue yet."""
    return generation.state == GenerationState.QUEUED and generation.turn is None
