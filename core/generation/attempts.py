"""A worker's attempt at a generation: the row's transitions, each a compare-and-set that one caller wins."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, select, update
from sqlalchemy.orm import Session as DatabaseSession

from core.clock import Clock
from core.conversation.partial_answer import PartialAnswer
from core.conversation.position import Producer
from core.generation.thinking import Thinking
from core.generation.usage import shown, with_thinking
from core.limits.message_limits import owner_of
from core.llm.providers.base import ProviderError, Usage
from core.stores.database import Database
from core.stores.tables import IS_LIVE, Generation, GenerationState, Session

MAX_ATTEMPTS = 3
"""Workers that may try; a generation that outlives none of them is not tried for ever."""
ENQUEUE_TIMEOUT = timedelta(seconds=30)
"""How long the front end may take from a generation's row to its place in the queue; then it has died."""
QUEUE_TIMEOUT = timedelta(seconds=60)
"""How long a generation may wait while nobody else's turn comes either: then no worker is there."""
OWNED_LOG_TTL = timedelta(hours=24)


class LeaseLost(Exception):
    """Another attempt, or nobody any more, owns the generation: not a word further."""


@dataclass
class Attempt:
    """A generation that this process may write, and how far it has come."""

    generation_id: UUID
    session_id: UUID
    owner: UUID
    """Whose limits count it."""
    model: str
    """The model it was accepted with."""
    number: int
    anonymous: bool
    keep_until: datetime
    """How long the log lives."""
    stop_requested: bool = False
    text: str = ""
    """The answer so far, as the log has it. Its first character is one that can be seen."""
    thinking: Thinking = field(default_factory=Thinking)
    """What was thought for it, as the log has it."""
    seq: int = 0
    slot: str | None = None
    """The model of whose provider's slots it holds one."""
    holder: str = ""
    """As what it holds the slot."""
    prompt_tokens: int = 0
    """What the conversation counts for that the model was asked with; see core/generation/usage.py."""
    reported: Usage | None = None
    """What the provider counted, if one request wrote the whole answer."""
    failure: ProviderError | None = None
    """What the model that was asked last has failed with."""

    @property
    def usage(self) -> Usage:
        """What the answer counts for."""
        if self.reported is not None:
            return with_thinking(self.reported, self.text, self.thinking.text)
        return self.shown

    @property
    def shown(self) -> Usage:
        """The same by what was asked and shown, whatever the provider counted."""
        return shown(self.prompt_tokens, self.text, self.thinking.text)

    def go_on_from(self, written: PartialAnswer) -> None:
        """Carry on what there is."""
        self.text = written.text
        self.thinking = Thinking(written.thinking, written.thinking_ms)

    def next(self) -> Producer:
        """Who appends the next event."""
        self.seq += 1
        return Producer(self.generation_id, self.number, self.seq)


class Attempts:
    """Claims generations, keeps them, hands them on."""

    def __init__(self, database: Database, clock: Clock, lease: timedelta) -> None:
        self._database = database
        self._clock = clock
        self.lease = lease
        """How long a silent worker keeps a generation."""

    def claim(self, generation_id: UUID) -> Attempt | None:
        """Take a queued generation, or None when it is not queued (any more)."""
        now = self._clock.now()
        with self._database.writing() as db:
            row = db.execute(
                update(Generation)
                .where(Generation.id == generation_id, Generation.state == GenerationState.QUEUED)
                .values(
                    state=GenerationState.RUNNING,
                    attempt=Generation.attempt + 1,
                    started_at=now,
                    lease_until=now + self.lease,
                )
                .returning(Generation.attempt)
            ).one_or_none()
            return None if row is None else self.from_row(db.get_one(Generation, generation_id), db)

    def from_row(self, row: Generation, db_session: DatabaseSession) -> Attempt:
        """The attempt that a row is at."""
        session = db_session.get_one(Session, row.session_id)
        return Attempt(
            row.id,
            session.id,
            owner_of(session),
            row.model,
            row.attempt,
            session.anonymous,
            keep_log_until(session, self._clock.now()),
            row.stop_requested,
            holder=new_holder(row.id),
        )

    def renew(self, attempt: Attempt) -> None:
        """Say that the attempt is alive, and learn whether it has been asked to stop. Raises LeaseLost."""
        with self._database.writing() as db:
            if not change(db, attempt, lease_until=self._clock.now() + self.lease):
                raise LeaseLost
            attempt.stop_requested = db.get_one(Generation, attempt.generation_id).stop_requested

    def seize(self, attempt: Attempt, *conditions: ColumnElement[bool]) -> bool:
        """Take a live generation, as the attempt that follows, from the worker that it has or had; whether this call
        did."""
        with self._database.writing() as db:
            seized = matched(
                db,
                attempt.generation_id,
                IS_LIVE,
                Generation.attempt == attempt.number,
                *conditions,
                state=GenerationState.RUNNING,
                attempt=attempt.number + 1,
                lease_until=self._clock.now() + self.lease,
            )
        attempt.number += seized
        return seized

    def hand_off(self, attempt: Attempt) -> None:
        """Give the generation back to the queue, for the next worker to carry on. Raises LeaseLost."""
        with self._database.writing() as db:
            if not change(db, attempt, state=GenerationState.QUEUED, lease_until=self._clock.now() + QUEUE_TIMEOUT):
                raise LeaseLost

    def hand_off_lapsed(self, generation_id: UUID) -> bool:
        """The same for one whose worker has been silent for its lease; whether this call did it."""
        now = self._clock.now()
        with self._database.writing() as db:
            return matched(
                db,
                generation_id,
                Generation.state == GenerationState.RUNNING,
                Generation.lease_until < now,
                Generation.attempt < MAX_ATTEMPTS,
                Generation.stop_requested.is_(False),
                state=GenerationState.QUEUED,
                lease_until=now + QUEUE_TIMEOUT,
            )


def new_holder(generation_id: UUID) -> str:
    """As what a provider's slot is held, for a generation: one that nobody else has, so that whoever loses a race for
    it, or has been lost, gives away no slot but its own."""
    return f"{generation_id}:{secrets.token_hex(4)}"


def lock_session(db_session: DatabaseSession, session_id: UUID) -> None:
    """Let nobody delete the session before the transaction ends. To be done before a generation of it is changed and
    words are kept: whoever deletes it locks the two in this order, and neither must wait for the other."""
    db_session.execute(select(Session.id).where(Session.id == session_id).with_for_update(read=True, key_share=True))


def change(db_session: DatabaseSession, attempt: Attempt, **values: Any) -> bool:
    """Change the row if this attempt still owns it."""
    return matched(
        db_session,
        attempt.generation_id,
        Generation.state == GenerationState.RUNNING,
        Generation.attempt == attempt.number,
        **values,
    )


def matched(
    db_session: DatabaseSession, generation_id: UUID, *conditions: ColumnElement[bool], **values: Any
) -> bool:
    """Change the row if all conditions hold."""
    changed: CursorResult[Any] = db_session.execute(  # type: ignore[assignment]
        update(Generation).where(Generation.id == generation_id, *conditions).values(**values)
    )
    return changed.rowcount == 1


def keep_log_until(session: Session, now: datetime) -> datetime:
    """How long a log is kept: with an anonymous session's words, as long as the session; an owned session's
    words are in SQL, and its log is for readers who come back soon."""
    return session.expires_at if session.anonymous else min(session.expires_at, now + OWNED_LOG_TTL)
