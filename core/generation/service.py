"""GenerationService: accepts what is to be answered, stops the answer, tells what is live.

A generation is a row with one owner at a time and exactly one end. Every transition is a compare-and-set in SQL;
the process that wins it, and no other, publishes it. The rest of core/generation/ gives it a row and a place in
the queue (admission.py), has questions wait for another answer's end (waiting.py, promotion.py), writes the answer
(writer.py), ends it (finalizer.py), and looks after generations whose worker is gone (reaper.py).
"""

from contextlib import suppress
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import exists, select, update
from uuid_utils.compat import uuid7

from core.clock import Clock
from core.conversation.event_log import EventLog
from core.conversation.position import Position
from core.errors import (
    AnswerWhole,
    ContextLengthExceeded,
    GenerationInProgress,
    GenerationLost,
    MessageTooLarge,
    NothingToRegenerate,
    NothingToStop,
    TooManyBranches,
    Unavailable,
)
from core.generation import usage
from core.generation.accepted import Accepted
from core.generation.admission import Admission, is_halfway
from core.generation.answer_requests import AnswerRequest, AnswerRequests
from core.generation.promotion import Promotion
from core.generation.request_prompt import tokens_too_many
from core.generation.token_size import TokenSizes
from core.generation.waiting import NewQuestion, WaitingQuestions
from core.generation.wishes import (
    CURRENT_LEAF,
    NO_TERMS,
    Ask,
    GoOn,
    Parent,
    Regenerate,
    Target,
    Targets,
    Terms,
    Wish,
)
from core.limits.message_limits import MessageLimits
from core.llm.client_pool import ClientPool
from core.sessions.service import EPHEMERAL, NewSession, is_held_as
from core.stores.database import Database
from core.stores.tables import IS_LIVE, LIVE, Generation, GenerationState, Session
from core.text.characters import storable

WhileBusy = Literal["reject", "queue", "interrupt"]
"""What becomes of a question while an answer is live: it is refused, waits for the end, or stops it."""
MAX_MESSAGE_BYTES = 32 * 1024
"""Bytes of UTF-8 in one message."""


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


