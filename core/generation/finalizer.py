"""The one end of a generation: whoever wins the row's last transition, and nobody else, tells of it.

The row, an owned session's words and what is to be told are one transaction; then the budget's settlement and the
event. What could not be done, because Redis was away, stays in the row until the reaper has done it.

The answer is rendered here, before the transaction, where a caller says `rendered`: workers do. The front end does
not, for that would hold up everybody's events; what it ends itself is shown as plain text.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session as DatabaseSession

from core.clock import Clock
from core.conversation.event_log import Fenced
from core.conversation.message import Message, MessageState
from core.conversation.transcript import Transcript
from core.errors import Unavailable
from core.generation.attempts import Attempt, Attempts, Lost, lock_session, matched
from core.generation.events import AnswerLog
from core.limits.message_limits import MessageLimits
from core.llm.providers.base import Usage
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.tables import IS_LIVE, Generation, GenerationState

KEPT_AS: dict[GenerationState, MessageState] = {
    GenerationState.DONE: "complete",
    GenerationState.STOPPED: "stopped",
    GenerationState.FAILED: "failed",
}


UNLESS_TOLD: dict[GenerationState, str] = {
    GenerationState.DONE: "stop",
    GenerationState.STOPPED: "stopped",
    GenerationState.FAILED: "error",
}
"""Why an answer ended, by its state, where its end does not say more."""

RETRACTS = "retracts"
"""In the data of an end: the id of the question that goes with it, for its sender has been told that it was refused.
Then there is no answer either, and both are kept nowhere."""


@dataclass(frozen=True)
class End:
    """How a generation ends."""

    state: GenerationState
    data: Mapping[str, Any] = field(default_factory=dict)
    """Of the terminal event."""
    finish_reason: str | None = None
    """Of the generation's row, for operators."""


class Endings:
    """Ends generations."""

    def __init__(
        self,
        database: Database,
        sessions: SessionService,
        attempts: Attempts,
        answers: AnswerLog,
        transcript: Transcript,
        limits: MessageLimits,
        clock: Clock,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._attempts = attempts
        self._answers = answers
        self._transcript = transcript
        self._limits = limits
        self._clock = clock

    def end(self, attempt: Attempt, end: End, *, rendered: bool = True) -> bool:
        """End the generation if this attempt still owns it; whether it did."""
        return self._end(
            attempt,
            end,
            Generation.state == GenerationState.RUNNING,
            Generation.attempt == attempt.number,
            rendered=rendered,
        )

    def end_from_outside(
        self, generation_id: UUID, end: End, *conditions: ColumnElement[bool], rendered: bool = False
    ) -> bool:
        """End a live generation whose worker is gone, or that never had one; whether this call did.

        If it had a worker, it is taken over first, as another worker would: from then on the log refuses what the
        lost one may still send, and the end has all that it has told.
        """
        with self._database.reading() as db:
            row = db.get(Generation, generation_id)
            if row is None:
                return False
            attempt = self._attempts.of(row, db)
        if row.attempt == 0:
            attempt.number = 1
            return self._end(attempt, end, IS_LIVE, Generation.attempt == 0, *conditions, rendered=rendered)
        if not self._attempts.seize(attempt, *conditions):
            return False
        try:
            self._answers.take_over(attempt)
        except (Fenced, Lost):
            return False
        return self.end(attempt, end, rendered=rendered)

    def tell(self, generation_id: UUID, *, rendered: bool = False) -> None:
        """Tell of an end that could not be told when it came. Safe to repeat: the log takes it once."""
        with self._database.reading() as db:
            row = db.get(Generation, generation_id)
            if row is None or row.untold is None:
                return
            attempt = self._attempts.of(row, db)
        attempt.go_on_from(self._transcript.written(attempt.session_id, generation_id))
        attempt.reported = Usage(row.prompt_tokens or 0, row.completion_tokens or 0, row.reasoning_tokens or 0)
        state = GenerationState(row.state)
        answer = self._answer(attempt, state, row.untold, rendered=rendered and attempt.anonymous)
        self._tell(attempt, state, row.untold, answer)

    def tell_all(self, session_id: UUID) -> None:
        """Tell of all such ends of a session, before its next answer begins."""
        with self._database.reading() as db:
            untold = select(Generation.id).where(Generation.session_id == session_id, Generation.untold.is_not(None))
            ids = db.scalars(untold).all()
        for generation_id in ids:
            self.tell(generation_id)

    def _end(self, attempt: Attempt, end: End, *conditions: ColumnElement[bool], rendered: bool) -> bool:
        told = {"finish_reason": UNLESS_TOLD[end.state], **end.data, "length": len(attempt.text)}
        answer = self._answer(attempt, end.state, told, rendered=rendered)
        with self._database.writing() as db:
            if not attempt.anonymous:
                lock_session(db, attempt.session_id)
            ended = matched(
                db,
                attempt.generation_id,
                *conditions,
                state=end.state,
                attempt=attempt.number,
                finished_at=self._clock.now(),
                finish_reason=end.finish_reason and end.finish_reason[:64],
                untold=told,
                **attempt.usage._asdict(),
            )
            if not ended:
                return False
            if not attempt.anonymous and RETRACTS not in told:
                self._transcript.keep(answer, attempt.session_id, db)
        self._tell(attempt, end.state, told, answer)
        return True

    def _answer(
        self, attempt: Attempt, state: GenerationState, told: Mapping[str, Any], *, rendered: bool
    ) -> Message:
        answer = replace(
            self._answers.message(attempt, KEPT_AS[state], told.get("model")),
            finish_reason=told.get("finish_reason") or UNLESS_TOLD[state],
            problem=told.get("problem"),
        )
        if not (rendered and attempt.text):
            return answer
        from core.conversation.markdown import render  # the front end, which renders nothing, needs no parser

        return replace(answer, html=render(attempt.text))

    def _tell(self, attempt: Attempt, state: GenerationState, data: Mapping[str, Any], answer: Message) -> None:
        """Give the owner's lease back, settle the budget, write the terminal event, named after the state, and note
        that all is done. What fails leaves the note out: then all of it is repeated."""
        # Before the event: who sees it may send the next message at once.
        settled = self._settle(attempt)
        with suppress(Fenced, Lost):  # the session has gone on without it, or is gone: nobody is left to tell
            self._answers.append_end(attempt, state, data, answer, retracts=data.get(RETRACTS))
        if settled is not None:
            done = update(Generation).where(Generation.id == attempt.generation_id)
            with self._database.writing() as db:
                if RETRACTS in data:
                    self._take_back(UUID(data[RETRACTS]), attempt.session_id, db)
                db.execute(done.values(untold=None, settled_tokens=settled))

    def _take_back(self, question_id: UUID, session_id: UUID, db_session: DatabaseSession) -> None:
        if self._transcript.take_back(question_id, session_id, db_session):
            self._sessions.untitle_session(session_id, db_session)

    def _settle(self, attempt: Attempt) -> int | None:
        """The tokens that the owner's budget is charged, or None when it can't be now, or the lease not be given
        back."""
        tokens = attempt.usage.total
        try:
            self._limits.release_lease(attempt.owner, attempt.generation_id)
            self._limits.settle(attempt.owner, attempt.anonymous, attempt.generation_id, tokens)
        except Unavailable:
            return None
        return tokens
