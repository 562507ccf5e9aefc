"""How much one owner may ask for: messages and tokens by rate, and answers at the same time."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from core.errors import GenerationInProgress, SwitchboardError, Unavailable
from core.limits.leases import Leases
from core.limits.rate import Rate
from core.limits.rate_limit import Bucket, RateLimiter
from core.limits.status import LimitStatus, RateLimited
from core.stores.redis import Pipeline
from core.stores.tables import Session

logger = logging.getLogger(__name__)

CONCURRENT = "concurrent"
"""The policy of answers at the same time."""


@dataclass(frozen=True)
class OwnerLimits:
    """What owners of one kind may ask for. A rate of None is off."""

    concurrent: int
    """Answers at the same time."""
    messages: Rate | None
    tokens: Rate | None


class MessageLimits:
    """Checked before anything else is touched; the generation holds the owner's lease, and what is reserved for it
    of the owner's tokens, until it ends."""

    def __init__(self, anonymous: OwnerLimits, user: OwnerLimits, limiter: RateLimiter, leases: Leases) -> None:
        self._anonymous = anonymous
        self._user = user
        self._limiter = limiter
        self._leases = leases

    def admit(self, session: Session, generation_id: UUID, lease: timedelta, tokens: int) -> Sequence[LimitStatus]:
        """Take a lease for the generation, charge its message, and reserve so many tokens: all, or none of it.

        Raises RateLimited, GenerationInProgress or Unavailable.
        """
        owner, anonymous = owner_of(session), session.anonymous
        limits = self._limits(anonymous)
        messages = [Bucket("messages", str(owner), limits.messages)] if limits.messages else []
        budget = self._budget(owner, anonymous, tokens)
        try:
            held = self._leases.acquire(owner, generation_id, limits.concurrent, lease)
        except RateLimited:
            # An anonymous session is its own owner: the other lease is of its own other message, which has been
            # taken so lately that the database does not know of it yet.
            if anonymous:
                raise GenerationInProgress from None
            raise
        try:
            charged = self._limiter.require([*messages, *budget])
            for bucket in budget:
                self._limiter.reserve(bucket, str(owner), str(generation_id))
        except SwitchboardError:
            self.cancel(session, generation_id)
            raise
        return [*charged.limit_statuses, held]

    def cancel(self, session: Session, generation_id: UUID) -> None:
        """The generation that was admitted has not come about: it holds nothing, and costs no tokens."""
        with _tolerate_unavailable():
            self.release_lease(owner_of(session), generation_id)
            self.settle(owner_of(session), session.anonymous, generation_id, 0)

    def settle(self, owner: UUID, anonymous: bool, generation_id: UUID, tokens: int) -> None:
        """Charge what the generation's answer has come to in place of what was reserved. Safe to repeat.

        Raises Unavailable.
        """
        for bucket in self._budget(owner, anonymous, tokens):
            self._limiter.settle(bucket, str(owner), str(generation_id))

    def add_forget(self, pipe: Pipeline, owner: UUID, generation_id: UUID | None = None) -> None:
        """Add to a pipeline: the owner's generation, or all of the owner's, is gone and will not be ended. It holds
        nothing more, and what it reserved is spent."""
        self._leases.add_release(pipe, owner, generation_id)
        self._limiter.add_forget(pipe, str(owner), None if generation_id is None else str(generation_id))

    def _limits(self, anonymous: bool) -> OwnerLimits:
        return self._anonymous if anonymous else self._user

    def _budget(self, owner: UUID, anonymous: bool, tokens: int) -> list[Bucket]:
        rate = self._limits(anonymous).tokens
        return [Bucket("tokens", str(owner), rate, cost=tokens, unit="tokens")] if rate else []

    def renew_lease(self, owner: UUID, generation_id: UUID, lease: timedelta) -> None:
        """A worker writes the generation: its lease runs from now, even if it ran out before, or Redis lost it."""
        with _tolerate_unavailable():
            self._leases.renew(owner, generation_id, lease)

    def add_renewal(self, pipe: Pipeline, owner: UUID, generation_id: UUID, lease: timedelta) -> None:
        """Add to a pipeline what `renew_lease` does."""
        self._leases.add_renewal(pipe, owner, generation_id, lease)

    def release_lease(self, owner: UUID, generation_id: UUID) -> None:
        """The generation has ended. Safe to repeat. Raises Unavailable."""
        self._leases.release(owner, generation_id)

    def lease_holders(self, owner: UUID) -> set[UUID]:
        """The generations that hold a lease of the owner's now. Raises Unavailable."""
        return {UUID(holder) for holder in self._leases.holders(owner)}


@contextmanager
def _tolerate_unavailable() -> Iterator[None]:
    """Go on without Redis: a lease is then neither longer nor shorter than it is, and runs out by itself."""
    try:
        yield
    except Unavailable:
        logger.warning("a generation's lease could not be changed: Redis is away")


def owner_of(session: Session) -> UUID:
    """Whose limits count: the user's, or the anonymous session's own."""
    return session.owner_id or session.id
