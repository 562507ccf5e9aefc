"""The end of a session's life: its row, and after the commit its words and its log."""

from uuid import UUID

from core.database import Database
from core.event_log import EventLog
from core.session_service import SessionService

BATCH = 500
"""Rows in one transaction, so that a long sweep never holds the write lock for long."""
MAX_BATCHES = 200
"""Batches in one run; the next run goes on."""


class Sweeper:
    """Ends sessions, one by one or all that have expired."""

    def __init__(self, database: Database, sessions: SessionService, log: EventLog) -> None:
        self._database = database
        self._sessions = sessions
        self._log = log

    def sweep_expired(self, batch: int = BATCH) -> int:
        """Delete expired sessions in bounded batches; returns how many."""
        swept = 0
        for _ in range(MAX_BATCHES):
            with self._database.writing() as db:
                ids = self._sessions.sweep_expired(db, batch)
            for session_id in ids:
                self._log.close(session_id, "expired")
            swept += len(ids)
            if len(ids) < batch:
                break
        return swept

    def delete(self, session_id: UUID) -> None:
        """End one session now. The caller has validated it."""
        with self._database.writing() as db:
            self._sessions.delete_session(session_id, db)
        self._log.close(session_id, "deleted")
