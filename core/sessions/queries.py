"""What is asked about sessions. Each query opens a read transaction of its own, and gives rows back detached."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from core.sessions.service import MAX_BACKLOG, Backlog, SessionService
from core.stores.database import Database
from core.stores.tables import Session

__all__ = ["MAX_BACKLOG", "Session", "SessionQueries"]


@dataclass(frozen=True)
class SessionQueries:
    """Queries for callers that hold no transaction. All raise Unavailable when the database is away."""

    _database: Database
    sessions: SessionService

    def require_database(self, patience: float | None = None) -> None:
        """Raise Unavailable unless the database answers within `patience` seconds, or the usual ones."""
        self._database.ping(patience)

    def validate_session(self, session_id: UUID, user_id: UUID | None, secret_hash: bytes | None) -> Session:
        """The session, if it lives and the caller has proved to be its holder.

        Raises SessionInvalid, NotOwner or SessionExpired.
        """
        with self._database.reading() as db:
            session = self.sessions.validate_session(
                session_id, db, user_id, require_valid=True, secret_hash=secret_hash
            )
        assert session is not None
        return session

    def find_session(self, session_id: UUID) -> Session | None:
        """The session of this id, expired or not, or None."""
        with self._database.reading() as db:
            return db.get(Session, session_id)

    def backlog(self) -> Backlog:
        """What the sweep has still to delete."""
        with self._database.reading() as db:
            return self.sessions.backlog(db)

    def list_sessions(self, user_id: UUID, *, before: UUID | None, limit: int) -> Sequence[Session]:
        """A user's living sessions, newest first; with `before`, those older than that one."""
        with self._database.reading() as db:
            return self.sessions.list_sessions(user_id, db, before=before, limit=limit)

    def require_room(self, user_id: UUID) -> None:
        """Raise TooManySessions when the user has as many living sessions as one may have."""
        with self._database.reading() as db:
            self.sessions.require_room(user_id, db)
