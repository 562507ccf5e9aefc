"""GenerationService: accepts a message, stops its answer, tells what is live.

A generation is a row with one owner at a time and exactly one end. Every transition is a compare-and-set in SQL;
who wins it, and nobody else, writes the event that tells of it. Below, in core/answers/, the answer is written
(writer.py) and ended (ending.py), and those whose worker is gone are looked after (reaper.py).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from redis.exceptions import RedisError
from sqlalchemy import exc as sql_exc
from sqlalchemy import select, update
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.answers import usage
from core.answers.attempt import ENTRY, keep_log_until
from core.answers.ending import End, Endings
from core.answers.line import LONGEST_WAIT, Line, place
from core.client_pool import ClientPool
from core.clock import Clock, rfc3339
from core.database import Database
from core.errors import GenerationInProgress, GenerationLost, MessageTooLarge, NothingToStop, SessionInvalid
from core.event_log import EventLog, Position
from core.limits.message_limits import MessageLimits
from core.limits.standing import Standing
from core.message import Message
from core.models import IS_LIVE, Generation, GenerationState, Session
from core.session_service import SessionService
from core.transcript import Transcript

MAX_MESSAGE = 32 * 1024
"""Bytes of UTF-8 in one message."""
TITLE = 60
"""Characters of a first message that become the session's title."""


@dataclass(frozen=True)
class Accepted:
    """A message that will be answered."""

    session_id: UUID
    generation_id: UUID
    position: int
    """How many generations wait before this one."""
    before: Position
    """The place in the log just before the generation's first event."""
    standings: Sequence[Standing]
    """How its owner stands with the limits."""

    def describe(self) -> dict[str, Any]:
        """As the wire has it."""
        return {
            "session_id": str(self.session_id),
            "generation_id": str(self.generation_id),
            "state": GenerationState.QUEUED,
            "position": self.position,
            "events": "/chat/sse",
        }


