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

from core.answers.answer_log import AnswerLog
from core.answers.attempt import Attempt, Attempts, Lost, matched
from core.clock import Clock
from core.database import Database
from core.errors import Unavailable
from core.event_log import Fenced
from core.limits.message_limits import MessageLimits
from core.message import Message, MessageState
from core.models import IS_LIVE, Generation, GenerationState
from core.providers import Usage
from core.transcript import Transcript

KEPT_AS: dict[GenerationState, MessageState] = {
    GenerationState.DONE: "complete",
    GenerationState.STOPPED: "stopped",
    GenerationState.FAILED: "failed",
}


@dataclass(frozen=True)
class End:
    """How a generation ends."""

    state: GenerationState
    data: Mapping[str, Any] = field(default_factory=dict)
    """Of the terminal event."""
    finish_reason: str | None = None


class Endings:
    """Ends generations."""

    def __init__(
        self,
        database: Database,
        attempts: Attempts,
        answers: AnswerLog,
        transcript: Transcript,
        limits: MessageLimits,
        clock: Clock,
    ) -> None:
        self._database = database
        self._attempts = attempts
        self._answers = answers
        self._transcript = transcript
        self._limits = limits
        self._clock = clock

    def end(self, attempt: Attempt, end: End) -> bool:
        """End the generation if this attempt still owns it; whether it did."""
        return self._end(
            attempt,
            end,
            Generation.state == GenerationState.RUNNING,
            Generation.attempt == attempt.number,
            rendered=True,
        )

    def end_from_outside(
        self, generation_id: UUID, end: End, *conditions: ColumnElement[bool], rendered: bool = False
    ) -> bool:
        """End a live generation whose worker is gone, or that never had one; whether this call did.

        The attempt's number grows, so that the log refuses what a lost worker may still send.
        """
        with self._database.reading() as db:
            row = db.get(Generation, generation_id)
            if row is None:
                return False
            attempt = self._attempts.of(row, db)
        if row.attempt:
            attempt.text = self._transcript.written(attempt.session_id, generation_id)
        attempt.number += 1
        return self._end(attempt, end, IS_LIVE, Generation.attempt == row.attempt, *conditions, rendered=rendered)

    def tell(self, generation_id: UUID, *, rendered: bool = False) -> None:
        """Tell of an end that could not be told when it came. Safe to repeat: the log takes it once."""
        with self._database.reading() as db:
            row = db.get(Generation, generation_id)
            if row is None or row.untold is None:
                return
            attempt = self._attempts.of(row, db)
        attempt.text = self._transcript.written(attempt.session_id, generation_id)
        attempt.reported = Usage(row.prompt_tokens or 0, row.completion_tokens or 0)
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
        told = {**end.data, "length": len(attempt.text)}
        answer = self._answer(attempt, end.state, told, rendered=rendered)
        with self._database.writing() as db:
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
            if not attempt.anonymous:
                self._transcript.keep(answer, attempt.session_id, db)
        # Before the event: who sees it may send the next message at once.
        self._limits.release(attempt.owner, attempt.generation_id)
        self._tell(attempt, end.state, told, answer)
        return True

    def _answer(
        self, attempt: Attempt, state: GenerationState, told: Mapping[str, Any], *, rendered: bool
    ) -> Message:
        answer = self._answers.message(attempt, KEPT_AS[state], told.get("model"))
        if not (rendered and attempt.text):
            return answer
        from core.markdown import render  # the front end, which renders nothing, needs no parser

        return replace(answer, html=render(attempt.text))

    def _tell(self, attempt: Attempt, state: GenerationState, data: Mapping[str, Any], answer: Message) -> None:
        """Settle the budget, write the terminal event, named after the state, and note that all is done."""
        settled = self._settle(attempt)
        with suppress(Fenced, Lost):  # the session has gone on without it, or is gone: nobody is left to tell
            self._answers.append_end(attempt, state, data, answer)
        if settled is not None:
            done = update(Generation).where(Generation.id == attempt.generation_id)
            with self._database.writing() as db:
                db.execute(done.values(untold=None, settled_tokens=settled))

    def _settle(self, attempt: Attempt) -> int | None:
        """The tokens that the owner's budget is charged, or None when it can't be now."""
        tokens = sum(attempt.usage)
        try:
            self._limits.settle(attempt.owner, attempt.anonymous, attempt.generation_id, tokens)
        except Unavailable:
            return None
        return tokens
