"""GenerationService: accepts a message, writes its answer, ends it exactly once.

A generation is a row with one owner at a time. Every transition is a compare-and-set in SQL; who wins it,
and nobody else, writes the event that tells of it.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event as Flag
from typing import Any
from uuid import UUID

from redis.exceptions import RedisError
from sqlalchemy import CursorResult, func, select, update
from sqlalchemy import exc as sql_exc
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.client_pool import ClientPool
from core.clock import Clock, rfc3339
from core.database import Database
from core.errors import (
    GenerationInProgress,
    GenerationLost,
    MessageTooLarge,
    ProviderFailed,
    SessionInvalid,
    SwitchboardError,
)
from core.event_log import EventLog, Fenced, Position, Producer
from core.history import fit
from core.message_limits import MessageLimits, owner_of
from core.models import LIVE, Generation, GenerationState, Session
from core.providers import REASONS, ErrorKind, ProviderError, Turn, Usage
from core.pump import Pump
from core.rate_limit import Standing
from core.session_service import SessionService
from core.transcript import Message, MessageState, Transcript

logger = logging.getLogger(__name__)

MAX_MESSAGE = 32 * 1024
"""Bytes of UTF-8 in one message."""
COALESCE = 0.03
"""Seconds over which text is gathered into one event; the first token does not wait."""
TITLE = 60
"""Characters of a first message that become the session's title."""
OWNED_LOG = timedelta(hours=24)
LAST = 2**31
"""The sequence number of every terminal event, so that the log takes one."""
QUEUE_PATIENCE = timedelta(seconds=60)
"""How long a generation may wait for a worker before it fails."""


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


@dataclass
class _Claim:
    """A generation this process writes, and how far it has come."""

    generation_id: UUID
    session_id: UUID
    owner: UUID
    """Whose limits count it."""
    model: str
    attempt: int
    anonymous: bool
    keep_until: datetime
    """How long the log lives."""
    text: str = ""
    seq: int = 0

    def next(self) -> Producer:
        self.seq += 1
        return Producer(self.generation_id, self.attempt, self.seq)


class _Outcome(Exception):
    """Ends the writing of an answer."""


@dataclass
class _Done(_Outcome):
    finish_reason: str
    usage: Usage | None


@dataclass
class _Failed(_Outcome):
    error: SwitchboardError


class _Lost(_Outcome):
    """Another attempt, or nobody any more, owns the generation: not a word further."""


