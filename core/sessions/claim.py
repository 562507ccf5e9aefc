"""The claim of a session: a user takes over an anonymous session whose secret they also hold, with its messages."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from core.clock import rfc3339
from core.conversation.guest_settings import GuestSettings
from core.conversation.message import Message
from core.conversation.removals import Batch, Due, Removals
from core.conversation.session_settings import SessionSettings
from core.conversation.transcript import Transcript
from core.errors import GenerationInProgress, NotOwner
from core.sessions.search import Search
from core.sessions.service import SessionService
from core.sessions.title import title_from
from core.stores.database import Database
from core.stores.tables import LIVE, Generation, Session, Waiting

MAX_READS = 3
"""An answer may end between the reading of its words and the claim's transaction; then they are read again."""


class _TranscriptBehind(Exception):
    """The newest answer has ended, and its last words had not been in Redis when the messages were read."""

    def __init__(self, published: UUID | None) -> None:
        super().__init__()
        self.published = published
        """The answer, if its end has been published by now: the next reading has all the words that there are."""


@dataclass(frozen=True)
class Claims:
    """The transaction of a claim."""

    _database: Database
    sessions: SessionService
    transcript: Transcript
    settings: GuestSettings
    search: Search
    removals: Removals
    publish_pending: Callable[[UUID], Collection[UUID]]
    """Publishes what ends of a session's answers are not published yet; returns those that can't be."""

    def claim(self, session: Session, user_id: UUID) -> tuple[Session, SessionSettings, Batch]:
        """Make a validated anonymous session the user's; returns it, the guest's settings that it has taken over, and
        the removal to carry out.

        Raises GenerationInProgress while an answer is being written, SessionInvalid or NotOwner when another
        claimant was faster, SessionExpired, TooManySessions, LoginRequired or Unavailable.
        """
        if session.secret_hash is None:
            raise NotOwner
        published: UUID | None = None
        for _ in range(MAX_READS):
            unpublishable = self.publish_pending(session.id)
            try:
                return self._try_claim(session.id, user_id, session.secret_hash, published, unpublishable)
            except _TranscriptBehind as behind:
                published = behind.published
        raise GenerationInProgress

    def _try_claim(
        self,
        session_id: UUID,
        user_id: UUID,
        secret_hash: bytes,
        published: UUID | None,
        unpublishable: Collection[UUID],
    ) -> tuple[Session, SessionSettings, Batch]:
        messages, leaf = self.transcript.anonymous_messages(session_id)
        settings = self.settings.read(session_id)
        with self._database.writing() as db:
            # From here on no message is accepted for the session: acceptance takes the same row's lock.
            titled = asdict(_titled(settings, messages))
            session = self.sessions.claim_session(
                session_id,
                db,
                user_id,
                secret_hash=secret_hash,
                leaf=leaf,
                settings=titled,
                last_active_at=datetime.fromisoformat(messages[-1].created_at) if messages else None,
            )
            self.search.index_title(session, db)
            # Without the rest of its row, which there may be no decoding.
            newest = db.execute(
                select(Generation.id, Generation.state, Generation.answer_id)
                .where(Generation.session_id == session_id)
                .order_by(Generation.id.desc())
                .limit(1)
            ).one_or_none()
            if newest is not None and newest.state in LIVE:
                raise GenerationInProgress
            if db.scalar(select(Waiting.id).where(Waiting.session_id == session_id).limit(1)) is not None:
                raise GenerationInProgress("Questions wait in this session; they are to be answered first.")
            unpublished = select(Generation.id).where(
                Generation.session_id == session_id,
                Generation.unpublished.is_not(None),
                Generation.id.not_in(unpublishable),
            )
            if db.scalar(unpublished.limit(1)) is not None:
                raise _TranscriptBehind(None)
            whole = newest is None or newest.id == published or _is_complete(messages, newest.id, newest.answer_id)
            if newest is not None and not whole:
                raise _TranscriptBehind(newest.id)
            for message in _in_order(messages):
                self.transcript.keep(message, session_id, db)
            removal = self.removals.note([Due(session_id, "claimed")], db)
        return session, settings, removal


def _titled(settings: SessionSettings, messages: list[Message]) -> SessionSettings:
    """The settings with a title, as an owned session would have from its first question."""
    first = next((message.text for message in messages if message.role == "user"), "")
    return settings if settings.title else replace(settings, title=title_from(first))


def _is_complete(messages: list[Message], newest: UUID, answer_id: UUID | None) -> bool:
    """Whether the messages include the newest answer. Without it they may have been read before the question came; of
    one that an older answer has been gone on with, they do not tell."""
    return answer_id in (None, newest) and bool(messages) and messages[-1].id == str(newest)


def _in_order(messages: Iterable[Message]) -> Iterator[Message]:
    """The messages, each younger than the one before it: rows are in the order of time, which several hosts' clocks
    have told."""
    last: datetime | None = None
    for message in messages:
        at = datetime.fromisoformat(message.created_at)
        if last is not None and at <= last:
            at = last + timedelta(microseconds=1)
            message = replace(message, created_at=rfc3339(at))
        yield message
        last = at
