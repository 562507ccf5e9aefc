"""What a session leaves in Redis goes with it, also when Redis is away just then: an outbox.

A note is written in the transaction that deletes sessions, or gives one an owner, so that neither can be without the
other: one row, a batch, for all sessions of the transaction. After the commit Redis is told, and then the note goes.
What Redis could not be told stays for the reaper. A batch of which something fails is taken apart: each removal has a
row of its own then, and one that fails holds up no other.
"""

import json
import logging
from collections.abc import Sequence
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import delete, insert, select
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
from core.stores.redis import Pipeline, Redis, RedisDamaged
from core.stores.tables import Removal, RemovalBatch, Session

logger = logging.getLogger(__name__)

MAX_SINGLE = 500
"""Removals with a row of their own that one drain carries out."""
MAX_BATCHES = 20
"""Batches that it does."""

Reason = Literal["deleted", "expired", "claimed"]


class Due(NamedTuple):
    """What is to be removed for one session."""

    session_id: UUID
    reason: Reason
    owner_id: UUID | None = None
    """The user whose limits counted the session's answers; None for an anonymous session, which is its own owner."""
    generation_id: UUID | None = None
    """The answer that was live."""
    listed: bool = True
    """Whether it was in its owner's list, so that its owner is told."""


class Batch(NamedTuple):
    """A note of what is to be removed once its transaction is committed."""

    id: UUID
    removals: Sequence[Due]


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

    def note(self, removals: Sequence[Due], db_session: DatabaseSession) -> Batch:
        """Write down, in the caller's transaction, what is to be removed after its commit."""
        batch = Batch(uuid7(), removals)
        if removals:
            noted = {"id": batch.id, "removals": _to_json(removals)}
            db_session.connection().execute(insert(RemovalBatch), noted)
        return batch

    def carry_out(self, batch: Batch) -> None:
        """Remove all this from Redis, and delete the note. Safe to repeat; what fails is left for `drain`."""
        try:
            if batch.removals:
                self._carry_out(batch)
        except Unavailable as error:
            logger.warning(
                "the words of up to %d sessions could not be removed yet, the reaper goes on: %s",
                len(batch.removals),
                error.reason,
            )

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
        reason: Reason = "deleted" if current is None else "claimed"
        with self._database.writing() as db:
            batch = self.note([Due(session.id, reason, session.owner_id, listed=not session.ephemeral)], db)
        self.carry_out(batch)
        return True

    def drain(self) -> int:
        """Carry out what is left, up to MAX_BATCHES batches and MAX_SINGLE rows; returns how many removals it was."""
        held = self._quarantine.held()
        batches = select(RemovalBatch.id).where(RemovalBatch.id.not_in(held)).order_by(RemovalBatch.id)
        single = select(Removal.id).where(Removal.id.not_in(held)).order_by(Removal.id)
        with self._database.reading() as db:
            batch_ids = db.scalars(batches.limit(MAX_BATCHES)).all()
            ids = db.scalars(single.limit(MAX_SINGLE)).all()
        done = len(ids)
        try:
            done += sum(self._quarantine.for_each(batch_ids, self._load_and_carry_out))
            self._quarantine.for_batch(ids, self._carry_out_single)
        except Unavailable as error:
            logger.warning(
                "what was left by sessions could not be removed yet, the reaper goes on: %s",
                error.reason,
            )
        return done

    def _load_and_carry_out(self, batch_id: UUID) -> int:
        with self._database.reading() as db:
            noted = db.scalar(select(RemovalBatch.removals).where(RemovalBatch.id == batch_id))
        # Its own process may have come to it meanwhile.
        return 0 if noted is None else self._carry_out(Batch(batch_id, _from_json(noted)))

    def _carry_out(self, batch: Batch) -> int:
        try:
            self._remove(batch.removals)
        except Exception as error:
            if isinstance(error, Unavailable) and not isinstance(error, RedisDamaged):
                raise
            self._quarantine.for_batch(self._take_apart(batch), self._carry_out_single)
        else:
            with self._database.writing_once() as db:
                db.connection().execute(delete(RemovalBatch).where(RemovalBatch.id == batch.id))
        return len(batch.removals)

    def _take_apart(self, batch: Batch) -> Sequence[UUID]:
        """Give each removal of the batch a row; returns their ids."""
        rows = [{"id": uuid7(), **removal._asdict()} for removal in batch.removals]
        with self._database.writing() as db:
            gone = delete(RemovalBatch).where(RemovalBatch.id == batch.id).returning(RemovalBatch.id)
            if db.connection().execute(gone).first() is None:  # another process has
                return []
            db.connection().execute(insert(Removal), rows)
        return [row["id"] for row in rows]

    def _carry_out_single(self, ids: Sequence[UUID]) -> None:
        columns = [getattr(Removal, field) for field in Due._fields]
        with self._database.reading() as db:
            removals = [Due(*row) for row in db.execute(select(*columns).where(among(Removal.id, ids, db)))]
        self._remove(removals)
        with self._database.writing() as db:
            # Past the ORM, which would have the database return each id.
            db.connection().execute(delete(Removal).where(among(Removal.id, ids, db)))

    def _remove(self, removals: Sequence[Due]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for removal in removals:
                if removal.reason == "claimed":
                    guests = keys(removal.session_id)
                    pipe.delete(guests.words, guests.settings)  # SQL has the words; the log goes on
            for reason in ("deleted", "expired"):
                self._add_close(pipe, [removal for removal in removals if removal.reason == reason], reason)
            pipe.execute()

    def _add_close(self, pipe: Pipeline, ended: Sequence[Due], reason: Reason) -> None:
        ids = [str(each.session_id) for each in ended]  # once: it takes longer than all else that is done to an id
        if ids:
            self._log.add_close(pipe, ids, reason)
        if guests := [text for each, text in zip(ended, ids, strict=True) if each.owner_id is None]:
            self._limits.add_forget_all(pipe, guests)
        add_deleted(
            pipe, [(each.owner_id, each.session_id) for each in ended if each.owner_id is not None and each.listed]
        )
        for each in ended:
            if each.owner_id is not None and each.generation_id is not None:
                self._limits.add_forget(pipe, each.owner_id, each.generation_id)


def _to_json(removals: Sequence[Due]) -> str:
    return json.dumps(
        [[each[0].hex, each[1], each[2] and each[2].hex, each[3] and each[3].hex, each[4]] for each in removals],
        separators=(",", ":"),
    )


def _from_json(text: str) -> Sequence[Due]:
    return [
        Due(UUID(session_id), reason, _uuid(owner_id), _uuid(generation_id), listed)
        for session_id, reason, owner_id, generation_id, listed in json.loads(text)
    ]


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)
