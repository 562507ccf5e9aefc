"""The sweep: sessions that have expired, and accounts that have been given up, in bounded batches."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, delete, select

from core.conversation.removals import Removals
from core.sessions.deletion import Deletion
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.quarantine import Quarantine
from core.stores.tables import Session, User

BATCH = 500
"""Rows in one transaction, so that a long sweep never holds the write lock for long."""
MAX_BATCHES = 200
"""Batches in one run; the next run goes on."""


class Sweeper:
    """Deletes sessions: all that have expired, and all of an account that has been given up."""

    def __init__(
        self,
        database: Database,
        sessions: SessionService,
        deletion: Deletion,
        removals: Removals,
        quarantine: Quarantine[UUID],
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._deletion = deletion
        self._removals = removals
        self._quarantine = quarantine

    def sweep_expired(self, batch: int = BATCH) -> int:
        """Delete expired sessions in bounded batches; returns how many.

        A session that can't be deleted holds up no other. Raises Unavailable when the database is away.
        """
        swept = 0
        for _ in range(MAX_BATCHES):
            with self._database.reading() as db:
                expired = self._sessions.find_expired(db, batch, excluding=self._quarantine.held())
            swept += sum(self._quarantine.for_batch(expired, self._delete_expired))
            if len(expired) < batch:
                break
        return swept

    def finish_deletions(self) -> int:
        """Remove the accounts that have been given up and are still there; returns how many were removed."""
        given_up = select(User.id).where(User.deleted_at.is_not(None), User.id.not_in(self._quarantine.held()))
        with self._database.reading() as db:
            ids = db.scalars(given_up.limit(BATCH)).all()
        return len(self._quarantine.for_each(ids, self._finish_deletion))

    def remove_account(self, user_id: UUID) -> bool:
        """Remove an account that has been given up: its sessions first, in bounded batches, and then the rest.

        Returns whether it is gone.

        Nobody can use it any more, so no session is added. Safe to repeat, and to run twice at once. A session that
        can't be deleted holds up no other, and the account stays with it for the next sweep. Raises Unavailable.
        """
        while ids := self._find_given_up(user_id):
            self._quarantine.for_batch(ids, lambda some: self._delete_given_up(user_id, some))
        with self._database.writing() as db:
            if db.scalar(_owned_by_given_up(user_id).limit(1)) is not None:
                return False
            db.execute(delete(User).where(User.id == user_id, User.deleted_at.is_not(None)))
        return True

    def _finish_deletion(self, user_id: UUID) -> None:
        if not self.remove_account(user_id):
            raise RuntimeError("sessions of the account are left")  # so that others are looked at before it

    def _find_given_up(self, user_id: UUID) -> Sequence[UUID]:
        with self._database.reading() as db:
            return db.scalars(_owned_by_given_up(user_id).where(Session.id.not_in(self._quarantine.held()))).all()

    def _delete_given_up(self, user_id: UUID, session_ids: Sequence[UUID]) -> None:
        with self._database.writing() as db:
            mine = _owned_by_given_up(user_id).where(Session.id.in_(session_ids)).with_for_update(of=Session)
            removals = self._deletion.delete_locked(dict.fromkeys(db.scalars(mine), user_id), "deleted", db)
        self._removals.carry_out(removals)

    def _delete_expired(self, session_ids: Sequence[UUID]) -> int:
        """Delete those of the sessions that are still expired and that no other sweep has locked."""
        with self._database.writing() as db:
            owners = self._sessions.lock_expired(db, len(session_ids), among=session_ids)
            removals = self._deletion.delete_locked(owners, "expired", db)
        self._removals.carry_out(removals)
        return len(removals)


def _owned_by_given_up(user_id: UUID) -> Select[UUID]:
    """Up to BATCH sessions of an account that has been given up."""
    given_up = User.deleted_at.is_not(None)
    return select(Session.id).join(User, User.id == Session.owner_id).where(User.id == user_id, given_up).limit(BATCH)
