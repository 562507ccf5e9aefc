"""What a session leaves in Redis goes with it, also when Redis is away just then: an outbox.

A `removal` row is written in the transaction that deletes the session, or gives it an owner, so that neither can be
without the other. After the commit Redis is told, and then the row goes. What Redis could not be told stays for the
reaper.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Literal
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.conversation.event_log import add_close, keys
from core.errors import Unavailable
from core.limits.message_limits import MessageLimits
from core.stores.database import Database
from core.stores.redis import Pipeline, Redis
from core.stores.tables import Removal, Session

logger = logging.getLogger(__name__)

BATCH = 500
"""Removals that one round trip to Redis, and one statement, takes."""

Reason = Literal["deleted", "expired", "claimed"]


class Removals:
    """The outbox."""

    def __init__(self, database: Database, redis: Redis, limits: MessageLimits) -> None:
        self._database = database
        self._redis = redis
        self._limits = limits

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
        """Remove all this from Redis, and note that it is done. Safe to repeat; what fails is left for `drain`."""
        for some in _batches(removals):
            try:
                with self._redis.pipeline(transaction=False) as pipe:
                    for removal in some:
                        self._add(pipe, removal)
                    pipe.execute()
                with self._database.writing() as db:
                    db.execute(delete(Removal).where(Removal.id.in_([removal.id for removal in some])))
            except Unavailable as error:
                logger.warning(
                    "the words of %d sessions could not be removed yet, the reaper goes on: %s",
                    len(some),
                    type(error.cause).__name__,
                )
                return

    def remove_if_gone(self, session: Session) -> bool:
        """Remove what has just been written for a session, if that has been deleted or claimed meanwhile; whether it
        has.

        To be called after the write. Who deletes or claims a session changes its row first and then what is in Redis:
        so either they saw the write, or this sees what has become of the row. Raises Unavailable.
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
        with self._database.reading() as db:
            left = db.scalars(select(Removal).order_by(Removal.id).limit(BATCH)).all()
        self.carry_out(left)
        return len(left)

    def _add(self, pipe: Pipeline, removal: Removal) -> None:
        if removal.reason == "claimed":
            pipe.delete(keys(removal.session_id).words)  # SQL has the words; the log goes on
            return
        add_close(pipe, removal.session_id, removal.reason)
        if removal.owner_id is None:
            self._limits.add_forget(pipe, removal.session_id)
        elif removal.generation_id is not None:
            self._limits.add_forget(pipe, removal.owner_id, removal.generation_id)


def _batches(removals: Sequence[Removal]) -> Iterable[Sequence[Removal]]:
    return (removals[at : at + BATCH] for at in range(0, len(removals), BATCH))
