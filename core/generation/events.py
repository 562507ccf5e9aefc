"""Writes an answer's events into its session's log, and resets the log when Redis has lost it."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from core.clock import Clock, rfc3339
from core.conversation.appender import Appender
from core.conversation.damage import Damaged
from core.conversation.event_log import AnswerEvent, EventLog, LogLost
from core.conversation.handover import Handover
from core.conversation.message import PREVIOUS, Message, MessageState, whole_seconds
from core.conversation.partial_answer import EMPTY, NOTHING, Delta, PartialAnswer, Size
from core.conversation.position import Producer
from core.conversation.transcript import Transcript
from core.generation.attempts import Attempt, Attempts, LeaseLost, hold, lock_sessions
from core.generation.draft import Draft
from core.llm.providers.base import ErrorKind
from core.stores.database import Database
from core.stores.redis import RedisUnavailable
from core.stores.tables import Session

MOMENT = timedelta(microseconds=1)
"""The least by which two messages of a conversation are apart."""
RESTORATIONS = 4
"""Logs that a process begins anew at once. It blocks, so it is done in threads."""


class GenerationEvents:
    """The events of attempts, and their drafts, which follow what the log has taken.

    What is appended while an answer is written is appended on the process's event loop, the end in a thread.
    `thinking_ms` is how many milliseconds the answer's thinking has taken by now. All methods that append raise
    Fenced when a newer attempt writes, LeaseLost when the session or the row is no longer the attempt's, and
    Unavailable.
    """

    def __init__(
        self,
        database: Database,
        attempts: Attempts,
        log: EventLog,
        appender: Appender,
        transcript: Transcript,
        clock: Clock,
    ) -> None:
        self._database = database
        self._attempts = attempts
        self._log = log
        self._appender = appender
        self._threads = ThreadPoolExecutor(RESTORATIONS, "restoration")
        self._transcript = transcript
        self._clock = clock

    def take_over(self, attempt: Attempt) -> None:
        """Refuse what earlier attempts may still send, and restore the draft from what they have written."""
        try:
            attempt.draft.restore(self._log.take_over(attempt.session_id, attempt.generation_id, attempt.number))
        except LogLost:
            self._attempts.renew(attempt)  # as in _restore_owned
            attempt.draft.restore(self._transcript.snapshot(attempt.message_id))
            self._reset(attempt)
            self._replay_text(attempt)

    def read_draft(self, attempt: Attempt) -> None:
        """Restore the draft without taking the log over: no worker has the generation. Raises Unavailable."""
        written = self._transcript.written(attempt.session_id, attempt.generation_id, attempt.message_id)
        attempt.draft.restore(written)

    def read_kept(self, attempt: Attempt) -> None:
        """Of an attempt that goes on with an answer and has not begun, restore the draft as its log has it: empty
        where that knows nothing of the generation, or can't be asked."""
        if attempt.goes_on:
            with suppress(RedisUnavailable):
                attempt.draft.restore(self._transcript.begun(attempt.session_id, attempt.generation_id))

    def begin_request(self, attempt: Attempt) -> None:
        """A model is being asked. It has no event: readers see only what comes of the request."""
        attempt.draft.begin_request()

    async def append_started(self, attempt: Attempt) -> None:
        """Append that the first worker has begun, which nothing has been written before."""
        try:
            await self._write_together(attempt, "started", _started(attempt), _unchanged(attempt.draft))
        except LogLost:  # what restores it appends that too
            await asyncio.get_running_loop().run_in_executor(self._threads, self._restore_owned, attempt)

    async def append_resumed(self, attempt: Attempt) -> None:
        """Append that another worker carries on."""
        await self._append_change(attempt, "resumed", {"attempt": attempt.number, "at": attempt.draft.length})

    async def append_fallback(self, attempt: Attempt, failed: str, next_model: str, reason: ErrorKind) -> None:
        """Append that another model carries on, because the one before has failed."""
        await self._append_change(attempt, "fallback", {"from": failed, "to": next_model, "reason": reason})

    def append_handover(self, attempt: Attempt, handover: Handover) -> None:
        """Append that another model carries on, at a person's wish. Blocks, as its row's change before it does."""
        try:
            self._hand_over(attempt, handover)
        except LogLost:
            self._restore_owned(attempt)
            self._hand_over(attempt, handover)

    def append_missed_handover(self, attempt: Attempt) -> None:
        """Append the handover that an earlier attempt has made, and did not come to tell of, if there is one."""
        made = attempt.handovers.made
        if not made:
            return
        answer = self._log.live_answer(attempt.session_id)
        try:
            told = Message.load(answer or "").handovers or []
        except Damaged:
            return
        if len(told) < len(made):
            self.append_handover(attempt, made[-1])

    async def append_delta(self, attempt: Attempt, text: str, thinking_ms: int) -> None:
        """Append the next words. Stale thinking that no new thinking has replaced by now goes first: it belongs to a
        request that was given up, and not to these words."""
        draft = attempt.draft
        if draft.thinking_is_stale and draft.thinking_length:
            await self._append(attempt, "thinking", {"at": 0, "text": ""}, Delta(resets_thinking=True))
            draft.drop_thinking()
        added = Delta(text, thinking_ms=thinking_ms)
        await self._append(attempt, "delta", {"at": draft.length, "text": text}, added)
        self._note_begun(attempt)
        draft.add_text(text, thinking_ms)

    async def append_thinking(self, attempt: Attempt, words: str, thinking_ms: int) -> None:
        """Append what the model thinks next; or first, if its thinking begins again."""
        draft = attempt.draft
        anew = draft.thinking_is_stale
        data = {"at": 0 if anew else draft.thinking_length, "text": words}
        added = Delta(thinking=words, resets_thinking=anew, thinking_ms=thinking_ms)
        await self._append(attempt, "thinking", data, added)
        self._note_begun(attempt)
        draft.add_thinking(words, thinking_ms)

    async def append_block(self, attempt: Attempt, begin: int, end: int, html: str) -> None:
        """Append a part of the answer, between two of its characters, as HTML. It adds nothing to the answer."""
        data = {"from": begin, "upto": end, "html": html}
        await self._append(attempt, "block", data, _unchanged(attempt.draft))

    def _note_begun(self, attempt: Attempt) -> None:
        if attempt.draft.begun_at is None and not attempt.has_words:
            attempt.draft.begun_at = self._clock.now()

    def append_end(
        self,
        attempt: Attempt,
        kind: str,
        data: Mapping[str, Any],
        answer: Message,
        *,
        kept: bool = True,
        retracts: str | None = None,
    ) -> None:
        """Append the terminal event, with an anonymous session's finished answer if that is `kept`.

        `retracts` is the id of the question that is retracted. The caller has won the row's last transition.
        """
        try:
            self._end(attempt, kind, data, answer, retracts, kept=kept)
        except LogLost:
            self._restore(attempt)
            self._end(attempt, kind, data, answer, retracts, kept=kept)
        if attempt.draft.is_empty:  # the log may have kept in mind the end of what had not begun
            self._close_if_gone(attempt)

    def message(self, attempt: Attempt, state: MessageState, model: str | None = None) -> Message:
        """The answer as it is now."""
        text, thinking, thinking_ms = attempt.draft.partial
        return Message(
            str(attempt.message_id),
            "assistant",
            text,
            model or attempt.handovers.model,
            state,
            rfc3339(self._answered_at(attempt)),
            handovers=[each.describe() for each in attempt.handovers.made] or None,
            thinking=thinking or None,
            thinking_seconds=whole_seconds(thinking, thinking_ms),
            parent=PREVIOUS if attempt.question_id is None else str(attempt.question_id),
        )

    def _answered_at(self, attempt: Attempt) -> datetime:
        """Now, and after the question: the front end's clock may be ahead of this one, and children are younger than
        their parents."""
        now = self._clock.now()
        return now if attempt.asked_at is None else max(now, attempt.asked_at + MOMENT)

    def keep_snapshots(self, attempts: Sequence[Attempt]) -> set[Attempt]:
        """Keep what there is of owned sessions' answers in SQL, in one transaction; the attempts that have lost their
        rows. What somebody has locked, as who deletes a session does, is left out. Raises Unavailable."""
        drafts = {attempt: self.message(attempt, "streaming") for attempt in attempts}
        with self._database.writing() as db:
            locked = lock_sessions(db, [attempt.session_id for attempt in attempts])
            held, lost = hold(db, [attempt for attempt in attempts if attempt.session_id in locked])
            for attempt in held:
                self._transcript.keep(drafts[attempt], attempt.session_id, db, in_place=attempt.goes_on)
        return lost

    async def _append_change(self, attempt: Attempt, kind: str, data: Mapping[str, Any]) -> None:
        """Append that something else carries on, and how much of the thinking stays: all, if there are words of the
        answer; else it begins again."""
        draft = attempt.draft
        if draft.length and draft.thinking_length:
            await self._append(attempt, kind, {**data, "thinking": draft.thinking_length}, _unchanged(draft))
            return
        await self._append(attempt, kind, {**data, "thinking": 0}, Delta(resets_thinking=True))
        draft.drop_thinking()

    def _hand_over(self, attempt: Attempt, handover: Handover) -> None:
        draft = attempt.draft
        keeps = bool(draft.length and draft.thinking_length)
        data = {**handover.describe(), "thinking": draft.thinking_length if keeps else 0}
        delta = _unchanged(draft) if keeps else Delta(resets_thinking=True)
        self._log.hand_over(_event(attempt, "handover", data, draft.size, delta), self._beginning(attempt))
        if not keeps:
            draft.drop_thinking()

    def _beginning(self, attempt: Attempt) -> str:
        """The stored form of the answer without its words, which the log has apart."""
        message = self.message(attempt, "streaming")
        return replace(message, text="", thinking=None, thinking_seconds=None).dump()

    async def _append(self, attempt: Attempt, kind: str, data: Mapping[str, Any], delta: Delta) -> None:
        """Append an event of the answer, with what it adds to it."""
        try:
            await self._write_together(attempt, kind, data, delta)
        except LogLost:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._restore_owned, attempt)
            await self._write_together(attempt, kind, data, delta)

    async def _write_together(self, attempt: Attempt, kind: str, data: Mapping[str, Any], delta: Delta) -> None:
        await self._appender.write(_event(attempt, kind, data, attempt.draft.size, delta))

    def _write(self, attempt: Attempt, kind: str, data: Mapping[str, Any], before: Size, delta: Delta) -> None:
        self._log.write(_event(attempt, kind, data, before, delta))

    def _end(
        self,
        attempt: Attempt,
        kind: str,
        data: Mapping[str, Any],
        answer: Message,
        retracts: str | None,
        *,
        kept: bool,
    ) -> None:
        self._log.end(
            attempt.session_id,
            kind,
            {"generation_id": str(attempt.generation_id), **data},
            Producer.terminal(attempt.generation_id, attempt.number),
            expires_at=attempt.keep_until,
            before=attempt.draft.size,
            message=answer.dump() if attempt.anonymous and kept else "",
            retracts=retracts or "",
        )

    def _restore_owned(self, attempt: Attempt) -> None:
        # Only the attempt that owns the row may reset the log, so that no two do.
        self._attempts.renew(attempt)
        self._restore(attempt)

    def _restore(self, attempt: Attempt) -> None:
        """Reset the log, and append again what its readers have seen."""
        self._reset(attempt)
        self._write(attempt, "started", _started(attempt), EMPTY, NOTHING)
        self._replay_text(attempt)

    def _replay_text(self, attempt: Attempt) -> None:
        text, thinking, thinking_ms = attempt.draft.partial
        if thinking:
            thought = Delta(thinking=thinking, thinking_ms=thinking_ms)
            self._write(attempt, "thinking", {"at": 0, "text": thinking}, EMPTY, thought)
        if text:
            before = PartialAnswer(thinking=thinking).size
            said = Delta(text, thinking_ms=thinking_ms)
            self._write(attempt, "delta", {"at": 0, "text": text}, before, said)

    def _reset(self, attempt: Attempt) -> None:
        self._log.reset(
            attempt.session_id,
            attempt.generation_id,
            attempt.number,
            expires_at=attempt.keep_until,
            answer=self._beginning(attempt),
            waited=attempt.waited,
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


def _started(attempt: Attempt) -> Mapping[str, Any]:
    return {"model": attempt.handovers.model, "attempt": attempt.number}


def _unchanged(draft: Draft) -> Delta:
    """Nothing is added, and the thinking has taken what it has."""
    return Delta(thinking_ms=draft.thinking_ms)


def _event(attempt: Attempt, kind: str, data: Mapping[str, Any], before: Size, delta: Delta) -> AnswerEvent:
    """The attempt's next one."""
    named = {"generation_id": str(attempt.generation_id), **data}
    return AnswerEvent(
        attempt.session_id, kind, named, attempt.next_producer(), attempt.keep_until, before=before, delta=delta
    )
