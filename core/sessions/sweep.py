"""The end of a session's life: its row, and after the commit its words and its log."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session as DatabaseSession

from core.conversation.removals import Reason, Removals
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.quarantine import Quarantine
from core.stores.tables import IS_LIVE, Generation, Removal, Session, User

BATCH = 500
"""Rows in one transaction, so that a long sweep never holds the write lock for long."""
MAX_BATCHES = 200
"""Batches in one run; the next run goes on."""


class Sweeper:
    """Ends sessions: one, all that have expired, or all of an account that has been given up."""

    def __init__(
        self, database: Database, sessions: SessionService, removals: Removals, quarantine: Quarantine[UUID]
    ) -> None:
        self._database = database
        self._sessions = sessions
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
            removals = self._delete_locked(db, {session.id: session.owner_id}, "deleted")
        self._removals.carry_out(removals)

    def finish_deletions(self) -> int:
        """Remove the accounts that have been given up and are still there; returns how many were removed."""
        given_up = select(User.id).where(User.deleted_at.is_not(None), User.id.not_in(self._quarantine.held()))
        with self._database.reading() as db:
            ids = db.scalars(given_up.limit(BATCH)).all()
        return len(self._quarantine.for_each(ids, self.remove_account))

    def remove_account(self, user_id: UUID) -> None:
        """Remove an account that has been given up: its sessions first, in bounded batches, and then the rest.

        Nobody can use it any more, so no session is added. Safe to repeat, and to run twice at once. A session that
        can't be deleted holds up no other, but the account. Raises what deleting the account's row raises.
        """
        while ids := self._find_given_up(user_id):
            self._quarantine.for_batch(ids, lambda some: self._delete_given_up(user_id, some))
        with self._database.writing() as db:
            db.execute(delete(User).where(User.id == user_id, User.deleted_at.is_not(None)))

    def _find_given_up(self, user_id: UUID) -> Sequence[UUID]:
        with self._database.reading() as db:
            return db.scalars(_owned_by_given_up(user_id).where(Session.id.not_in(self._quarantine.held()))).all()

    def _delete_given_up(self, user_id: UUID, session_ids: Sequence[UUID]) -> None:
        with self._database.writing() as db:
            mine = _owned_by_given_up(user_id).where(Session.id.in_(session_ids)).with_for_update(of=Session)
            removals = self._delete_locked(db, dict.fromkeys(db.scalars(mine), user_id), "deleted")
        self._removals.carry_out(removals)

    def _delete_expired(self, session_ids: Sequence[UUID]) -> int:
        """Delete those of the sessions that are still expired and that no other sweep has locked."""
        with self._database.writing() as db:
            removals = self._delete_locked(
                db, self._sessions.lock_expired(db, len(session_ids), among=session_ids), "expired"
            )
        self._removals.carry_out(removals)
        return len(removals)

    def _delete_locked(
        self, db_session: DatabaseSession, owners: Mapping[UUID, UUID | None], reason: Reason
    ) -> list[Removal]:
        """Delete locked sessions, given with their owners, in the caller's transaction; returns what is to be carried
        out after its commit."""
        # The worker finds its row gone and stops, but can't know any more whose lease it was.
        live = _live_answers(db_session, owners)
        self._sessions.delete_sessions(owners, db_session)
        return [
            self._removals.note(db_session, session_id, reason, owner_id=owner_id, generation_id=live.get(session_id))
            for session_id, owner_id in owners.items()
        ]


def _owned_by_given_up(user_id: UUID) -> Select[UUID]:
    """Up to BATCH sessions of an account that has been given up."""
    given_up = User.deleted_at.is_not(None)
    return select(Session.id).join(User, User.id == Session.owner_id).where(User.id == user_id, given_up).limit(BATCH)


def _live_answers(db_session: DatabaseSession, session_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """By session, the generation that is live. With the sessions' rows locked, none is added."""
    live = select(Generation.session_id, Generation.id).where(Generation.session_id.in_(session_ids), IS_LIVE)
    return dict(db_session.execute(live).all())
