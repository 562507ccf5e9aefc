"""The one end of a generation: the process that wins the row's last transition, and no other, publishes it.

The row, an owned session's answer and the terminal event's data, an outbox in the row, are one transaction; then the
budget is settled and the event published. What fails then, because Redis is away, stays in the outbox until the
reaper has done it.

The answer is rendered here, before the transaction, where a caller says `rendered`: workers do. The front end does
not, for that would hold up all its readers' events; what it ends itself is shown as plain text.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, exists, func, select, update
from sqlalchemy.orm import Session as DatabaseSession

from core.clock import Clock
from core.conversation.event_log import Fenced
from core.conversation.message import Message, MessageState
from core.conversation.transcript import Transcript
from core.conversation.user_events import UserEvents
from core.errors import Unavailable
from core.generation.answer_log import log_answer
from core.generation.attempts import Attempt, Attempts, LeaseLost, lock_session, matched
from core.generation.events import GenerationEvents
from core.limits.message_limits import MessageLimits, Spending
from core.llm.client_pool import ClientPool
from core.llm.providers.base import Usage
from core.sessions.service import SessionService
from core.stores.combiner import Combiner
from core.stores.database import Database
from core.stores.tables import IS_LIVE, Generation, GenerationState, Waiting

logger = logging.getLogger(__name__)

MESSAGE_STATES: dict[GenerationState, MessageState] = {
    GenerationState.DONE: "complete",
    GenerationState.STOPPED: "stopped",
    GenerationState.FAILED: "failed",
}


DEFAULT_REASONS: dict[GenerationState, str] = {
    GenerationState.DONE: "stop",
    GenerationState.STOPPED: "stopped",
    GenerationState.FAILED: "error",
}
"""Why an answer ended, by its state, where its end does not say more."""

RETRACTS = "retracts"
"""In the data of an end: the id of the question that goes with it, for its sender has been told that it was refused.
Then there is no answer either, and both are kept nowhere. Where the question had been there before, it is the
generation's own id, and nothing goes."""


@dataclass(frozen=True)
class Outcome:
    """How a generation ends."""

    state: GenerationState
    data: Mapping[str, Any] = field(default_factory=dict)
    """Of the terminal event."""
    finish_reason: str | None = None
    """Of the generation's row, for operators."""


_EMPTY = (
    update(Generation)
    .where(Generation.id.in_(bindparam("ids", expanding=True)))
    .values(
        unpublished=None,
        settled_tokens=func.coalesce(Generation.prompt_tokens, 0) + func.coalesce(Generation.completion_tokens, 0),
    )
    .returning(Generation.id, exists().where(Waiting.session_id == Generation.session_id))
    .execution_options(synchronize_session=False)
)


