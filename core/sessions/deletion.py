"""Deletion of sessions, within the caller's transaction: the rows, and a note of what is to be removed after it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session as DatabaseSession

from core.conversation.removals import Reason, Removals
from core.sessions.service import SessionService
from core.stores.tables import IS_LIVE, Generation, Removal
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
        # The worker finds its row gone and stops, but can't know any more whose lease it was.
        live = _live_generations(owners, db_session)
        self.tally.count_deleted(owners, db_session)
        self.sessions.delete_sessions(owners, db_session)
        return [
            self.removals.note(db_session, session_id, reason, owner_id=owner_id, generation_id=live.get(session_id))
            for session_id, owner_id in owners.items()
        ]


def _live_generations(session_ids: Collection[UUID], db_session: DatabaseSession) -> dict[UUID, UUID]:
    """By session, the generation that is live. With the sessions' rows locked, none is added."""
    live = select(Generation.session_id, Generation.id).where(Generation.session_id.in_(session_ids), IS_LIVE)
    return dict(db_session.execute(live).all())
