"""How much one owner may ask for: messages by rate, and answers at the same time."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

from core.errors import GenerationInProgress, RateLimited, SwitchboardError, Unavailable
from core.leases import Leases
from core.models import Session
from core.rate_limit import Bucket, RateLimiter, Standing
from core.settings import Settings

logger = logging.getLogger(__name__)


class MessageLimits:
    """Checked before anything else is touched; the generation holds the owner's lease until it ends."""

    def __init__(self, settings: Settings, limiter: RateLimiter, leases: Leases) -> None:
        self._settings = settings
        self._limiter = limiter
        self._leases = leases

    def admit(self, session: Session, generation_id: UUID, lease: timedelta) -> Sequence[Standing]:
        """Take a lease for the generation and charge its message: both, or neither.

        Raises RateLimited, GenerationInProgress or Unavailable.
        """
        owner, settings = owner_of(session), self._settings
        anonymous = session.anonymous
        limit = settings.concurrent_anonymous if anonymous else settings.concurrent_user
        rate = settings.limit_messages_anonymous if anonymous else settings.limit_messages_user
        try:
            held = self._leases.take(owner, generation_id, limit, lease)
        except RateLimited:
            # An anonymous session is its own owner: the other lease is of its own other message, which has been
            # taken so lately that the database does not know of it yet.
            if anonymous:
                raise GenerationInProgress from None
            raise
        try:
            charged = self._limiter.require([Bucket("messages", str(owner), rate)] if rate else [])
        except SwitchboardError:
            self.release(owner, generation_id)
            raise
        return [*charged.standings, held]

    def hold(self, owner: UUID, generation_id: UUID, lease: timedelta) -> None:
        """A worker begins with the generation or carries it on: its lease may have run out on the way there."""
        with _healing():
            self._leases.hold(owner, generation_id, lease)

    def refresh(self, owner: UUID, generation_id: UUID, lease: timedelta) -> None:
        """The generation is alive."""
        with _healing():
            self._leases.refresh(owner, generation_id, lease)

    def release(self, owner: UUID, generation_id: UUID) -> None:
        """The generation has ended."""
        with _healing():
            self._leases.release(owner, generation_id)


@contextmanager
def _healing() -> Iterator[None]:
    """Without Redis a lease is neither longer nor shorter than it is: it runs out by itself."""
    try:
        yield
    except Unavailable:
        logger.warning("a generation's lease could not be changed: Redis is away")


def owner_of(session: Session) -> UUID:
    """Whose limits count: the user's, or the anonymous session's own."""
    return session.owner_id or session.id
