"""Writes an answer's events into its session's log, and begins the log anew when Redis has lost it."""

from collections.abc import Mapping
from typing import Any

from core.answers.attempt import Attempt, Attempts, Lost, change, lock_session
from core.clock import Clock, rfc3339
from core.database import Database
from core.event_log import LAST, EventLog, LogLost, Producer
from core.message import Message, MessageState
from core.models import GenerationState, Session
from core.transcript import Transcript


class AnswerLog:
    """The events of attempts. All methods raise Fenced when a newer attempt writes, and Lost when the session or the
    row is no longer the attempt's."""

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
            attempt.text = self._log.take_over(attempt.session_id, attempt.generation_id, attempt.number)
        except LogLost:
            # Only whoever owns the row may begin it anew, so that no two do.
            self._attempts.renew(attempt)
            attempt.text = self._transcript.snapshot(attempt.generation_id)
            self._begin_anew(attempt)
            self._say_again(attempt)

    def append(self, attempt: Attempt, kind: str, data: Mapping[str, Any], *, text: str = "") -> None:
        """Tell of something that has happened to the answer."""
        try:
            self._append(attempt, kind, data, text=text)
        except LogLost:
            self._attempts.renew(attempt)
            self._restore(attempt)
            self._append(attempt, kind, data, text=text)

    def append_delta(self, attempt: Attempt, text: str) -> None:
        """Tell of the next words."""
        self.append(attempt, "delta", {"at": len(attempt.text), "text": text}, text=text)
        attempt.text += text

    def append_end(
        self, attempt: Attempt, kind: str, data: Mapping[str, Any], answer: Message, *, retracts: str | None = None
    ) -> None:
        """Tell of the end, with an anonymous session's finished answer; `retracts` is the id of the question that is
        taken back, and then its answer is not kept. Who calls has won the row's last transition."""
        try:
            self._append_end(attempt, kind, data, answer, retracts)
        except LogLost:
            self._restore(attempt)
            self._append_end(attempt, kind, data, answer, retracts)
        if not attempt.text:  # the log may have kept in mind the end of what had not begun
            self._close_if_gone(attempt)

    def message(self, attempt: Attempt, state: MessageState, model: str | None = None) -> Message:
        """The answer as it is now."""
        now = rfc3339(self._clock.now())
        return Message(str(attempt.generation_id), "assistant", attempt.text, model or attempt.model, state, now)

    def keep_snapshot(self, attempt: Attempt) -> None:
        """Keep what there is of an owned session's answer in SQL. Raises Unavailable too."""
        if attempt.anonymous or not attempt.text:
            return
        with self._database.writing() as db:
            lock_session(db, attempt.session_id)
            if not change(db, attempt, state=GenerationState.RUNNING):  # and holds it until the commit
                raise Lost
            self._transcript.keep(self.message(attempt, "streaming"), attempt.session_id, db)

    def _append(
        self, attempt: Attempt, kind: str, data: Mapping[str, Any], *, text: str = "", written: int | None = None
    ) -> None:
        self._log.append(
            attempt.session_id,
            kind,
            {"generation_id": str(attempt.generation_id), **data},
            expires_at=attempt.keep_until,
            producer=attempt.next(),
            role="write",
            text=text,
            written=len(attempt.text.encode()) if written is None else written,
        )

    def _append_end(
        self, attempt: Attempt, kind: str, data: Mapping[str, Any], answer: Message, retracts: str | None
    ) -> None:
        self._log.append(
            attempt.session_id,
            kind,
            {"generation_id": str(attempt.generation_id), **data},
            expires_at=attempt.keep_until,
            producer=Producer(attempt.generation_id, attempt.number, LAST),
            role="end",
            word=answer.dump() if attempt.anonymous and retracts is None else "",
            retracts=retracts or "",
            written=len(attempt.text.encode()),
        )

    def _restore(self, attempt: Attempt) -> None:
        """Begin the log anew, with all that its readers have seen."""
        self._begin_anew(attempt)
        self._append(attempt, "started", {"model": attempt.model, "attempt": attempt.number}, written=0)
        self._say_again(attempt)

    def _say_again(self, attempt: Attempt) -> None:
        if attempt.text:
            self._append(attempt, "delta", {"at": 0, "text": attempt.text}, text=attempt.text, written=0)

    def _begin_anew(self, attempt: Attempt) -> None:
        answer = self.message(attempt, "streaming")
        self._log.begin_anew(
            attempt.session_id,
            attempt.generation_id,
            attempt.number,
            expires_at=attempt.keep_until,
            answer=answer.dump(),
        )
        self._close_if_gone(attempt)

    def _close_if_gone(self, attempt: Attempt) -> None:
        """Who deletes a session deletes its row first and then its log. Was that just now, then this log is ours to
        delete: nothing of the session stays. Raises Lost then."""
        with self._database.reading() as db:
            gone = db.get(Session, attempt.session_id) is None
        if gone:
            self._log.close(attempt.session_id, "deleted")
            raise Lost
