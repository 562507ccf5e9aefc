"""What a session leaves in Redis goes with it, also when Redis is away just then: an outbox.

A `removal` row is written in the transaction that deletes the session, or gives it an owner, so that neither can be
without the other. After the commit Redis is told, and then the row goes. What Redis could not be told stays for the
reaper. A removal that fails holds up no other.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import and_, delete, insert, literal, select
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.conversation.event_log import EventLog
from core.conversation.keys import keys
from core.conversation.user_events import add_deleted
from core.errors import Unavailable
from core.limits.message_limits import MessageLimits
from core.stores.among import among
from core.stores.database import Database
from core.stores.quarantine import Quarantine
from core.stores.redis import Pipeline, Redis
from core.stores.tables import IS_LIVE, Generation, NewId, Removal, Session

logger = logging.getLogger(__name__)

BATCH_SIZE = 500
"""Removals that one round trip to Redis, and one statement, takes."""

Reason = Literal["deleted", "expired", "claimed"]


class Due(NamedTuple):
    """What a `removal` row says, without the row's cost: a sweep has millions."""

    id: UUID
    session_id: UUID
    reason: Reason
    owner_id: UUID | None
    generation_id: UUID | None
    listed: bool = True


_COLUMNS = tuple(getattr(Removal, field) for field in Due._fields)


class Removals:
    """The outbox."""

    def __init__(
        self, database: Database, redis: Redis, log: EventLog, limits: MessageLimits, quarantine: Quarantine[UUID]
    ) -> None:
        self._database = database
        self._redis = redis
        self._log = log
        self._limits = limits
        self._quarantine = quarantine

    def note(
        self,
        db_session: DatabaseSession,
        session_id: UUID,
        reason: Reason,
        owner_id: UUID | None = None,
        *,
        listed: bool = True,
    ) -> Due:
        """Write down, in the caller's transaction, what is to be removed after its commit."""
        due = Due(uuid7(), session_id, reason, owner_id, None, listed)
        db_session.execute(insert(Removal), [due._asdict()])
        return due

    def note_all(self, db_session: DatabaseSession, session_ids: Collection[UUID], reason: Reason) -> list[Due]:
        """As `note`, for sessions whose rows the caller has locked and is about to delete, with their owners and the
        answers that are live."""
        # With the sessions' rows locked, no answer is added.
        rows = (
            select(
                NewId(), Session.id, literal(reason), Session.owner_id, Generation.id, Session.ephemeral.is_(False)
            )
            .outerjoin(Generation, and_(Generation.session_id == Session.id, IS_LIVE))
            .where(among(Session.id, session_ids, db_session))
        )
        noted = insert(Removal).from_select(Due._fields, rows).returning(*_COLUMNS)
        return [Due._make(row) for row in db_session.connection().execute(noted).all()]

    def carry_out(self, removals: Sequence[Due]) -> None:
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
            removal = self.note(db, session.id, reason, session.owner_id, listed=not session.ephemeral)
        self.carry_out([removal])
        return True

    def drain(self) -> int:
        """Carry out what is left, up to BATCH_SIZE; returns how many there were."""
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
                error.reason,
            )

    def _load(self, ids: Sequence[UUID]) -> Sequence[Due]:
        with self._database.reading() as db:
            return [Due(*row) for row in db.execute(select(*_COLUMNS).where(among(Removal.id, ids, db)))]

    def _remove(self, removals: Sequence[Due]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for removal in removals:
                if removal.reason == "claimed":
                    guests = keys(removal.session_id)
                    pipe.delete(guests.words, guests.settings)  # SQL has the words; the log goes on
            for reason in ("deleted", "expired"):
                self._add_close(pipe, [removal for removal in removals if removal.reason == reason], reason)
            pipe.execute()
        with self._database.writing() as db:
            # Past the ORM, which would have the database return each id.
            db.connection().execute(delete(Removal).where(among(Removal.id, [each.id for each in removals], db)))

    def _add_close(self, pipe: Pipeline, ended: Sequence[Due], reason: Reason) -> None:
        if ended:
            self._log.add_close(pipe, [each.session_id for each in ended], reason)
        if guests := [each.session_id for each in ended if each.owner_id is None]:
            self._limits.add_forget_all(pipe, guests)
        add_deleted(
            pipe, [(each.owner_id, each.session_id) for each in ended if each.owner_id is not None and each.listed]
        )
        for each in ended:
            if each.owner_id is not None and each.generation_id is not None:
                self._limits.add_forget(pipe, each.owner_id, each.generation_id)


def _batches(ids: Sequence[UUID]) -> Iterable[Sequence[UUID]]:
    return (ids[at : at + BATCH_SIZE] for at in range(0, len(ids), BATCH_SIZE))