class Finalizer:
    """Ends generations."""

    def __init__(
        self,
        database: Database,
        sessions: SessionService,
        attempts: Attempts,
        events: GenerationEvents,
        transcript: Transcript,
        limits: MessageLimits,
        models: ClientPool,
        user_events: UserEvents,
        clock: Clock,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._attempts = attempts
        self._events = events
        self._transcript = transcript
        self._limits = limits
        self._models = models
        self._user_events = user_events
        self._clock = clock
        self._emptied = Combiner(self._empty)

    def finalize(self, attempt: Attempt, outcome: Outcome, *, rendered: bool = True) -> bool:
        """End the generation if this attempt still owns it; whether it did."""
        return self._finalize(
            attempt,
            outcome,
            Generation.state == GenerationState.RUNNING,
            Generation.attempt == attempt.number,
            rendered=rendered,
        )

    def finalize_from_outside(
        self, generation_id: UUID, outcome: Outcome, *conditions: ColumnElement[bool], rendered: bool = False
    ) -> bool:
        """End a live generation whose worker is gone, or that never had one; whether this call did.

        If it had a worker, it is taken over first, as another worker would: from then on the log refuses what the
        lost one may still send, and the answer has all that it has appended.
        """
        with self._database.reading() as db:
            row = db.get(Generation, generation_id)
            if row is None:
                return False
            attempt = self._attempts.from_row(row, db)
        if row.attempt == 0:
            self._events.read_kept(attempt)
            return self._finalize(attempt, outcome, IS_LIVE, Generation.attempt == 0, *conditions, rendered=rendered)
        seized = self._attempts.seize(attempt, *conditions)
        if seized is None:
            return False
        try:
            self._events.take_over(seized)
        except (Fenced, LeaseLost):
            return False
        return self.finalize(seized, outcome, rendered=rendered)

    def publish(self, generation_id: UUID, *, rendered: bool = False) -> None:
        """Publish an end that could not be published when it came. Idempotent: the log takes it once."""
        with self._database.reading() as db:
            row = db.get(Generation, generation_id)
            if row is None or row.unpublished is None:
                return
            attempt = self._attempts.from_row(row, db)
        self._events.read_draft(attempt)
        spent = Spending(Usage(row.prompt_tokens or 0, row.completion_tokens or 0).total, row.cost or 0)
        state = GenerationState(row.state)
        answer = self._answer(attempt, state, row.unpublished, rendered=rendered and attempt.words_in_redis)
        self._publish(attempt, state, row.unpublished, answer, spent)

    def publish_pending(self, session_id: UUID) -> Sequence[UUID]:
        """Publish all such ends of a session, before its next answer begins or it is claimed. Raises Unavailable.

        One that can't be published, such as a row that can't be decoded, holds up neither; the reaper's quarantine
        tells of it. Returns those that can't be.
        """
        with self._database.reading() as db:
            unpublished = select(Generation.id).where(
                Generation.session_id == session_id, Generation.unpublished.is_not(None)
            )
            ids = db.scalars(unpublished).all()
        unpublishable = []
        for generation_id in ids:
            try:
                self.publish(generation_id)
            except Unavailable:
                raise
            except Exception:
                about = {"generation_id": str(generation_id)}
                logger.exception("an end could not be published before the next answer or a claim", extra=about)
                unpublishable.append(generation_id)
        return unpublishable

    def _finalize(self, attempt: Attempt, outcome: Outcome, *conditions: ColumnElement[bool], rendered: bool) -> bool:
        length = max(attempt.draft.length, attempt.kept.length)
        data = {"finish_reason": DEFAULT_REASONS[outcome.state], **outcome.data, "length": length}
        answer = self._answer(attempt, outcome.state, data, rendered=rendered)
        usage = attempt.usage
        price = self._models.price(data.get("model") or attempt.handovers.current)
        cost = price.cost(usage.prompt_tokens, usage.completion_tokens)
        with self._database.writing() as db:
            if not attempt.words_in_redis:
                lock_session(db, attempt.session_id)
            ended = matched(
                db,
                attempt.generation_id,
                *conditions,
                state=outcome.state,
                attempt=attempt.number,
                finished_at=self._clock.now(),
                finish_reason=outcome.finish_reason and outcome.finish_reason[:64],
                unpublished=data,
                uncounted=None if RETRACTS in data else True,
                answered_by=data.get("model"),
                cost=cost,
                first_token_at=attempt.draft.begun_at,
                **usage._asdict(),
            )
            if not ended:
                return False
            if not attempt.words_in_redis and _is_kept(attempt, outcome.state, data):
                self._transcript.keep(answer, attempt.session_id, db, in_place=attempt.goes_on)
        if RETRACTS not in data:
            log_answer(attempt, outcome.state, data, self._clock.now())
        self._publish(attempt, outcome.state, data, answer, Spending(usage.total, cost))
        return True

    def _answer(
        self, attempt: Attempt, state: GenerationState, data: Mapping[str, Any], *, rendered: bool
    ) -> Message:
        if attempt.goes_on and state is not GenerationState.DONE:
            # It is still what it was: an answer that has been cut off, which can be gone on with.
            state, data = GenerationState.DONE, {"finish_reason": "length"}
        answer = replace(
            self._events.message(attempt, MESSAGE_STATES[state], data.get("model")),
            finish_reason=data.get("finish_reason") or DEFAULT_REASONS[state],
            problem=data.get("problem"),
            fallback=data.get("fallback"),
        )
        if attempt.ephemeral or not (rendered and attempt.draft.length):
            return answer
        from core.conversation.markdown import render  # the front end, which renders nothing, needs no parser

        return replace(answer, html=render(attempt.draft.text))

    def _publish(
        self, attempt: Attempt, state: GenerationState, data: Mapping[str, Any], answer: Message, spent: Spending
    ) -> None:
        """Give the owner's lease back, charge the budgets what was spent, append the terminal event, named after the
        state, and empty the outbox. What fails leaves the outbox as it is: then all of it is repeated."""
        # Before the event: a reader of it may send the next message at once.
        settled = self._settle(attempt, spent)
        with suppress(Fenced, LeaseLost):  # the session has gone on without it, or is gone
            kept = _is_kept(attempt, state, data)
            self._events.append_end(attempt, state, data, answer, kept=kept, retracts=data.get(RETRACTS))
            if not attempt.words_in_redis:
                ended = {"generation_id": str(attempt.generation_id), "state": str(state)}
                self._user_events.publish(attempt.owner, "answered", attempt.session_id, **ended)
        if not settled:
            return
        if RETRACTS in data:
            with self._database.writing() as db:
                self._retract(UUID(data[RETRACTS]), attempt.session_id, db)
        if self._emptied.call(attempt.generation_id):
            attempt.followed.set()

    def _empty(self, generation_ids: Sequence[UUID]) -> Sequence[bool]:
        """All of these ends are published: their outboxes have nothing more. For each, whether questions wait in its
        session."""
        with self._database.writing_once() as db:
            emptied = db.connection().execute(_EMPTY, {"ids": generation_ids}).all()
        followed = {row.id for row in emptied if row[1]}
        return [each in followed for each in generation_ids]

    def _retract(self, question_id: UUID, session_id: UUID, db_session: DatabaseSession) -> None:
        if self._transcript.retract(question_id, session_id, db_session):
            self._sessions.untitle_session(session_id, db_session)

    def _settle(self, attempt: Attempt, spent: Spending) -> bool:
        """Give the owner's lease back and charge the budgets; whether both could be done."""
        try:
            self._limits.settle(attempt.owner, attempt.anonymous, attempt.generation_id, spent)
        except Unavailable:
            return False
        return True


def _is_kept(attempt: Attempt, state: GenerationState, data: Mapping[str, Any]) -> bool:
    """Whether the answer is kept as it is now: not if it goes with its question, nor where an answer that had ended
    was not gone on with, for that is kept as it was."""
    if RETRACTS in data:
        return False
    return not attempt.goes_on or attempt.has_words or state is GenerationState.DONE
