"""The sweep: sessions that have expired, and accounts that have been given up, in bounded batches."""

from uuid import UUID

from sqlalchemy import delete, select

from core.conversation.removals import Removals
from core.sessions.deletion import Deletion
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.tables import Session, User

BATCH = 500
"""Rows in one transaction, so that a long sweep never holds the write lock for long."""
MAX_BATCHES = 200
"""Batches in one run; the next run goes on."""


class Sweeper:
    """Deletes sessions: all that have expired, and all of an account that has been given up."""

    def __init__(self, database: Database, sessions: SessionService, deletion: Deletion, removals: Removals) -> None:
        self._database = database
        self._sessions = sessions
        self._deletion = deletion
        self._removals = removals

    def sweep_expired(self, batch: int = BATCH) -> int:
        """Delete expired sessions in bounded batches; returns how many."""
        swept = 0
        for _ in range(MAX_BATCHES):
            with self._database.writing() as db:
                owners = self._sessions.lock_expired(db, batch)
                removals = self._deletion.delete_locked(owners, "expired", db)
            self._removals.carry_out(removals)
            swept += len(owners)
            if len(owners) < batch:
                break
        return swept

    def finish_deletions(self) -> int:
        """Remove the accounts that have been given up and are still there; returns how many."""
        with self._database.reading() as db:
            ids = db.scalars(select(User.id).where(User.deleted_at.is_not(None)).limit(BATCH)).all()
        for user_id in ids:
            self.remove_account(user_id)
        return len(ids)

    def remove_account(self, user_id: UUID) -> None:
        """Remove an account that has been given up: its sessions first, in bounded batches, and then the rest.

        Nobody can use it any more, so no session is added. Safe to repeat, and to run twice at once.
        """
        while True:
            with self._database.writing() as db:
                user = db.scalar(
                    select(User.id).where(User.id == user_id, User.deleted_at.is_not(None)).with_for_update()
                )
                owned = select(Session.id).where(Session.owner_id == user_id).limit(BATCH).with_for_update()
                ids = [] if user is None else db.scalars(owned).all()
                removals = self._deletion.delete_locked(dict.fromkeys(ids, user_id), "deleted", db)
                if len(ids) < BATCH:
                    db.execute(delete(User).where(User.id == user_id, User.deleted_at.is_not(None)))
            self._removals.carry_out(removals)
            if len(ids) < BATCH:
                return
