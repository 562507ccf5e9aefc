"""GenerationService: accepts what is to be answered, stops the answer, tells what is live.

A generation is a row with one owner at a time and exactly one end. Every transition is a compare-and-set in SQL;
the process that wins it, and no other, publishes it. The rest of core/generation/ writes the answer (writer.py), ends
it (finalizer.py), and looks after generations whose worker is gone (reaper.py).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import Select, Uuid, bindparam, exists, literal, select, update
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
    AnswerWhole,
    GenerationInProgress,
    GenerationLost,
    MessageTooLarge,
    NoSuchMessage,
    NothingToRegenerate,
    NothingToStop,
    SessionExpired,
    SessionInvalid,
    TooManyBranches,
    Unavailable,
)
from core.generation import usage
from core.generation.answer_requests import AnswerRequest, AnswerRequests
from core.generation.attempts import ENQUEUE_TIMEOUT, keep_log_until
from core.generation.events import MOMENT
from core.generation.finalizer import RETRACTS, Finalizer, Outcome
from core.generation.scheduler import MAX_QUEUE_WAIT, FairQueue, Place, standing
from core.generation.waiting import MAX_WAITING, NewQuestion, WaitingQuestions
from core.generation.wishes import CURRENT_LEAF, Ask, GoOn, Parent, Regenerate, Target, Targets, Wish
from core.limits.message_limits import CONCURRENT, NO_OVERRIDES, MessageLimits, Spending, owner_of
from core.limits.status import LimitStatus, RateLimited
from core.llm.client_pool import ClientPool
from core.observability.log_ids import current_request_id
from core.observability.tracing import traceparent
from core.sessions.service import EPHEMERAL, NewSession, SessionService, is_held_as
from core.stores.database import Database
from core.stores.redis import RedisUnavailable
from core.stores.tables import IS_LIVE, LIVE, Generation, GenerationState, Session, User, Waiting
from core.text.characters import storable

ADMISSION_TIMEOUT = timedelta(seconds=3)
"""How long it may take from a generation's id to its row, and from there to its place in the queue, for a front end
that lives: what it asks of its stores on the way has less than a second each."""
MAX_DEFERRAL = timedelta(minutes=1)
"""How long a question goes on waiting because its owner's limits refuse it at its turn. What they refuse for longer
fails."""
WhileBusy = Literal["reject", "queue", "interrupt"]
"""What becomes of a question while an answer is live: it is refused, waits for the end, or stops it."""
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
    waits: bool = False
    """Whether it waits until the answer before it has ended; then `position` is that among those of its session."""
    to_wake: UUID | None = None
    """The generation that a worker is to be woken for: another one, where this one waits."""

    def describe(self) -> dict[str, Any]:
        """As the wire has it."""
        return {
            "session_id": str(self.session_id),
            "generation_id": str(self.generation_id),
            "state": "waiting" if self.waits else GenerationState.QUEUED,
            "position": self.position,
            "events": "/chat/sse",
        }


class AcceptedRequest(NamedTuple):
    """A request that will be answered, and the session that is made for it."""

    accepted: Accepted
    session: Session


class Found(NamedTuple):
    """What is known of a generation."""

    id: UUID
    session_id: UUID
    message_id: UUID
    """The message that it writes."""
    model: str
    """The model that was asked; another may answer."""
    live: bool

    @classmethod
    def of(cls, row: Generation) -> "Found":
        """What its row tells."""
        return cls(row.id, row.session_id, row.answer_id or row.id, row.model, row.state in LIVE)


class _Edited(Exception):
    """The question that waits has other words by now, or waits no more."""


class _Taken(NamedTuple):
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
        requests: AnswerRequests,
        waiting: WaitingQuestions,
        clock: Clock,
    ) -> None:
        self.waiting = waiting
        self._targets = Targets(transcript)
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
        self._requests = requests
        self._clock = clock

    def accept(
        self,
        session: Session,
        message: str,
        generation_id: UUID | None = None,
        *,
        repeated: bool = True,
        parent: Parent = CURRENT_LEAF,
        model: str | None = None,
        while_busy: WhileBusy = "reject",
    ) -> Accepted:
        """Take a message of a validated session: a row, and the event `queued` with the words.

        It follows `parent`, a message of the session. `model` answers it, by default the session's. While an answer
        is live the message waits for its end (`queue`), or ends it (`interrupt`), as `while_busy` says. Idempotent by
        `generation_id`: a second call with the same one takes nothing more. `repeated` is False where it is known to
        be the first. Raises MessageTooLarge, NoSuchMessage, TooManyBranches, UnknownModel, GenerationInProgress,
        TooManyWaiting, RateLimited, SessionInvalid, SessionExpired or Unavailable, or GenerationLost when what the
        first call took will never be answered; then nothing stays. The caller wakes a worker; if it can't, the reaper
        does.
        """
        message = storable(message)
        check_size(message)
        ask = Ask(message, parent)
        if while_busy != "reject":
            return self._accept_or_wait(session, ask, generation_id or uuid7(), repeated, model, while_busy)
        return self._accept(session, ask, generation_id, repeated=repeated, model=model)

    def regenerate(
        self,
        session: Session,
        message_id: UUID | None,
        generation_id: UUID | None = None,
        *,
        repeated: bool = True,
        model: str | None = None,
    ) -> Accepted:
        """Have another answer written beside this one, or to this question; by default the last of the current
        branch.

        As `accept`, which may raise all that this does but NothingToRegenerate.
        """
        return self._accept(session, Regenerate(message_id), generation_id, repeated=repeated, model=model)

    def continue_answer(
        self,
        session: Session,
        message_id: UUID | None,
        generation_id: UUID | None = None,
        *,
        repeated: bool = True,
    ) -> Accepted:
        """Have an answer gone on with that ended with `length`, by default the last of the current branch; by the
        model that has written it, if it is still on offer.

        As `accept`, which may raise all that this does but AnswerWhole.
        """
        return self._accept(session, GoOn(message_id), generation_id, repeated=repeated)

    def answer_request(self, user_id: UUID, model: str, request: AnswerRequest) -> "AcceptedRequest":
        """Take a request that brings its own conversation: its answer is queued, limited, written and counted as any
        other, in a session of the user's that is made for it and that no credential opens.

        Raises UnknownModel, RateLimited, LoginRequired or Unavailable; what is left then expires. The caller wakes a
        worker, and has the session discarded once the answer has been told.
        """
        self._pool.require(model)
        generation_id = uuid7()
        session = NewSession(uuid7(), user_id, None, model, ephemeral=True)
        prompt = usage.prompt(request.turns)
        spending = usage.at_most(self._pool.config(model), prompt, request.sampling.max_tokens)
        limit_statuses = self._admit(session, generation_id, spending)
        try:
            self._requests.keep(session.id, request, self._clock.now() + EPHEMERAL.absolute)
            taken = self._take(generation_id, session, Target("", parent=None), None)
        except Exception:
            self._limits.cancel(session, generation_id)
            with suppress(Unavailable):
                self._requests.forget(session.id)
            raise
        return AcceptedRequest(self._enqueue(taken, limit_statuses), taken.session)

    def _at_most(self, session: Session, text: str, model: str | None) -> Spending:
        """What an answer to this question may come to, by the model or the session's."""
        return usage.at_most(self._pool.config(model or self._sessions.model_of(session)), usage.tokens(text))

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
        self._end_or_ask(session.id, stopped)
        return stopped

    def _end_or_ask(self, session_id: UUID, stopped: UUID) -> None:
        """End a generation that is to stop, if no worker writes it yet; else let its worker know."""
        if not self._finalizer.finalize_from_outside(
            stopped, Outcome(GenerationState.STOPPED), Generation.state == GenerationState.QUEUED
        ):
            self._log.request_stop(session_id, stopped)

    def promote(self, session_id: UUID) -> UUID | None:
        """Have the session's next waiting question answered, if nothing is live; the generation that a worker is to
        be woken for.

        Safe to repeat, also at once: its row is the generation's by id, and the question waits until that is in the
        queue. What the limits refuse for a moment goes on waiting; what they refuse for longer fails, for all to
        see. Raises Unavailable.
        """
        for _ in range(2 * MAX_WAITING):
            found = self.waiting.next(session_id)
            if found is None:
                return None
            try:
                if self._promote(*found):
                    return found[0].id
            except (GenerationInProgress, SessionInvalid, SessionExpired):
                return None  # the end of that one, or of the session, is another's to tell
            except _Edited:
                continue
        return None

    def _promote(self, waiting: Waiting, session: Session) -> bool:
        """Have one question answered; whether a worker is to be woken for it. Raises GenerationInProgress when it
        has to go on waiting."""
        with self._database.reading() as db:
            known = db.get(Generation, waiting.id)
        text = self.waiting.words(session, waiting)
        if known is not None and not _is_halfway(known):
            self.waiting.forget(session, waiting)
            return known.state == GenerationState.QUEUED
        if text is None:  # Redis has lost them: there is nothing left to answer
            if known is not None:
                self.retract(known.id)
            self.waiting.forget(session, waiting, told=False)
            return False
        if known is not None:  # who began to promote it has died
            taken = self._taken_halfway(known, session, self._target_of(waiting, session, text))
        else:
            self._require_free(session.id)
            taken, refused = self._take_waiting(waiting, session, text)
            if refused is not None:
                self._fail(taken, refused)
                self.waiting.forget(session, waiting)
                return False
        with suppress(GenerationLost):  # it has ended meanwhile
            self._enqueue(taken, (), retracts=False)
        self.waiting.forget(session, waiting)
        return True

    def _take_waiting(self, waiting: Waiting, session: Session, text: str) -> "tuple[_Taken, RateLimited | None]":
        """The row of a question that has waited, and why it fails, if its owner's limits refuse it for long."""
        target = self._target_of(waiting, session, text)
        model = self._pool.offered(waiting.model) if waiting.model else None
        refused = None
        try:
            self._admit(session, waiting.id, self._at_most(session, text, model))
        except RateLimited as error:
            seconds = error.retry_after or 1
            if seconds <= MAX_DEFERRAL.total_seconds():
                self.waiting.defer(waiting, self._clock.now() + timedelta(seconds=seconds))
                raise GenerationInProgress from None
            refused = error
        try:
            return self._insert(waiting.id, session, target, model, waiting), refused
        except Exception:
            if refused is None:
                self._limits.cancel(session, waiting.id)
            raise

    def _target_of(self, waiting: Waiting, session: Session, text: str) -> Target:
        """Where it goes: after the end of the current branch, also where what it was to follow is there no more."""
        parent: Parent = CURRENT_LEAF
        if waiting.parent_id is not None:
            parent = None if waiting.parent_id == session.id else waiting.parent_id
        try:
            return self._targets.find(session, Ask(text, parent))
        except (NoSuchMessage, TooManyBranches):
            return self._targets.find(session, Ask(text, CURRENT_LEAF))

    def _fail(self, taken: "_Taken", error: RateLimited) -> None:
        """End a generation that was not admitted at its turn."""
        with suppress(EndedBefore):
            self._announce(taken)
        failed = Outcome(GenerationState.FAILED, {"problem": error.problem()}, error.slug)
        self._finalizer.finalize_from_outside(taken.generation.id, failed, Generation.state == GenerationState.QUEUED)

    def _accept_or_wait(
        self,
        session: Session,
        ask: Ask,
        generation_id: UUID,
        repeated: bool,
        model: str | None,
        while_busy: WhileBusy,
    ) -> Accepted:
        known = self.waiting.find(session, generation_id) if repeated else None
        if known is not None:
            promoted = self.promote(session.id)
            return Accepted(session.id, generation_id, known.position, known.before, (), waits=True, to_wake=promoted)
        try:
            return self._accept(session, ask, generation_id, repeated=repeated, model=model)
        except GenerationInProgress:
            question = NewQuestion(generation_id, ask.text, _parent_id(session, ask.parent), model)
            added = self.waiting.add(session, question, interrupts=while_busy == "interrupt")
        if added is None:  # at the same time, by another call
            return self._accept_or_wait(session, ask, generation_id, True, model, while_busy)
        if added.stopped is not None:
            with suppress(Unavailable):  # the row says so, and whoever looks after it finds it
                self._end_or_ask(session.id, added.stopped)
        promoted = None
        with suppress(Unavailable):
            promoted = self.promote(session.id)
        waits = promoted != generation_id
        return Accepted(session.id, generation_id, added.position, added.before, (), waits=waits, to_wake=promoted)

    def active(self, session_id: UUID) -> dict[str, Any] | None:
        """The session's live generation as the wire has it, or None."""
        with self._database.reading() as db:
            row = db.scalar(select(Generation).where(Generation.session_id == session_id, IS_LIVE))
        if row is None:
            return None
        return {"generation_id": str(row.id), "state": row.state, "model": row.model}

    def find(self, generation_id: UUID) -> Found | None:
        """The generation of this id, whoever's it is."""
        with self._database.reading() as db:
            row = db.get(Generation, generation_id)
        return None if row is None else Found.of(row)

    def latest(self, session_id: UUID) -> Found | None:
        """The session's latest generation, which is live or has ended."""
        of_session = select(Generation).where(Generation.session_id == session_id)
        with self._database.reading() as db:
            row = db.scalar(of_session.order_by(Generation.id.desc()).limit(1))
        return None if row is None else Found.of(row)

    def _accept(
        self, session: Session, wish: Wish, generation_id: UUID | None, *, repeated: bool, model: str | None = None
    ) -> Accepted:
        if generation_id is not None and repeated:
            with self._database.reading() as db:
                known = db.get(Generation, generation_id)
            if known is not None:
                return self._accept_repeat(known, session, wish)
        return self._accept_new(generation_id, session, wish, model)

    def _accept_new(self, generation_id: UUID | None, session: Session, wish: Wish, model: str | None) -> Accepted:
        generation_id = generation_id or uuid7()
        if model is not None:
            self._pool.require(model)
        target = self._find(session, wish)
        if target.goes_on is not None:
            model = self._pool.offered(target.goes_on.model or "")
        limit_statuses = self._admit(session, generation_id, self._at_most(session, target.text, model))
        try:
            taken = self._take(generation_id, session, target, model)
        except Exception:
            self._limits.cancel(session, generation_id)
            raise
        return self._enqueue(taken, limit_statuses)

    def _find(self, session: Session, wish: Wish) -> Target:
        try:
            return self._targets.find(session, wish)
        except (AnswerWhole, NothingToRegenerate, TooManyBranches):
            self._require_free(session.id)  # of the answer that is being written, none of that is known yet
            raise

    def _accept_repeat(self, known: Generation, session: Session, wish: Wish) -> Accepted:
        """The first call with this id has died on its way to the queue, or its caller has not got its answer."""
        if _never_begun(known):
            raise GenerationLost("The message was taken but could not be answered. Please send it again.")
        if not _is_halfway(known):
            return Accepted(session.id, known.id, 0, self._live_start(session.id), limit_statuses=())
        return self._enqueue(self._taken_halfway(known, session, self._targets.find(session, wish)), ())

    def _taken_halfway(self, known: Generation, session: Session, target: Target) -> "_Taken":
        assert known.question_id is not None
        now = self._clock.now()
        kept = None if session.anonymous else self._transcript.message(session, known.question_id)
        question = kept or _question(known.question_id, target.text, now, target.parent)
        with self._database.reading() as db:
            standing = _standing(known.id, session, now, db)
            place = self._queue.place(known.id, now, standing.last_turn, standing.ahead, db)
        return _Taken(known, session, question, target, place, unpublished=True)

    def _enqueue(self, taken: "_Taken", limit_statuses: Sequence[LimitStatus], *, retracts: bool = True) -> Accepted:
        """Announce a generation that has its row, and put it into the queue; if that fails, nothing of it stays,
        unless it is another's to go on with it: `retracts`."""
        generation, session, _, _, place, unpublished = taken
        try:
            if unpublished:
                self._finalizer.publish_pending(session.id)
            before = self._announce(taken)
            waits = self._queue.enqueue(generation.id, place.turn)
        except EndedBefore:
            self._require_living(session)
            raise GenerationLost("The message has been stopped, or came too late to be answered.") from None
        except Exception:
            if retracts:
                self.retract(generation.id)
            self._require_living(session)
            raise
        if not waits:
            self._require_living(session)
        if not session.words_in_redis:
            told = {"title": session.title, "last_active_at": rfc3339(generation.created_at)}
            self._user_events.publish(
                session.owner_id, "answering", session.id, generation_id=str(generation.id), **told
            )
        return Accepted(session.id, generation.id, place.position, before, limit_statuses)

    def _live_start(self, session_id: UUID) -> Position:
        tip = self._log.read(session_id, after=0, limit=1)
        return Position(tip.epoch, tip.top if tip.start is None else tip.start)

    def _admit(self, session: Session | NewSession, generation_id: UUID, spending: Spending) -> Sequence[LimitStatus]:
        """Let the limits take the generation, also when they still count one that has ended.

        A live answer comes before every limit: then there is nothing to wait for but its end.
        """
        overrides = self._overrides(session)
        try:
            return self._limits.admit(session, generation_id, MAX_QUEUE_WAIT, spending, overrides)
        except (GenerationInProgress, RateLimited) as refused:
            self._require_free(session.id)
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
        with self._database.reading() as db:
            if db.get(Waiting, live.id) is not None:  # it goes on by itself, and nobody would ask it again
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

    def _take(
        self, generation_id: UUID, session: Session | NewSession, target: Target, model: str | None
    ) -> "_Taken":
        """The row, and an owned session's words. Raises GenerationInProgress when the session has a live generation,
        unless its front end has died on its way to the queue."""
        try:
            return self._insert(generation_id, session, target, model)
        except GenerationInProgress:
            self._require_free(session.id)
        return self._insert(generation_id, session, target, model)

    def _insert(
        self,
        generation_id: UUID,
        session: Session | NewSession,
        target: Target,
        model: str | None,
        waiting: Waiting | None = None,
    ) -> "_Taken":
        """With `waiting`, of a question that has waited. No other is taken as long as one waits."""
        now = self._clock.now()
        with self._database.writing() as db:
            current = self._sessions.begin_session(session, db)
            if current.owner_id != session.owner_id:
                raise SessionInvalid("This session has just been claimed by a user.")
            standing = _standing(generation_id, current, now, db)
            refused = waiting is None and (standing.later or standing.others_wait)
            if waiting is not None:
                words_id = db.scalar(select(Waiting.words_id).where(Waiting.id == waiting.id))
                if words_id != waiting.words_id:
                    raise _Edited
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
                "request_id": waiting.request_id if waiting else current_request_id(),
                "traceparent": waiting.traceparent if waiting else traceparent(),
            }
            if refused or db.scalar(_INSERT[db.get_bind().dialect.name], row) is None:
                raise GenerationInProgress
            place = self._queue.place(generation_id, now, standing.last_turn, standing.ahead, db)
            if not current.words_in_redis:
                self._keep_words(target, question, standing, current, db)
            current = self._sessions.note_message(current, question.text, db)
        return _Taken(Generation(**row), current, question, target, place, standing.unpublished)

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

    def _announce(self, taken: "_Taken") -> Position:
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
    return _Standing(*db_session.execute(_STANDING[session.anonymous], {**ids, "turn": now}).one())


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


def _parent_id(session: Session, parent: Parent) -> UUID | None:
    """As the row of a question that waits has it: None is the current branch, the session's id the beginning."""
    if parent is CURRENT_LEAF:
        return None
    return session.id if parent is None else parent


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