class GenerationService:
    """Answers, from the message to the last event."""

    def __init__(
        self,
        database: Database,
        sessions: SessionService,
        pool: ClientPool,
        log: EventLog,
        transcript: Transcript,
        clock: Clock,
        lease: timedelta,
        limits: MessageLimits,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._pool = pool
        self._log = log
        self._transcript = transcript
        self._clock = clock
        self._lease = lease
        self._limits = limits
        self.stopping = Flag()
        """Set when the process has been told to stop: answers end between two tokens."""

    def accept(self, session: Session, message: str) -> Accepted:
        """Take a message of a validated session: a row, and the event `queued` with the words.

        Raises MessageTooLarge, GenerationInProgress, RateLimited, SessionExpired or Unavailable. The caller
        queues the generation, and calls `withdraw` when it can't.
        """
        check_size(message)
        now = self._clock.now()
        question = Message(str(uuid7()), "user", message, None, "complete", rfc3339(now))
        generation = Generation(
            id=uuid7(),
            session_id=session.id,
            model=self._sessions.current_model(session),
            state=GenerationState.QUEUED,
            attempt=0,
            lease_until=now + QUEUE_PATIENCE,
            created_at=now,
        )
        # Before the limits are asked: who has to wait for an answer is told so, and charged nothing.
        with self._database.reading() as db:
            if self.active(session.id, db) is not None:
                raise GenerationInProgress
        standings = self._limits.admit(session, generation.id, QUEUE_PATIENCE)
        try:
            current, position = self._insert(generation, session, question)
        except Exception:
            self._limits.release(owner_of(session), generation.id)
            raise
        try:
            before = self._announce(generation, current, question, position)
        except Exception:
            self.withdraw(generation.id)
            raise
        return Accepted(session.id, generation.id, position, before, standings)

    def withdraw(self, generation_id: UUID) -> None:
        """Take back an accepted generation that could not be queued, so that the session is usable at once."""
        # With Redis away there is nobody to tell; the row, which decides, is free all the same.
        with suppress(RedisError, Fenced):
            self._fail(generation_id, lapsed_before=None)

    def active(self, session_id: UUID, db_session: DatabaseSession) -> dict[str, Any] | None:
        """The session's live generation as the wire has it, or None."""
        row = db_session.scalar(
            select(Generation).where(Generation.session_id == session_id, Generation.state.in_(LIVE))
        )
        if row is None:
            return None
        return {"generation_id": str(row.id), "state": row.state, "model": row.model}

    def run(self, generation_id: UUID) -> None:
        """Write the answer of a queued generation, from the claim to its end.

        Safe to call twice, also at once: the second call finds the row taken and returns.
        """
        claim = self._claim(generation_id)
        if claim is None:
            logger.info("not queued any more", extra={"generation_id": str(generation_id)})
            return
        try:
            self._write(claim)
        except _Done as done:
            self._finish_done(claim, done)
        except _Failed as failed:
            self._finish_failed(claim, failed.error)
        except (_Lost, Fenced):
            logger.info("lost to another attempt", extra={"generation_id": str(generation_id)})
        except RedisError:
            logger.warning("Redis is away; the reaper ends it", extra={"generation_id": str(generation_id)})
        except Exception:
            logger.exception("failed", extra={"generation_id": str(generation_id)})
            self._finish_failed(claim, SwitchboardError())
            raise

    def reap(self) -> int:
        """Fail the live generations whose worker has been silent for a lease, and tell of those that ended while
        Redis was away; returns how many."""
        now = self._clock.now()
        with self._database.reading() as db:
            lapsed = db.scalars(
                select(Generation.id).where(Generation.state.in_(LIVE), Generation.lease_until < now).limit(500)
            ).all()
            untold = db.scalars(
                select(Generation.id)
                .where(Generation.untold.is_not(None), Generation.finished_at < now - self._lease)
                .limit(500)
            ).all()
        for generation_id in untold:
            self._tell(generation_id)
        return len(untold) + sum(self._fail(generation_id, lapsed_before=now) for generation_id in lapsed)

    def _insert(self, generation: Generation, session: Session, question: Message) -> tuple[Session, int]:
        """The row, and an owned session's words; returns the session as it is now, and how many wait before."""
        with self._database.writing() as db:
            self._sessions.extend_session(session.id, db)
            current = db.get_one(Session, session.id)
            if current.owner_id != session.owner_id:
                raise SessionInvalid("This session has just been claimed by a user.")
            position = _waiting(db)
            try:
                with db.begin_nested():
                    db.add(generation)
            except sql_exc.IntegrityError:
                raise GenerationInProgress from None
            if not current.anonymous:
                self._transcript.keep(question, session.id, db)
                current.title = current.title or _title(question.text)
        return current, position

    def _announce(self, generation: Generation, session: Session, question: Message, position: int) -> Position:
        at = rfc3339(generation.created_at)
        answer = Message(str(generation.id), "assistant", "", generation.model, "streaming", at)
        queued = self._log.append(
            session.id,
            "queued",
            {"generation_id": str(generation.id), "position": position},
            expires_at=keep_log_until(session, self._clock.now()),
            producer=Producer(generation.id, 0, 0),
            role="begin",
            word=question.dump() if session.anonymous else "",
            answer=answer.dump(),
        )
        return Position(queued.epoch, queued.offset - 1)

    def _claim(self, generation_id: UUID) -> _Claim | None:
        now = self._clock.now()
        with self._database.writing() as db:
            row = db.execute(
                update(Generation)
                .where(Generation.id == generation_id, Generation.state == GenerationState.QUEUED)
                .values(
                    state=GenerationState.RUNNING,
                    attempt=Generation.attempt + 1,
                    started_at=now,
                    lease_until=now + self._lease,
                )
                .returning(Generation.session_id, Generation.model, Generation.attempt)
            ).one_or_none()
            if row is None:
                return None
            return self._claimed(generation_id, db.get_one(Session, row.session_id), row.model, row.attempt)

    def _claimed(self, generation_id: UUID, session: Session, model: str, attempt: int) -> _Claim:
        keep_until = keep_log_until(session, self._clock.now())
        return _Claim(generation_id, session.id, owner_of(session), model, attempt, session.anonymous, keep_until)

    def _write(self, claim: _Claim) -> None:
        """Stream the answer into the log. Always leaves by an _Outcome or Fenced."""
        self._limits.refresh(claim.owner, claim.generation_id, self._lease)
        self._append(
            claim,
            "started",
            {"generation_id": str(claim.generation_id), "model": claim.model, "attempt": claim.attempt},
        )
        config = self._pool.config(claim.model)
        turns = self._turns(claim)
        pump = Pump(lambda: self._pool.open(claim.model, turns))
        renew_at = time.monotonic() + self._lease.total_seconds() / 3
        heard_at = time.monotonic()
        try:
            while True:
                batch = pump.take(wait=0.25)
                if batch.text:
                    self._append_delta(claim, batch.text)
                    heard_at = time.monotonic()
                if batch.error is not None:
                    raise _Failed(_explain(batch.error, claim))
                if batch.ended:
                    raise _Done(batch.finish_reason or "stop", batch.usage)
                limit = config.between_tokens_timeout if claim.text else config.first_token_timeout
                if time.monotonic() - heard_at > limit:
                    raise _Failed(_explain(ProviderError(ErrorKind.TIMEOUT, "silent"), claim))
                if self.stopping.is_set():
                    raise _Failed(GenerationLost())
                if time.monotonic() >= renew_at:
                    self._renew(claim)
                    renew_at = time.monotonic() + self._lease.total_seconds() / 3
                if batch.text:
                    self.stopping.wait(COALESCE)
        finally:
            pump.abort()

    def _turns(self, claim: _Claim) -> list[Turn]:
        config = self._pool.config(claim.model)
        with self._database.reading() as db:
            session = db.get_one(Session, claim.session_id)
        # The last message is the answer to be written, still empty.
        messages = self._transcript.read(session).messages[:-1]
        return fit(self._pool.system_prompt, messages, config.context_tokens - config.max_tokens)

    def _append_delta(self, claim: _Claim, text: str) -> None:
        data = {"generation_id": str(claim.generation_id), "at": len(claim.text), "text": text}
        self._append(claim, "delta", data, text=text)
        claim.text += text

    def _append(self, claim: _Claim, kind: str, data: dict[str, Any], *, text: str = "") -> None:
        self._log.append(
            claim.session_id,
            kind,
            data,
            expires_at=claim.keep_until,
            producer=claim.next(),
            role="write",
            text=text,
        )

    def _renew(self, claim: _Claim) -> None:
        with self._database.writing() as db:
            if not self._transition(db, claim, lease_until=self._clock.now() + self._lease):
                raise _Lost
        self._limits.refresh(claim.owner, claim.generation_id, self._lease)

    def _transition(self, db_session: DatabaseSession, claim: _Claim, **values: Any) -> bool:
        """Change the row if this attempt still owns it."""
        changed: CursorResult[Any] = db_session.execute(  # type: ignore[assignment]
            update(Generation)
            .where(
                Generation.id == claim.generation_id,
                Generation.state == GenerationState.RUNNING,
                Generation.attempt == claim.attempt,
            )
            .values(**values)
        )
        return changed.rowcount == 1

    def _finish_done(self, claim: _Claim, done: _Done) -> None:
        usage = done.usage or Usage(0, 0)
        data = {
            "model": claim.model,
            "finish_reason": done.finish_reason,
            "usage": usage._asdict(),
            "length": len(claim.text),
        }
        self._finish(
            claim,
            GenerationState.DONE,
            data,
            finish_reason=done.finish_reason[:64],
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )

    def _finish_failed(self, claim: _Claim, error: SwitchboardError) -> None:
        data = {"problem": error.problem(), "length": len(claim.text)}
        self._finish(claim, GenerationState.FAILED, data, finish_reason=error.slug)

    def _finish(self, claim: _Claim, state: GenerationState, data: dict[str, Any], **values: Any) -> None:
        """End the generation, if this attempt still owns it: the row and an owned session's words in one
        transaction, then the event."""
        answer = self._answer(claim, state)
        with self._database.writing() as db:
            if not self._transition(db, claim, state=state, finished_at=self._clock.now(), untold=data, **values):
                return
            if not claim.anonymous:
                self._transcript.keep(answer, claim.session_id, db)
        # Before the event: who sees it may send the next message at once.
        self._limits.release(claim.owner, claim.generation_id)
        self._end(claim, state, data, answer)

    def _fail(self, generation_id: UUID, *, lapsed_before: datetime | None) -> bool:
        """End a live generation from outside its worker; whether this call was the one that did."""
        condition = Generation.lease_until < lapsed_before if lapsed_before else Generation.attempt == 0
        with self._database.reading() as db:
            session_id = db.get_one(Generation, generation_id).session_id
        text = self._transcript.partial(session_id) if lapsed_before else ""
        data = {"problem": GenerationLost().problem(), "length": len(text)}
        with self._database.writing() as db:
            row = db.execute(
                update(Generation)
                .where(Generation.id == generation_id, Generation.state.in_(LIVE), condition)
                .values(
                    state=GenerationState.FAILED,
                    attempt=Generation.attempt + 1,  # so that the log refuses what the lost worker may still send
                    finished_at=self._clock.now(),
                    finish_reason=GenerationLost.slug,
                    untold=data,
                )
                .returning(Generation.session_id, Generation.model, Generation.attempt)
            ).one_or_none()
            if row is None:
                return False
            session = db.get_one(Session, row.session_id)
            claim = self._claimed(generation_id, session, row.model, row.attempt)
            claim.text = text
            answer = self._answer(claim, GenerationState.FAILED)
            if not claim.anonymous:
                self._transcript.keep(answer, claim.session_id, db)
        self._limits.release(claim.owner, generation_id)
        self._end(claim, GenerationState.FAILED, data, answer)
        return True

    def _tell(self, generation_id: UUID) -> None:
        """Write the terminal event of a generation that ended while Redis was away. Safe to repeat."""
        with self._database.reading() as db:
            row = db.get_one(Generation, generation_id)
            session = db.get_one(Session, row.session_id)
        if row.untold is None:
            return
        claim = self._claimed(generation_id, session, row.model, row.attempt)
        claim.text = self._transcript.partial(session.id)
        state = GenerationState(row.state)
        self._end(claim, state, row.untold, self._answer(claim, state))

    def _answer(self, claim: _Claim, state: GenerationState) -> Message:
        kept: MessageState = "complete" if state is GenerationState.DONE else "failed"
        now = rfc3339(self._clock.now())
        return Message(str(claim.generation_id), "assistant", claim.text, claim.model, kept, now)

    def _end(self, claim: _Claim, state: GenerationState, data: dict[str, Any], answer: Message) -> None:
        """Write the terminal event, named after the state, and note that it has been told."""
        with suppress(Fenced):  # the log is lost, or its session: nobody is left to tell
            self._log.append(
                claim.session_id,
                state,
                {"generation_id": str(claim.generation_id), **data},
                expires_at=claim.keep_until,
                producer=Producer(claim.generation_id, claim.attempt, LAST),
                role="end",
                word=answer.dump() if claim.anonymous else "",
            )
        with self._database.writing() as db:
            db.execute(update(Generation).where(Generation.id == claim.generation_id).values(untold=None))


def keep_log_until(session: Session, now: datetime) -> datetime:
    """How long a log is kept: with an anonymous session's words, as long as the session; an owned session's
    words are in SQL, and its log is for readers who come back soon."""
    return session.expires_at if session.anonymous else min(session.expires_at, now + OWNED_LOG)


def check_size(message: str) -> None:
    """Raise MessageTooLarge when a message is longer than is taken."""
    size = len(message.encode())
    if size > MAX_MESSAGE:
        raise MessageTooLarge(f"The message has {size} bytes; at most {MAX_MESSAGE} are taken.", field="message")


def _title(message: str) -> str:
    """What a session is called until its owner says otherwise: how it began."""
    line = " ".join(message.split())
    return line if len(line) <= TITLE else line[: TITLE - 1] + "…"


def _waiting(db_session: DatabaseSession) -> int:
    query = select(func.count()).where(Generation.state == GenerationState.QUEUED)
    return db_session.scalar(query) or 0


def _explain(error: ProviderError, claim: _Claim) -> ProviderFailed:
    logger.warning(
        "provider failed: %s", error, extra={"generation_id": str(claim.generation_id), "model": claim.model}
    )
    return ProviderFailed(REASONS[error.kind], reason=error.kind, model=claim.model)
