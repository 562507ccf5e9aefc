"""The one end of a generation: whoever wins the row's last transition, and nobody else, tells of it.

The row, an owned session's words and what is to be told are one transaction; then the event. What could not be
told, because Redis was away, stays in the row until the reaper has told it.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, update

from core.attempt import Attempt, Attempts, matched
from core.clock import Clock, rfc3339
from core.database import Database
from core.event_log import EventLog, Fenced, Producer
from core.message_limits import MessageLimits
from core.models import LIVE, Generation, GenerationState
from core.transcript import Message, MessageState, Transcript

LAST = 2**31
"""The sequence number of every terminal event, so that the log takes one."""
KEPT_AS: dict[GenerationState, MessageState] = {
    GenerationState.DONE: "complete",
    GenerationState.STOPPED: "stopped",
    GenerationState.FAILED: "failed",
}


class Endings:
    """Ends generations."""

    def __init__(
        self,
        database: Database,
        attempts: Attempts,
        log: EventLog,
        transcript: Transcript,
        limits: MessageLimits,
        clock: Clock,
    ) -> None:
        self._database = database
        self._attempts = attempts
        self._log = log
        self._transcript = transcript
        self._limits = limits
        self._clock = clock

    def end(self, attempt: Attempt, state: GenerationState, data: Mapping[str, Any], **values: Any) -> bool:
        """End the generation if this attempt still owns it; whether it did."""
        owns = (Generation.state == GenerationState.RUNNING, Generation.attempt == attempt.number)
        return self._end(attempt, state, data, owns, values)

    def end_from_outside(
        self, generation_id: UUID, state: GenerationState, data: Mapping[str, Any], *conditions: ColumnElement[bool]
    ) -> bool:
        """End a live generation whose worker is gone, or that never had one; whether this call did.

        The attempt's number grows, so that the log refuses what a lost worker may still send.
        """
        with self._database.reading() as db:
            row = db.get(Generation, generation_id)
            if row is None:
                return False
            attempt = self._attempts.of(row, db)
        attempt.text = self._transcript.partial(attempt.session_id, generation_id)
        attempt.number += 1
        live = (Generation.state.in_(LIVE), Generation.attempt == row.attempt, *conditions)
        return self._end(attempt, state, data, live, {"attempt": attempt.number})

    def tell(self, generation_id: UUID) -> None:
        """Tell of an end that could not be told when it came. Safe to repeat: the log takes it once."""
        with self._database.reading() as db:
            row = db.get(Generation, generation_id)
            if row is None or row.untold is None:
                return
            attempt = self._attempts.of(row, db)
        attempt.text = self._transcript.partial(attempt.session_id, generation_id)
        state = GenerationState(row.state)
        self._tell(attempt, state, row.untold, self._answer(attempt, state, row.untold))

    def _end(
        self,
        attempt: Attempt,
        state: GenerationState,
        data: Mapping[str, Any],
        conditions: tuple[ColumnElement[bool], ...],
        values: Mapping[str, Any],
    ) -> bool:
        told = {**data, "length": len(attempt.text)}
        answer = self._answer(attempt, state, told)
        now = self._clock.now()
        with self._database.writing() as db:
            ended = {"state": state, "finished_at": now, "untold": told, **values}
            if not matched(db, attempt.generation_id, *conditions, **ended):
                return False
            if not attempt.anonymous:
                self._transcript.keep(answer, attempt.session_id, db)
        # Before the event: who sees it may send the next message at once.
        self._limits.release(attempt.owner, attempt.generation_id)
        self._tell(attempt, state, told, answer)
        return True

    def _answer(self, attempt: Attempt, state: GenerationState, told: Mapping[str, Any]) -> Message:
        model = str(told.get("model", attempt.model))
        now = rfc3339(self._clock.now())
        return Message(str(attempt.generation_id), "assistant", attempt.text, model, KEPT_AS[state], now)

    def _tell(self, attempt: Attempt, state: GenerationState, data: Mapping[str, Any], answer: Message) -> None:
        """Write the terminal event, named after the state, and note that it has been told."""
        with suppress(Fenced):  # the log is lost, or its session: nobody is left to tell
            self._log.append(
                attempt.session_id,
                state,
                {"generation_id": str(attempt.generation_id), **data},
                expires_at=attempt.keep_until,
                producer=Producer(attempt.generation_id, attempt.number, LAST),
                role="end",
                word=answer.dump() if attempt.anonymous else "",
            )
        with self._database.writing() as db:
            db.execute(update(Generation).where(Generation.id == attempt.generation_id).values(untold=None))
