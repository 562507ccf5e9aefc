"""What is asked about sessions. Each query opens a read transaction of its own, and gives rows back detached."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, exists, select
from sqlalchemy.orm import Session as DatabaseSession
from sqlalchemy.orm import defer

from core.sessions.search import MAX_TERMS, Search
from core.sessions.service import LAST_END, MAX_BACKLOG, Backlog, Place, SessionService
from core.sessions.snippet import Piece, snippet
from core.stores.database import Database
from core.stores.tables import IS_LIVE, Generation, Session
from core.text.search_tokens import Term, terms

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


_MINE = Generation.session_id == Session.id
# Put together once, which takes as long as running it.
_MARKS = select(Session.id, exists().where(_MINE, IS_LIVE), LAST_END.where(_MINE).scalar_subquery()).where(
    Session.id.in_(bindparam("ids", expanding=True))
)


def _marked(sessions: Sequence[Session], db: DatabaseSession) -> list[Listed]:
    ids = [session.id for session in sessions]
    known = {row[0]: (row[1], row[2]) for row in db.execute(_MARKS, {"ids": ids})} if ids else {}
    return [Listed(session, *_of(session, *known.get(session.id, (False, None)))) for session in sessions]


def _of(session: Session, answering: bool, last_end: datetime | None) -> tuple[bool, bool]:
    unread = last_end is not None and (session.read_until is None or session.read_until < last_end)
    return bool(answering), unread


def _snippet(
    session: Session, message_id: UUID | None, texts: Mapping[UUID, str], wanted: Sequence[Term]
) -> Sequence[Piece]:
    return snippet((session.title if message_id is None else texts.get(message_id)) or "", wanted)


@dataclass(frozen=True)
class SessionQueries:
    """Queries for callers that hold no transaction. All raise Unavailable when the database is away."""

    _database: Database
    sessions: SessionService
    search: Search

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

    def list_sessions(self, user_id: UUID, *, before: Place | None, limit: int) -> list[Listed]:
        """A user's living sessions, last active first; with `before`, those after that place."""
        with self._database.reading() as db:
            return _marked(self.sessions.list_sessions(user_id, db, before=before, limit=limit), db)

    def search_sessions(self, user_id: UUID, query: str, *, before: Place | None, limit: int) -> list[Listed]:
        """Those of a user's living sessions in which the query is found, with a snippet each; last active first."""
        wanted = terms(query)[:MAX_TERMS]
        hits = self.search.find(user_id, wanted, self.sessions.is_listed(before), limit)
        if not hits:
            return []
        texts = self.search.texts([each for _, each in hits if each is not None])
        ids = [hit.session_id for hit in hits]
        with self._database.reading() as db:
            rows = select(Session).where(Session.id.in_(ids), Session.owner_id == user_id)
            found = {row.id: row for row in db.scalars(rows.options(defer(Session.system_prompt)))}
            listed = _marked([found[each] for each in ids if each in found], db)
        message_of = dict(hits)
        return [
            replace(each, snippet=_snippet(each.session, message_of[each.session.id], texts, wanted))
            for each in listed
        ]

    def last_end(self, session: Session) -> datetime | None:
        """When the last of an owned session's answers that were not stopped has ended, if its owner has not read that
        yet."""
        if session.words_in_redis:
            return None
        with self._database.reading() as db:
            end = db.scalar(LAST_END.where(Generation.session_id == session.id))
        return end if end is not None and (session.read_until is None or session.read_until < end) else None

    def require_room(self, user_id: UUID) -> None:
        """Raise TooManySessions when the user has as many living sessions as one may have."""
        with self._database.reading() as db:
            self.sessions.require_room(user_id, db)
