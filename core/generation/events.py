"""Writes an answer's events into its session's log, and begins the log anew when Redis has lost it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.clock import Clock, rfc3339
from core.conversation.event_log import EventLog, LogLost
from core.conversation.message import Message, MessageState
from core.conversation.partial_answer import EMPTY, NOTHING, Delta, PartialAnswer, Size
from core.conversation.position import Producer
from core.conversation.transcript import Transcript
from core.generation.attempts import Attempt, Attempts, LeaseLost, change, lock_session
from core.stores.database import Database
from core.stores.tables import GenerationState, Session


class GenerationEvents:
    """The events of attempts. All methods raise Fenced when a newer attempt writes, and LeaseLost when the session or
    the row is no longer the attempt's."""

    def __init__(
        self, database: Database, attempts: Attempts, log: EventLog, transcript: Transcript, clock: Clock
    ) -> None:
        self._database = database
        self._attempts = attempts
        self._log = log
        self._transcript = transcript
        self._clock = clock

    def take_over(self, attempt: Attempt) -> None:
        """Refuse what earlier attempts may still send, and learn what they have written."""
        try:
            attempt.go_on_from(self._log.take_over(attempt.session_id, attempt.generation_id, attempt.number))
        except LogLost:
            # Only whoever owns the row may begin it anew, so that no two do.
            self._attempts.renew(attempt)
            attempt.go_on_from(self._transcript.snapshot(attempt.generation_id))
            self._reset(attempt)
            self._replay_text(attempt)

    def append(self, attempt: Attempt, kind: str, data: Mapping[str, Any], delta: Delta = NOTHING) -> None:
        """Append an event of the answer, with what it adds to it."""
        try:
            self._write(attempt, kind, data, _written(attempt).size, delta)
        except LogLost:
            self._attempts.renew(attempt)
            self._restore(attempt)
            self._write(attempt, kind, data, _written(attempt).size, delta)

    def append_delta(self, attempt: Attempt, text: str) -> None:
        """Tell of the next words. Stale thinking that nothing has replaced by now goes first: it was for a request
        that was given up, and not for them."""
        if attempt.thinking.stale and attempt.thinking.text:
            self.append(attempt, "thinking", {"at": 0, "text": ""}, Delta(resets_thinking=True))
            attempt.thinking.forget()
        attempt.thinking.stale = False
        self.append(attempt, "delta", {"at": len(attempt.text), "text": text}, Delta(text))
        attempt.text += text

    def append_thinking(self, attempt: Attempt, thinking: str) -> None:
        """Tell of what the model says to itself next; or first, if it begins again."""
        stale = attempt.thinking.stale
        data = {"at": 0 if stale else len(attempt.thinking.text), "text": thinking}
        self.append(attempt, "thinking", data, Delta(thinking=thinking, resets_thinking=stale))
        attempt.thinking.add(thinking)

    def append_change(self, attempt: Attempt, kind: str, data: Mapping[str, Any]) -> None:
        """Tell of another worker or model that carries on, and how much of the thinking stays: all, if there are
        words of the answer; else it begins again."""
        stays = len(attempt.thinking.text) if attempt.text else 0
        self.append(attempt, kind, {**data, "thinking": stays}, Delta(resets_thinking=not stays))
        if not stays:
            attempt.thinking.forget()

    def append_end(
        self, attempt: Attempt, kind: str, data: Mapping[str, Any], answer: Message, *, retracts: str | None = None
    ) -> None:
        """Tell of the end, with an anonymous session's finished answer; `retracts` is the id of the question that is
        taken back, and then its answer is not kept. Who calls has won the row's last transition."""
        try:
            self._end(attempt, kind, data, answer, retracts)
        except LogLost:
            self._restore(attempt)
            self._end(attempt, kind, data, answer, retracts)
        if not (attempt.text or attempt.thinking.text):  # the log may have kept in mind the end of what had not begun
            self._close_if_gone(attempt)

    def message(self, attempt: Attempt, state: MessageState, model: str | None = None) -> Message:
        """The answer as it is now."""
        return Message(
            str(attempt.generation_id),
            "assistant",
            attempt.text,
            model or attempt.model,
            state,
            rfc3339(self._clock.now()),
            thinking=attempt.thinking.text or None,
            thinking_seconds=attempt.thinking.seconds,
        )

    def keep_snapshot(self, attempt: Attempt) -> None:
        """Keep what there is of an owned session's answer in SQL. Raises Unavailable too."""
        if attempt.anonymous or not (attempt.text or attempt.thinking.text):
            return
        with self._database.writing() as db:
            lock_session(db, attempt.session_id)
            if not change(db, attempt, state=GenerationState.RUNNING):  # and holds it until the commit
                raise LeaseLost
            self._transcript.keep(self.message(attempt, "streaming"), attempt.session_id, db)

    def _write(
        self, attempt: Attempt, kind: str, data: Mapping[str, Any], before: Size, delta: Delta = NOTHING
    ) -> None:
        self._log.write(
            attempt.session_id,
            kind,
            {"generation_id": str(attempt.generation_id), **data},
            attempt.next(),
            expires_at=attempt.keep_until,
            before=before,
            delta=delta._replace(thinking_ms=attempt.thinking.milliseconds),
        )

    def _end(
        self, attempt: Attempt, kind: str, data: Mapping[str, Any], answer: Message, retracts: str | None
    ) -> None:
        self._log.end(
            attempt.session_id,
            kind,
            {"generation_id": str(attempt.generation_id), **data},
            Producer.terminal(attempt.generation_id, attempt.number),
            expires_at=attempt.keep_until,
            before=_written(attempt).size,
            message=answer.dump() if attempt.anonymous and retracts is None else "",
            retracts=retracts or "",
        )

    def _restore(self, attempt: Attempt) -> None:
        """Begin the log again in another epoch, with all that its readers have seen."""
        self._reset(attempt)
        self._write(attempt, "started", {"model": attempt.model, "attempt": attempt.number}, EMPTY)
        self._replay_text(attempt)

    def _replay_text(self, attempt: Attempt) -> None:
        text, thinking = attempt.text, attempt.thinking.text
        if thinking:
            self._write(attempt, "thinking", {"at": 0, "text": thinking}, EMPTY, Delta(thinking=thinking))
        if text:
            before = PartialAnswer(thinking=thinking).size
            self._write(attempt, "delta", {"at": 0, "text": text}, before, Delta(text))

    def _reset(self, attempt: Attempt) -> None:
        answer = replace(self.message(attempt, "streaming"), text="", thinking=None, thinking_seconds=None)
        self._log.reset(
            attempt.session_id,
            attempt.generation_id,
            attempt.number,
            expires_at=attempt.keep_until,
            answer=answer.dump(),
        )
        self._close_if_gone(attempt)

    def _close_if_gone(self, attempt: Attempt) -> None:
        """Who deletes a session deletes its row first and then its log. Was that just now, then this log is ours to
        delete: nothing of the session stays. Raises LeaseLost then."""
        with self._database.reading() as db:
            gone = db.get(Session, attempt.session_id) is None
        if gone:
            self._log.close(attempt.session_id, "deleted")
            raise LeaseLost


def _written(attempt: Attempt) -> PartialAnswer:
    return PartialAnswer(attempt.text, attempt.thinking.text)
