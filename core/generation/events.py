"""Writes an answer's events into its session's log, and resets the log when Redis has lost it."""

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
    """The events of attempts, and their drafts, which follow what the log has taken.

    All methods that append raise Fenced when a newer attempt writes, LeaseLost when the session or the row is no
    longer the attempt's, and Unavailable.
    """

    def __init__(
        self, database: Database, attempts: Attempts, log: EventLog, transcript: Transcript, clock: Clock
    ) -> None:
        self._database = database
        self._attempts = attempts
        self._log = log
        self._transcript = transcript
        self._clock = clock

    def take_over(self, attempt: Attempt) -> None:
        """Refuse what earlier attempts may still send, and restore the draft from what they have written."""
        try:
            attempt.draft.restore(self._log.take_over(attempt.session_id, attempt.generation_id, attempt.number))
        except LogLost:
            # Only the attempt that owns the row may reset the log, so that no two do.
            self._attempts.renew(attempt)
            attempt.draft.restore(self._transcript.snapshot(attempt.generation_id))
            self._reset(attempt)
            self._replay_text(attempt)

    def read_draft(self, attempt: Attempt) -> None:
        """Restore the draft without taking the log over: the generation has ended. Raises Unavailable."""
        attempt.draft.restore(self._transcript.written(attempt.session_id, attempt.generation_id))

    def append(self, attempt: Attempt, kind: str, data: Mapping[str, Any], delta: Delta = NOTHING) -> None:
        """Append an event of the answer, with what it adds to it."""
        try:
            self._write(attempt, kind, data, attempt.draft.partial.size, delta)
        except LogLost:
            self._attempts.renew(attempt)
            self._restore(attempt)
            self._write(attempt, kind, data, attempt.draft.partial.size, delta)

    def append_delta(self, attempt: Attempt, text: str) -> None:
        """Append the next words. Stale thinking that no new thinking has replaced by now goes first: it belongs to a
        request that was given up, and not to these words."""
        draft = attempt.draft
        if draft.thinking.stale and draft.thinking.text:
            self.append(attempt, "thinking", {"at": 0, "text": ""}, Delta(resets_thinking=True))
            draft.thinking.forget()
        draft.thinking.settle()
        self.append(attempt, "delta", {"at": len(draft.text), "text": text}, Delta(text))
        draft.add_text(text)

    def append_thinking(self, attempt: Attempt, words: str) -> None:
        """Append what the model thinks next; or first, if its thinking begins again."""
        thinking = attempt.draft.thinking
        data = {"at": 0 if thinking.stale else len(thinking.text), "text": words}
        self.append(attempt, "thinking", data, Delta(thinking=words, resets_thinking=thinking.stale))
        thinking.add(words)

    def append_change(self, attempt: Attempt, kind: str, data: Mapping[str, Any]) -> None:
        """Append that another worker or model carries on, and how much of the thinking stays: all, if there are words
        of the answer; else it begins again."""
        draft = attempt.draft
        stays = len(draft.thinking.text) if draft.text else 0
        self.append(attempt, kind, {**data, "thinking": stays}, Delta(resets_thinking=not stays))
        if not stays:
            draft.thinking.forget()

    def append_end(
        self, attempt: Attempt, kind: str, data: Mapping[str, Any], answer: Message, *, retracts: str | None = None
    ) -> None:
        """Append the terminal event, with an anonymous session's finished answer.

        `retracts` is the id of the question that is taken back, and then its answer is not kept. The caller has won
        the row's last transition.
        """
        try:
            self._end(attempt, kind, data, answer, retracts)
        except LogLost:
            self._restore(attempt)
            self._end(attempt, kind, data, answer, retracts)
        if attempt.draft.is_empty:  # the log may have kept in mind the end of what had not begun
            self._close_if_gone(attempt)

    def message(self, attempt: Attempt, state: MessageState, model: str | None = None) -> Message:
        """The answer as it is now."""
        thinking = attempt.draft.thinking
        return Message(
            str(attempt.generation_id),
            "assistant",
            attempt.draft.text,
            model or attempt.model,
            state,
            rfc3339(self._clock.now()),
            thinking=thinking.text or None,
            thinking_seconds=thinking.seconds,
        )

    def keep_snapshot(self, attempt: Attempt) -> None:
        """Keep what there is of an owned session's answer in SQL. Raises LeaseLost or Unavailable."""
        if attempt.anonymous or attempt.draft.is_empty:
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
            attempt.next_producer(),
            expires_at=attempt.keep_until,
            before=before,
            delta=delta._replace(thinking_ms=attempt.draft.thinking.milliseconds),
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
            before=attempt.draft.partial.size,
            message=answer.dump() if attempt.anonymous and retracts is None else "",
            retracts=retracts or "",
        )

    def _restore(self, attempt: Attempt) -> None:
        """Reset the log, and append again what its readers have seen."""
        self._reset(attempt)
        self._write(attempt, "started", {"model": attempt.model, "attempt": attempt.number}, EMPTY)
        self._replay_text(attempt)

    def _replay_text(self, attempt: Attempt) -> None:
        text, thinking, _ = attempt.draft.partial
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
        """Close the log of a session that has just been deleted: its row goes first and then its log, so this log may
        have come after that, and nothing of the session stays. Raises LeaseLost then."""
        with self._database.reading() as db:
            gone = db.get(Session, attempt.session_id) is None
        if gone:
            self._log.close(attempt.session_id, "deleted")
            raise LeaseLost
