"""Deletion of sessions, within the caller's transaction: the rows, and a note of what is to be removed after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session as DatabaseSession

from core.conversation.removals import Reason, Removals
from core.sessions.service import SessionService
from core.stores.tables import LIVE, Removal
from core.stores.tally import AnswerTally


@dataclass(frozen=True)
class Deletion:
    """Deletes rows, and leaves the words and the log, which are in Redis, to the caller of `Removals.carry_out`."""

    sessions: SessionService
    removals: Removals
    tally: AnswerTally

    def delete_locked(
        self, owners: Mapping[UUID, UUID | None], reason: Reason, db_session: DatabaseSession
    ) -> list[Removal]:
        """Delete sessions that the caller has locked, given with their owners; returns what to carry out after the
        commit."""
        gone = self.tally.count_deleted(owners, db_session)
        # The worker finds its row gone and stops, but can't know any more whose lease it was. With the sessions' rows
        # locked, none is added.
        live = {generation.session_id: generation.id for generation in gone if generation.state in LIVE}
        self.sessions.delete_sessions(owners, db_session)
        return [
            self.removals.note(db_session, session_id, reason, owner_id=owner_id, generation_id=live.get(session_id))
            for session_id, owner_id in owners.items()
        ]