class GenerationService:
    """Answers, as the front end sees them."""

    def __init__(
        self,
        database: Database,
        sessions: SessionService,
        endings: Endings,
        line: Line,
        log: EventLog,
        transcript: Transcript,
        limits: MessageLimits,
        pool: ClientPool,
        clock: Clock,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._endings = endings
        self._line = line
        self._log = log
        self._transcript = transcript
        self._limits = limits
        self._pool = pool
        self._clock = clock

    def accept(self, session: Session, message: str, generation_id: UUID | None = None) -> Accepted:
        """Take a message of a validated session: a row, and the event `queued` with the words.

        Idempotent by `generation_id`: a second call with the same one takes nothing more. Raises MessageTooLarge,
        GenerationInProgress, RateLimited, SessionExpired or Unavailable, or GenerationLost when what the first call
        took will never be answered. The caller queues the generation, and calls `withdraw` when it can't.
        """
        check_size(message)
        now = self._clock.now()
        question = Message(str(uuid7()), "user", message, None, "complete", rfc3339(now))
        generation = Generation(
            id=generation_id or uuid7(),
            session_id=session.id,
            model=self._sessions.current_model(session),
            state=GenerationState.QUEUED,
            attempt=0,
            stop_requested=False,
            lease_until=now + ENTRY,
            created_at=now,
        )
        # Before the limits are asked: who has to wait for an answer is told so, and charged nothing.
        with self._database.reading() as db:
            if (known := db.get(Generation, generation.id)) is not None:
                if _never_begun(known):
                    raise GenerationLost("The message was taken but could not be answered. Please send it again.")
                return Accepted(session.id, generation.id, 0, self._live_start(session.id), standings=())
            if self.active(session.id, db) is not None:
                raise GenerationInProgress
        reserved = usage.tokens(message) + self._pool.config(generation.model).max_tokens
        standings = self._limits.admit(session, generation.id, LONGEST_WAIT, reserved)
        try:
            current, turn, position = self._insert(generation, session, question)
        except Exception:
            self._limits.cancel(session, generation.id)
            raise
        try:
            self._endings.tell_all(session.id)
            before = self._announce(generation, current, question, position)
            self._line.enter(generation.id, turn)
        except Exception:
            self.withdraw(generation.id)
            raise
        return Accepted(session.id, generation.id, position, before, standings)

    def withdraw(self, generation_id: UUID) -> None:
        """Take back an accepted generation that could not be queued, so that the session is usable at once."""
        failed = End(GenerationState.FAILED, {"problem": GenerationLost().problem()})
        # With Redis away there is nobody to tell; the row, which decides, is free all the same.
        with suppress(RedisError):
            self._endings.end_from_outside(generation_id, failed, Generation.state == GenerationState.QUEUED)

    def stop(self, session: Session) -> UUID:
        """Stop the live generation of a validated session, before or after its first word; returns its id.

        What has been written is kept. The wish is in the row, so it holds whoever writes, also after a takeover.
        Raises NothingToStop.
        """
        with self._database.writing() as db:
            stopped: UUID | None = db.scalar(
                update(Generation)
                .where(Generation.session_id == session.id, IS_LIVE)
                .values(stop_requested=True)
                .returning(Generation.id)
            )
        if stopped is None:
            raise NothingToStop
        # Nobody writes it yet: then nobody but us can end it.
        if not self._endings.end_from_outside(
            stopped, End(GenerationState.STOPPED), Generation.state == GenerationState.QUEUED
        ):
            self._log.request_stop(session.id, stopped)
        return stopped

    def active(self, session_id: UUID, db_session: DatabaseSession) -> dict[str, Any] | None:
        """The session's live generation as the wire has it, or None."""
        row = db_session.scalar(select(Generation).where(Generation.session_id == session_id, IS_LIVE))
        if row is None:
            return None
        return {"generation_id": str(row.id), "state": row.state, "model": row.model}

    def _live_start(self, session_id: UUID) -> Position:
        tip = self._log.read(session_id, after=0, limit=1)
        return Position(tip.epoch, tip.top if tip.start is None else tip.start)

    def _insert(self, generation: Generation, session: Session, question: Message) -> tuple[Session, datetime, int]:
        """The row, and an owned session's words; returns the session as it is now, and the generation's turn to be,
        with how many wait before."""
        with self._database.writing() as db:
            self._sessions.extend_session(session.id, db)
            current = db.get_one(Session, session.id)
            if current.owner_id != session.owner_id:
                raise SessionInvalid("This session has just been claimed by a user.")
            turn = self._line.turn(current, db)
            position = self._line.position(turn, generation.id, db)
            try:
                with db.begin_nested():
                    db.add(generation)
            except sql_exc.IntegrityError:
                raise GenerationInProgress from None
            if not current.anonymous:
                self._transcript.keep(question, session.id, db)
                current.title = current.title or _title(question.text)
        return current, turn, position

    def _announce(self, generation: Generation, session: Session, question: Message, position: int) -> Position:
        at = rfc3339(generation.created_at)
        answer = Message(str(generation.id), "assistant", "", generation.model, "streaming", at)
        queued = self._log.append(
            session.id,
            "queued",
            {"generation_id": str(generation.id), "position": position},
            expires_at=keep_log_until(session, self._clock.now()),
            producer=place(generation.id, position),
            role="begin",
            word=question.dump() if session.anonymous else "",
            answer=answer.dump(),
        )
        return Position(queued.epoch, queued.offset - 1)


def _never_begun(generation: Generation) -> bool:
    return generation.state == GenerationState.FAILED and generation.started_at is None


def check_size(message: str) -> None:
    """Raise MessageTooLarge when a message is longer than is taken."""
    size = len(message.encode())
    if size > MAX_MESSAGE:
        raise MessageTooLarge(f"The message has {size} bytes; at most {MAX_MESSAGE} are taken.", field="message")


def _title(message: str) -> str:
    """What a session is called until its owner says otherwise: how it began."""
    line = " ".join(message.split())
    return line if len(line) <= TITLE else line[: TITLE - 1] + "…"
