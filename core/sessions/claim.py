"""A user takes over the anonymous session that they also hold the secret of, words and all."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from core.conversation.message import Message
from core.conversation.removals import Removals
from core.conversation.transcript import Transcript
from core.errors import GenerationInProgress
from core.messaging.revocations import Revocations
from core.sessions.service import SessionService
from core.stores.database import Database
from core.stores.tables import LIVE, Generation, Removal, Session

ATTEMPTS = 3
"""An answer may end between reading its words and taking the session; then they are read again."""


class _WordsBehind(Exception):
    """The newest answer has ended, and its last words had not been in Redis when they were read."""

    def __init__(self, told: UUID | None) -> None:
        super().__init__()
        self.told = told
        """The answer, if its end has been told by now: then who reads again has all the words that there are."""


@dataclass(frozen=True)
class Claims:
    """Moves sessions from nobody to somebody."""

    database: Database
    sessions: SessionService
    transcript: Transcript
    removals: Removals
    revocations: Revocations

    def claim(self, session: Session, user_id: UUID) -> Session:
        """Make a validated anonymous session the user's.

        Raises GenerationInProgress while an answer is being written, SessionInvalid when somebody else was
        faster.
        """
        assert session.secret_hash is not None
        told: UUID | None = None
        for _ in range(ATTEMPTS):
            try:
                claimed, removal = self._try(session.id, user_id, session.secret_hash, told)
            except _WordsBehind as behind:
                told = behind.told
                continue
            # What was opened with the secret ends before the new owner can say a word.
            self.revocations.announce(session.id)
            self.removals.carry_out([removal])
            return claimed
        raise GenerationInProgress

    def _try(self, session_id: UUID, user_id: UUID, secret_hash: bytes, told: UUID | None) -> tuple[Session, Removal]:
        messages = self.transcript.anonymous_messages(session_id)
        with self.database.writing() as db:
            # From here on no message is accepted for the session: acceptance takes the same row's lock.
            session = self.sessions.claim_session(session_id, db, user_id, secret_hash=secret_hash)
            newest = db.scalar(
                select(Generation).where(Generation.session_id == session_id).order_by(Generation.id.desc()).limit(1)
            )
            if newest is not None and newest.state in LIVE:
                raise GenerationInProgress
            unpublished = select(Generation.id).where(
                Generation.session_id == session_id, Generation.unpublished.is_not(None)
            )
            if db.scalar(unpublished.limit(1)) is not None:
                raise _WordsBehind(None)
            if newest is not None and newest.id != told and not _complete(messages, newest.id):
                raise _WordsBehind(newest.id)
            for message in messages:
                self.transcript.keep(message, session_id, db)
            removal = self.removals.note(db, session_id, "claimed")
        return session, removal


def _complete(messages: list[Message], newest: UUID) -> bool:
    """Whether the words include the newest answer. Without it they may have been read before the question came."""
    return bool(messages) and messages[-1].id == str(newest)
