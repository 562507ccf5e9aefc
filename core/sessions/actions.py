"""What is done to one session: each method is one transaction, and what follows its commit.

After the commit come the event to the session's readers, the removals from Redis, the revocations and the audit log.
All methods raise Unavailable when the database is away.
"""

import logging
from dataclasses import dataclass
from uuid import UUID

from core.conversation.event_log import EventLog
from core.conversation.removals import Removals
from core.messaging.revocations import Revocations
from core.operations.audit import Audit, Kind
from core.sessions.claim import Claims
from core.sessions.deletion import Deletion
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.redis import RedisUnavailable
from core.stores.tables import Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SessionActions:
    """Carries them out. Sessions that are passed in have been validated by the caller."""

    database: Database
    sessions: SessionService
    claims: Claims
    deletion: Deletion
    log: EventLog
    removals: Removals
    revocations: Revocations
    audit: Audit

    def create(
        self, session_id: UUID, model: str | None, *, owner_id: UUID | None = None, secret_hash: bytes | None = None
    ) -> Session:
        """Create a session, owned or proved by the secret of this hash. Safe to repeat with the same `session_id`.

        Raises UnknownModel, TooManySessions, SessionInvalid or LoginRequired.
        """
        with self.database.writing() as db:
            return self.sessions.create_session(
                db, owner_id, session_id=session_id, secret_hash=secret_hash, model=model
            )

    def refresh(self, session: Session) -> Session:
        """Extend the session, as activity does, and its event log with it.

        Raises SessionInvalid, SessionExpired or NotOwner.
        """
        with self.database.writing() as db:
            self.sessions.lock_held(session, db)
            self.sessions.extend_session(session.id, db)
            extended = db.get_one(Session, session.id)
        self.log.touch(extended.id, extended.expires_at)
        return extended

    def switch_model(
        self, session_id: UUID, model: str, owner_id: UUID | None, version: int | None, command_id: UUID
    ) -> Session:
        """Switch the session's model, and publish it to its readers. Safe to repeat with the same `command_id`.

        Raises UnknownModel, NotOwner, SessionInvalid, SessionExpired or VersionConflict.
        """
        with self.database.writing() as db:
            session = self.sessions.switch_model(
                session_id, model, db, owner_id, version=version, command_id=command_id
            )
        try:
            switched = {"model": session.last_model, "version": session.version}
            self.log.append(session.id, "model", switched, expires_at=session.expires_at)
            self.removals.remove_if_gone(session)
        except RedisUnavailable as error:
            # The row is the truth, and has been switched: this is no failure of the command.
            logger.warning("a switch of the model was not published: %s", type(error.cause).__name__)
        return session

    def rename(self, session: Session, title: str) -> Session:
        """Give an owned session another title. Raises NotOwner for an anonymous one, SessionInvalid or
        SessionExpired."""
        with self.database.writing() as db:
            return self.sessions.rename_session(session.id, title, db)

    def claim(self, session: Session, user_id: UUID) -> Session:
        """Make an anonymous session the user's; one that is the user's already stays as it is.

        Raises GenerationInProgress while an answer is being written, SessionInvalid or NotOwner when another
        claimant was faster, SessionExpired, TooManySessions or LoginRequired.
        """
        if session.owner_id == user_id:
            return session
        claimed, removal = self.claims.claim(session, user_id)
        # What was opened with the secret ends before the new owner can say a word.
        self.revocations.announce(claimed.id)
        self.removals.carry_out([removal])
        self.audit.record(Kind.SESSION_CLAIMED, user_id=user_id, session_id=claimed.id)
        return claimed

    def end(self, session: Session) -> None:
        """Delete the session at its holder's request, with all that is stored about it; one that has ended already
        stays so.

        Raises NotOwner when it has been claimed meanwhile.
        """
        self.discard(session)
        if session.owner_id is not None:
            self.audit.record(Kind.SESSION_DELETED, user_id=session.owner_id, session_id=session.id)

    def discard(self, session: Session) -> None:
        """Delete a session whose holder has not been told of it. What `end` does, without an audit event."""
        with self.database.writing() as db:
            if not self.sessions.lock_held(session, db):
                return
            removals = self.deletion.delete_locked({session.id: session.owner_id}, "deleted", db)
        self.removals.carry_out(removals)