class GenerationService:
    """Answers, as the front end sees them."""

    def __init__(
        self,
        database: Database,
        admission: Admission,
        promotion: Promotion,
        waiting: WaitingQuestions,
        targets: Targets,
        log: EventLog,
        limits: MessageLimits,
        pool: ClientPool,
        requests: AnswerRequests,
        token_sizes: TokenSizes,
        clock: Clock,
    ) -> None:
        self._waiting = waiting
        self._database = database
        self._admission = admission
        self._promotion = promotion
        self._targets = targets
        self._log = log
        self._limits = limits
        self._pool = pool
        self._requests = requests
        self._token_sizes = token_sizes
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
        terms: Terms = NO_TERMS,
    ) -> Accepted:
        """Take a message of a validated session: a row, and the event `queued` with the words.

        It follows `parent`, a message of the session. `model` answers it, by default the session's. While an answer
        is live the message waits for its end (`queue`), or ends it (`interrupt`), as `while_busy` says; then without
        any `terms`. Idempotent by
        `generation_id`: a second call with the same one takes nothing more. `repeated` is False where it is known to
        be the first. Raises MessageTooLarge, NoSuchMessage, TooManyBranches, UnknownModel, GenerationInProgress,
        TooManyWaiting, RateLimited, SessionInvalid, SessionExpired or Unavailable, or GenerationLost when what the
        first call took will never be answered; then nothing stays. The caller wakes a worker; if it can't, the reaper
        does.
        """
        message = storable(message)
        check_size(message)
        ask = Ask(message, parent, terms)
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

        Raises UnknownModel, ContextLengthExceeded, RateLimited, LoginRequired or Unavailable; what is left then
        expires. The caller wakes a worker, and has the session discarded once the answer has been told.
        """
        self._pool.require(model)
        self._require_context(model, request)
        generation_id = uuid7()
        session = NewSession(uuid7(), user_id, None, model, ephemeral=True)
        prompt = usage.prompt(request.turns)
        spending = usage.at_most(self._pool.config(model), prompt, request.sampling.max_tokens)
        limit_statuses = self._admission.admit(session, generation_id, spending)
        try:
            self._requests.keep(session.id, request, self._clock.now() + EPHEMERAL.absolute)
            taken = self._admission.take(generation_id, session, Target("", parent=None), None)
        except Exception:
            self._limits.cancel(session, generation_id)
            with suppress(Unavailable):
                self._requests.forget(session.id)
            raise
        return AcceptedRequest(self._admission.enqueue(taken, limit_statuses), taken.session)

    def _require_context(self, model: str, request: AnswerRequest) -> None:
        config = self._pool.config(model)
        size = self._token_sizes.for_model(model)
        tokens = tokens_too_many(config, self._pool.system_prompt, request.turns, size)
        if tokens is not None:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {config.context_tokens} tokens; the messages have about"
                f" {tokens}. Leave some of them out.",
                field="messages",
            )

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
        if not self._admission.stop_queued(stopped):
            self._log.request_stop(session_id, stopped)

    def _accept_or_wait(
        self,
        session: Session,
        ask: Ask,
        generation_id: UUID,
        repeated: bool,
        model: str | None,
        while_busy: WhileBusy,
    ) -> Accepted:
        known = self._waiting.find(session, generation_id) if repeated else None
        if known is not None:
            promoted = self._promotion.promote(session.id)
            return Accepted(session.id, generation_id, known.position, known.before, (), waits=True, to_wake=promoted)
        try:
            return self._accept(session, ask, generation_id, repeated=repeated, model=model)
        except GenerationInProgress:
            question = NewQuestion(generation_id, ask.text, _parent_id(session, ask.parent), model)
            added = self._waiting.add(session, question, interrupts=while_busy == "interrupt")
        if added is None:  # at the same time, by another call
            return self._accept_or_wait(session, ask, generation_id, True, model, while_busy)
        if added.stopped is not None:
            with suppress(Unavailable):  # the row says so, and whoever looks after it finds it
                self._end_or_ask(session.id, added.stopped)
        promoted = None
        with suppress(Unavailable):
            promoted = self._promotion.promote(session.id)
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
        spending = self._admission.at_most(session, target.text, model, target.terms.max_tokens)
        limit_statuses = self._admission.admit(session, generation_id, spending)
        try:
            taken = self._admission.take(generation_id, session, target, model)
        except Exception:
            self._limits.cancel(session, generation_id)
            raise
        return self._admission.enqueue(taken, limit_statuses)

    def _find(self, session: Session, wish: Wish) -> Target:
        try:
            return self._targets.find(session, wish)
        except (AnswerWhole, NothingToRegenerate, TooManyBranches):
            self._admission.require_free(session.id)  # of the answer that is being written, none of that is known yet
            raise

    def _accept_repeat(self, known: Generation, session: Session, wish: Wish) -> Accepted:
        """The first call with this id has died on its way to the queue, or its caller has not got its answer."""
        if _never_begun(known):
            raise GenerationLost("The message was taken but could not be answered. Please send it again.")
        if not is_halfway(known):
            return Accepted(session.id, known.id, 0, self._live_start(session.id), limit_statuses=())
        taken = self._admission.taken_halfway(known, session, self._targets.find(session, wish))
        return self._admission.enqueue(taken, ())

    def _live_start(self, session_id: UUID) -> Position:
        tip = self._log.read(session_id, after=0, limit=1)
        return Position(tip.epoch, tip.top if tip.start is None else tip.start)


def _parent_id(session: Session, parent: Parent) -> UUID | None:
    """As the row of a question that waits has it: None is the current branch, the session's id the beginning."""
    if parent is CURRENT_LEAF:
        return None
    return session.id if parent is None else parent


def _never_begun(generation: Generation) -> bool:
    return generation.state == GenerationState.FAILED and generation.started_at is None


def check_size(message: str, field: str = "message") -> None:
    """Raise MessageTooLarge when a message is longer than is taken. `field`: where in the body it came."""
    size = len(message.encode())
    if size > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(f"The message has {size} bytes; at most {MAX_MESSAGE_BYTES} are taken.", field=field)
