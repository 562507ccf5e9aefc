"""What is done to a session: each a transaction, and what follows its commit."""

import logging
from dataclasses import dataclass
from uuid import UUID

from core.conversation.event_log import EventLog
from core.conversation.removals import Removals
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.redis import RedisUnavailable
from core.stores.tables import Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Actions:
    """Carries them out."""

    database: Database
    sessions: SessionService
    log: EventLog
    removals: Removals

    def switch_model(
        self, session_id: UUID, model: str, owner_id: UUID | None, version: int | None, command_id: UUID
    ) -> Session:
        """Switch the session's model, and tell its readers. Safe to repeat with the same `command_id`.

        Raises what SessionService.switch_model raises, and Unavailable. That the readers could not be told is no
        failure: the row is the truth.
        """
        with self.database.writing() as db:
            session = self.sessions.switch_model(
                session_id, model, db, owner_id, version=version, command_id=command_id
            )
        try:
            told = {"model": session.last_model, "version": session.version}
            self.log.append(session.id, "model", told, expires_at=session.expires_at)
            self.removals.remove_if_gone(session)
        except RedisUnavailable as error:
            logger.warning("a switch could not be told: %s", type(error.cause).__name__)
        return session

    def refresh(self, session: Session) -> Session:
        """Extend a validated session, as activity does, and its event log with it.

        Raises SessionInvalid or SessionExpired.
        """
        with self.database.writing() as db:
            session.expires_at = self.sessions.extend_session(session.id, db)
        self.log.touch(session.id, session.expires_at)
        return session

    def rename(self, session: Session, title: str) -> Session:
        """Give an owned, validated session another title. Raises NotOwner for an anonymous one, or SessionInvalid."""
        with self.database.writing() as db:
            return self.sessions.rename_session(session.id, title, db)
