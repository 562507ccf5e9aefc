"""What is asked about sessions. Each query opens a read transaction of its own, and gives rows back detached."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from core.clock import Clock
from core.errors import NotMigrated
from core.sessions import listing
from core.sessions.listing import LAST_END, Place
from core.sessions.search import MAX_TERMS, Search
from core.sessions.service import MAX_BACKLOG, Backlog, SessionService
from core.sessions.snippet import Piece, snippet
from core.stores.database import Database
from core.stores.revisions import Schema, known_revisions, revision_query
from core.stores.tables import Session
from core.text.search_tokens import terms

__all__ = ["MAX_BACKLOG", "Listed", "Place", "Session", "SessionQueries"]


@dataclass(frozen=True)
class Listed:
    """A session in its owner's list."""

    session: Session
    answering: bool
    """Whether an answer is being written, or waits for its turn."""
    unread: bool
    """Whether an answer has ended, other than by a stop, since its owner last read the conversation."""
    snippet: Sequence[Piece] | None = None
    """What the search has found in it."""

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.session.last_active_at or self.session.created_at, self.session.id)


def _listed(session: Session, answering: bool, last_end: datetime | None) -> Listed:
    unread = last_end is not None and (session.read_until is None or session.read_until < last_end)
    return Listed(session, bool(answering), unread)


@dataclass(frozen=True)
class SessionQueries:
    """Queries for callers that hold no transaction. All raise Unavailable when the database is away."""

    _database: Database
    _clock: Clock
    sessions: SessionService
    search: Search

    def require_database(self, patience: float | None = None) -> None:
        """Raise Unavailable unless the database answers within `patience` seconds, or the usual ones."""
        self._database.ping(patience)

    def require_ready(self, patience: float | None = None) -> None:
        """Raise as `require_database`, and WritesRefused when the database takes no writes, and NotMigrated when
        it is older than this version wants it."""
        self._database.require_writable(patience)
        with self._database.reading(patience) as db:
            schema = Schema(db.scalar(revision_query()), known_revisions())
        if schema.is_older:
            raise NotMigrated(retry_after=2)

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

    def list_sessions(self, user_id: UUID, *, before: Place | None, limit: int) -> list[Listed]:
        """A user's living sessions, last active first; with `before`, those after that place."""
        values = listing.parameters(user_id, self._clock.now(), before, limit)
        with self._database.reading() as db:
            rows = db.execute(listing.MARKED[before is not None], values).all()
        return [_listed(*row) for row in rows]

    def search_sessions(self, user_id: UUID, query: str, *, before: Place | None, limit: int) -> list[Listed]:
        """Those of a user's living sessions in which the query is found, with a snippet each; last active first."""
        wanted = terms(query)[:MAX_TERMS]
        found = self.search.find(user_id, wanted, self._clock.now(), before, limit)
        return [
            replace(_listed(session, answering, last_end), snippet=snippet(said or session.title or "", wanted))
            for session, answering, last_end, said in found
        ]

    def last_end(self, session: Session) -> datetime | None:
        """When the last of an owned session's answers that were not stopped has ended, if its owner has not read that
        yet."""
        if session.words_in_redis:
            return None
        with self._database.reading() as db:
            end = db.scalar(select(LAST_END).where(Session.id == session.id))
        return end if end is not None and (session.read_until is None or session.read_until < end) else None

    def require_room(self, user_id: UUID) -> None:
        """Raise TooManySessions when the user has as many living sessions as one may have."""
        with self._database.reading() as db:
            self.sessions.require_room(user_id, db)
