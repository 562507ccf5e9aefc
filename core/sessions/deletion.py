"""Deletion of sessions, within the caller's transaction: the rows, and a note of what is to be removed after it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session as DatabaseSession

from core.conversation.removals import Batch, Due, Reason, Removals
from core.sessions.service import Ending, SessionService
from core.stores.tables import LIVE
from core.stores.tally import AnswerTally


@dataclass(frozen=True)
class Deletion:
    """Deletes rows, and leaves the words and the log, which are in Redis, to the caller of `Removals.carry_out`."""

    sessions: SessionService
    removals: Removals
    tally: AnswerTally

    def delete_locked(self, ending: Sequence[Ending], reason: Reason, db_session: DatabaseSession) -> Batch:
        """Delete sessions that the caller has locked; returns what to carry out after the commit."""
        ids = [each.id for each in ending]
        # With the sessions' rows locked, no answer is added.
        counted = self.tally.count_deleted(ids, db_session)
        # A worker finds its row gone and stops, but can't know any more whose lease it was.
        live = {each.session_id: each.id for each in counted if each.state in LIVE}
        due = [Due(each.id, reason, each.owner_id, live.get(each.id), listed=not each.ephemeral) for each in ending]
        batch = self.removals.note(due, db_session)
        self.sessions.delete_sessions(ids, db_session)
        return batch
