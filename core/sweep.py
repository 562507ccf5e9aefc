"""The end of a session's life: its row, and after the commit its words and its log."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session as DatabaseSession

from core.clock import Clock
from core.database import Database
from core.event_log import EventLog
from core.limits.message_limits import MessageLimits, owner_of
from core.models import IS_LIVE, Generation, Session
from core.session_service import SessionService

BATCH = 500
"""Rows in one transaction, so that a long sweep never holds the write lock for long."""
MAX_BATCHES = 200
"""Batches in one run; the next run goes on."""


class Sweeper:
    """Ends sessions, one by one or all that have expired."""

    def __init__(
        self, database: Database, sessions: SessionService, log: EventLog, limits: MessageLimits, clock: Clock
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._log = log
        self._limits = limits
        self._clock = clock

    def sweep_expired(self, batch: int = BATCH) -> int:
        """Delete expired sessions in bounded batches; returns how many."""
        swept = 0
        for _ in range(MAX_BATCHES):
            with self._database.writing() as db:
                under_way = self._under_way(db)
                ids = self._sessions.sweep_expired(db, batch)
            for session_id in ids:
                self._limits.forget_owner(session_id)  # an anonymous session is its own
                if session_id in under_way:
                    self._limits.forget(*under_way[session_id])
                self._log.close(session_id, "expired")
            swept += len(ids)
            if len(ids) < batch:
                break
        return swept

    def _under_way(self, db_session: DatabaseSession) -> dict[UUID, tuple[UUID, UUID]]:
        """By session, the owner and the generation of those that expire in the middle of an owned answer."""
        rows = db_session.execute(
            select(Session.id, Session.owner_id, Generation.id)
            .join(Generation, Generation.session_id == Session.id)
            .where(IS_LIVE, Session.owner_id.is_not(None), Session.expires_at <= self._clock.now())
        )
        return {session_id: (owner_id, generation_id) for session_id, owner_id, generation_id in rows if owner_id}

    def delete(self, session_id: UUID) -> None:
        """End one session now. The caller has validated it."""
        with self._database.writing() as db:
            session = db.get(Session, session_id)
            live = db.scalar(select(Generation.id).where(Generation.session_id == session_id, IS_LIVE))
            self._sessions.delete_session(session_id, db)
        # The worker finds its row gone and stops, but can't know any more whose lease it was.
        if session is not None and live is not None:
            self._limits.forget(owner_of(session), live)
        self._log.close(session_id, "deleted")

    def end_sessions_of(self, user_id: UUID) -> None:
        """End all of a user's sessions, one by one: when a part is away half-way, asking again goes on."""
        with self._database.reading() as db:
            ids = db.scalars(select(Session.id).where(Session.owner_id == user_id)).all()
        for session_id in ids:
            self.delete(session_id)
