"""The end of a session's life: its row, and after the commit its words and its log."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session as DatabaseSession

from core.clock import Clock
from core.conversation.removals import Removals
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.tables import IS_LIVE, Generation, Session, User

BATCH = 500
"""Rows in one transaction, so that a long sweep never holds the write lock for long."""
MAX_BATCHES = 200
"""Batches in one run; the next run goes on."""


class Sweeper:
    """Ends sessions: one, all that have expired, or all of an account that has been given up."""

    def __init__(self, database: Database, sessions: SessionService, removals: Removals, clock: Clock) -> None:
        self._database = database
        self._sessions = sessions
        self._removals = removals
        self._clock = clock

    def sweep_expired(self, batch: int = BATCH) -> int:
        """Delete expired sessions in bounded batches; returns how many."""
        swept = 0
        for _ in range(MAX_BATCHES):
            with self._database.writing() as db:
                owners = self._sessions.lock_expired(db, batch)
                live = _live_answers(db, owners)
                self._sessions.delete_sessions(owners, db)
                removals = [
                    self._removals.note(
                        db, session_id, "expired", owner_id=owner_id, generation_id=live.get(session_id)
                    )
                    for session_id, owner_id in owners.items()
                ]
            self._removals.carry_out(removals)
            swept += len(owners)
            if len(owners) < batch:
                break
        return swept

    def delete(self, session: Session) -> None:
        """End one session now, which the caller has validated; nothing happens to one that has ended already.

        Raises SessionInvalid or NotOwner when it is somebody else's by now.
        """
        with self._database.writing() as db:
            if not self._sessions.lock_session(session, db):
                if db.get(Session, session.id) is not None:
                    self._sessions.validate_session(
                        session.id, db, session.owner_id, require_valid=True, secret_hash=session.secret_hash
                    )
                return
            # The worker finds its row gone and stops, but can't know any more whose lease it was.
            live = _live_answers(db, [session.id])
            self._sessions.delete_sessions([session.id], db)
            removal = self._removals.note(
                db, session.id, "deleted", owner_id=session.owner_id, generation_id=live.get(session.id)
            )
        self._removals.carry_out([removal])

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
                live = _live_answers(db, ids)
                self._sessions.delete_sessions(ids, db)
                removals = [
                    self._removals.note(
                        db, session_id, "deleted", owner_id=user_id, generation_id=live.get(session_id)
                    )
                    for session_id in ids
                ]
                if len(ids) < BATCH:
                    db.execute(delete(User).where(User.id == user_id, User.deleted_at.is_not(None)))
            self._removals.carry_out(removals)
            if len(ids) < BATCH:
                return


def _live_answers(db_session: DatabaseSession, session_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """By session, the generation that is live. With the sessions' rows locked, none is added."""
    live = select(Generation.session_id, Generation.id).where(Generation.session_id.in_(session_ids), IS_LIVE)
    return dict(db_session.execute(live).all())
