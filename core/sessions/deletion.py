"""Deletion of sessions, within the caller's transaction: the rows, and a note of what is to be removed after it."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session as DatabaseSession

from core.conversation.removals import Due, Reason, Removals
from core.sessions.service import SessionService
from core.stores.tally import AnswerTally


@dataclass(frozen=True)
class Deletion:
    """Deletes rows, and leaves the words and the log, which are in Redis, to the caller of `Removals.carry_out`."""

    sessions: SessionService
    removals: Removals
    tally: AnswerTally

    def delete_locked(self, session_ids: Collection[UUID], reason: Reason, db_session: DatabaseSession) -> list[Due]:
        """Delete sessions that the caller has locked; returns what to carry out after the commit."""
        self.tally.count_deleted(session_ids, db_session)
        # Noted first: a worker finds its row gone and stops, but can't know any more whose lease it was.
        due = self.removals.note_all(db_session, session_ids, reason)
        self.sessions.delete_sessions(session_ids, db_session)
        return due
