"""What a session leaves in Redis goes with it, also when Redis is away just then: an outbox.

A `removal` row is written in the transaction that deletes the session, or gives it an owner, so that neither can be
without the other. After the commit Redis is told, and then the row goes. What Redis could not be told stays for the
reaper. A removal that fails holds up no other.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Literal
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.conversation.event_log import add_close
from core.conversation.keys import keys
from core.errors import Unavailable
from core.limits.message_limits import MessageLimits
from core.stores.database import Database
from core.stores.quarantine import Quarantine
from core.stores.redis import Pipeline, Redis
from core.stores.tables import Removal, Session

logger = logging.getLogger(__name__)

BATCH_SIZE = 500
"""Removals that one round trip to Redis, and one statement, takes."""

Reason = Literal["deleted", "expired", "claimed"]


class Removals:
    """The outbox."""

    def __init__(self, database: Database, redis: Redis, limits: MessageLimits, quarantine: Quarantine[UUID]) -> None:
        self._database = database
        self._redis = redis
        self._limits = limits
        self._quarantine = quarantine

    def note(
        self,
        db_session: DatabaseSession,
        session_id: UUID,
        reason: Reason,
        *,
        owner_id: UUID | None = None,
        generation_id: UUID | None = None,
    ) -> Removal:
        """Write down, in the caller's transaction, what is to be removed after its commit."""
        removal = Removal(
            id=uuid7(), session_id=session_id, reason=reason, owner_id=owner_id, generation_id=generation_id
        )
        db_session.add(removal)
        return removal

    def carry_out(self, removals: Sequence[Removal]) -> None:
        """Remove all this from Redis, and delete the rows. Safe to repeat; what fails is left for `drain`."""
        by_id = {removal.id: removal for removal in removals}
        self._carry_out(list(by_id), lambda ids: self._remove([by_id[each] for each in ids]))

    def remove_if_gone(self, session: Session) -> bool:
        """Remove what has just been written for a session, if that has been deleted or claimed meanwhile; whether it
        has.

        To be called after the write. A deletion or a claim changes the row first and then what is in Redis: so either
        it saw the write, or this call sees what has become of the row. Raises Unavailable.
        """
        with self._database.reading() as db:
            current = db.get(Session, session.id)
        if current is not None and current.owner_id == session.owner_id:
            return False
        with self._database.writing() as db:
            reason: Reason = "deleted" if current is None else "claimed"
            removal = self.note(db, session.id, reason, owner_id=session.owner_id)
        self.carry_out([removal])
        return True

    def drain(self) -> int:
        """Carry out what is left, the oldest first; returns how many there were."""
        to_try = Removal.id.not_in(self._quarantine.held())
        left = select(Removal.id).where(to_try).order_by(Removal.id).limit(BATCH_SIZE)
        with self._database.reading() as db:
            ids = db.scalars(left).all()
        self._carry_out(ids, lambda some: self._remove(self._load(some)))
        return len(ids)

    def _carry_out(self, ids: Sequence[UUID], remove: Callable[[Sequence[UUID]], None]) -> None:
        try:
            for some in _batches(ids):
                self._quarantine.for_batch(some, remove)
        except Unavailable as error:
            logger.warning(
                "the words of up to %d sessions could not be removed yet, the reaper goes on: %s",
                len(ids),
                type(error.cause).__name__,
            )

    def _load(self, ids: Sequence[UUID]) -> Sequence[Removal]:
        with self._database.reading() as db:
            return db.scalars(select(Removal).where(Removal.id.in_(ids))).all()

    def _remove(self, removals: Sequence[Removal]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for removal in removals:
                self._add(pipe, removal)
            pipe.execute()
        with self._database.writing() as db:
            db.execute(delete(Removal).where(Removal.id.in_([removal.id for removal in removals])))

    def _add(self, pipe: Pipeline, removal: Removal) -> None:
        if removal.reason == "claimed":
            pipe.delete(keys(removal.session_id).words)  # SQL has the words; the log goes on
            return
        add_close(pipe, removal.session_id, removal.reason)
        if removal.owner_id is None:
            self._limits.add_forget(pipe, removal.session_id)
        elif removal.generation_id is not None:
            self._limits.add_forget(pipe, removal.owner_id, removal.generation_id)


def _batches(ids: Sequence[UUID]) -> Iterable[Sequence[UUID]]:
    return (ids[at : at + BATCH_SIZE] for at in range(0, len(ids), BATCH_SIZE))
