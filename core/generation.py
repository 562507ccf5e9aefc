"""GenerationService: accepts a message, writes its answer, ends it exactly once.

A generation is a row with one owner at a time. Every transition is a compare-and-set in SQL; who wins it,
and nobody else, writes the event that tells of it.
"""

import logging
import time
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
    SwitchboardError,
)
from core.event_log import EventLog, Fenced, Position, Producer
from core.history import fit
from core.models import LIVE, Generation, GenerationState, Session
from core.providers import REASONS, ErrorKind, ProviderError, Turn, Usage
from core.pump import Pump
from core.session_service import SessionService
from core.transcript import Message, Transcript

logger = logging.getLogger(__name__)

MAX_MESSAGE = 32 * 1024
"""Bytes of UTF-8 in one message."""
COALESCE = 0.03
"""Seconds over which text is gathered into one event; the first token does not wait."""
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
    model: str
    attempt: int
    expires_at: datetime
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
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._pool = pool
        self._log = log
        self._transcript = transcript
        self._clock = clock
        self._lease = lease
        self.stopping = Flag()
        """Set when the process has been told to stop: answers end between two tokens."""

    def accept(self, session: Session, message: str) -> Accepted:
        """Take a message of a validated session: a row, and the event `queued` with the words.

        Raises MessageTooLarge, GenerationInProgress, SessionExpired or Unavailable. The caller queues the
        generation, and calls `withdraw` when it can't.
        """
        check_size(message)
        now = self._clock.now()
        generation = Generation(
            id=uuid7(),
            session_id=session.id,
            model=self._sessions.current_model(session),
            state=GenerationState.QUEUED,
            attempt=0,
            lease_until=now + QUEUE_PATIENCE,
            created_at=now,
        )
        with self._database.writing() as db:
            expires_at = self._sessions.extend_session(session.id, db)
            position = _waiting(db)
            try:
                with db.begin_nested():
                    db.add(generation)
            except sql_exc.IntegrityError:
                raise GenerationInProgress from None
        try:
            before = self._announce(generation, session.id, message, position, expires_at)
        except Exception:
            self.withdraw(generation.id)
            raise
        return Accepted(session.id, generation.id, position, before)

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
        except Exception:
            logger.exception("failed", extra={"generation_id": str(generation_id)})
            self._finish_failed(claim, SwitchboardError())
            raise

    def reap(self) -> int:
        """Fail the live generations whose worker has been silent for a lease; returns how many."""
        now = self._clock.now()
        with self._database.reading() as db:
            lapsed = db.scalars(
                select(Generation.id).where(Generation.state.in_(LIVE), Generation.lease_until < now).limit(500)
            ).all()
        return sum(self._fail(generation_id, lapsed_before=now) for generation_id in lapsed)

    def _announce(
        self, generation: Generation, session_id: UUID, text: str, position: int, expires_at: datetime
    ) -> Position:
        at = rfc3339(generation.created_at)
        word = Message(str(uuid7()), "user", text, None, "complete", at)
        answer = Message(str(generation.id), "assistant", "", generation.model, "streaming", at)
        queued = self._log.append(
            session_id,
            "queued",
            {"generation_id": str(generation.id), "position": position},
            expires_at=expires_at,
            producer=Producer(generation.id, 0, 0),
            role="begin",
            word=word.dump(),
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
            session = db.get_one(Session, row.session_id)
            return _Claim(generation_id, row.session_id, row.model, row.attempt, session.expires_at)

    def _write(self, claim: _Claim) -> None:
        """Stream the answer into the log. Always leaves by an _Outcome or Fenced."""
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
        # The last message is the answer to be written, still empty.
        messages = self._transcript.read(claim.session_id).messages[:-1]
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
            expires_at=claim.expires_at,
            producer=claim.next(),
            role="write",
            text=text,
        )

    def _renew(self, claim: _Claim) -> None:
        if not self._transition(claim, lease_until=self._clock.now() + self._lease):
            raise _Lost

    def _transition(self, claim: _Claim, **values: Any) -> bool:
        """Change the row if this attempt still owns it."""
        with self._database.writing() as db:
            changed: CursorResult[Any] = db.execute(  # type: ignore[assignment]
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
        if not self._transition(
            claim,
            state=GenerationState.DONE,
            finished_at=self._clock.now(),
            finish_reason=done.finish_reason[:64],
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        ):
            return
        data = {
            "model": claim.model,
            "finish_reason": done.finish_reason,
            "usage": usage._asdict(),
            "length": len(claim.text),
        }
        self._end(claim, "done", data, state="complete")

    def _finish_failed(self, claim: _Claim, error: SwitchboardError) -> None:
        if self._transition(
            claim, state=GenerationState.FAILED, finished_at=self._clock.now(), finish_reason=error.slug
        ):
            self._end(claim, "failed", {"problem": error.problem(), "length": len(claim.text)}, state="failed")

    def _fail(self, generation_id: UUID, *, lapsed_before: datetime | None) -> bool:
        """End a live generation from outside its worker; whether this call was the one that did."""
        condition = Generation.lease_until < lapsed_before if lapsed_before else Generation.attempt == 0
        with self._database.writing() as db:
            row = db.execute(
                update(Generation)
                .where(Generation.id == generation_id, Generation.state.in_(LIVE), condition)
                .values(
                    state=GenerationState.FAILED,
                    attempt=Generation.attempt + 1,  # so that the log refuses what the lost worker may still send
                    finished_at=self._clock.now(),
                    finish_reason=GenerationLost.slug,
                )
                .returning(Generation.session_id, Generation.model, Generation.attempt)
            ).one_or_none()
            session = None if row is None else db.get_one(Session, row.session_id)
        if row is None or session is None:
            return False
        claim = _Claim(generation_id, session.id, row.model, row.attempt, session.expires_at)
        claim.text = self._transcript.partial(session.id)
        self._end(claim, "failed", {"problem": GenerationLost().problem(), "length": len(claim.text)}, "failed")
        return True

    def _end(self, claim: _Claim, kind: str, data: dict[str, Any], state: Any) -> None:
        now = rfc3339(self._clock.now())
        word = Message(str(claim.generation_id), "assistant", claim.text, claim.model, state, now)
        self._log.append(
            claim.session_id,
            kind,
            {"generation_id": str(claim.generation_id), **data},
            expires_at=claim.expires_at,
            producer=claim.next(),
            role="end",
            word=word.dump(),
        )


def check_size(message: str) -> None:
    """Raise MessageTooLarge when a message is longer than is taken."""
    size = len(message.encode())
    if size > MAX_MESSAGE:
        raise MessageTooLarge(f"The message has {size} bytes; at most {MAX_MESSAGE} are taken.", field="message")


def _waiting(db_session: DatabaseSession) -> int:
    query = select(func.count()).where(Generation.state == GenerationState.QUEUED)
    return db_session.scalar(query) or 0


def _explain(error: ProviderError, claim: _Claim) -> ProviderFailed:
    logger.warning(
        "provider failed: %s", error, extra={"generation_id": str(claim.generation_id), "model": claim.model}
    )
    return ProviderFailed(REASONS[error.kind], reason=error.kind, model=claim.model)
