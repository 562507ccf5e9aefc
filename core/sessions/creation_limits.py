"""How often sessions may be created: checked before a creation is queued."""

from dataclasses import dataclass
from uuid import UUID

from core.limits.buckets import creation_buckets, owner_buckets
from core.limits.rate import Rate
from core.limits.rate_limit import Decision, RateLimiter
from core.sessions.service import Models


@dataclass(frozen=True)
class CreationLimits:
    """The limits on creations. A rate that is None is off."""

    limiter: RateLimiter
    models: Models
    per_address: Rate | None
    """Of anonymous sessions, from one address."""
    all_addresses: Rate | None
    """Of anonymous sessions, from all addresses together."""
    per_user: Rate | None

    def admit(self, model: str | None, user_id: UUID | None = None, *, address: str | None = None) -> Decision:
        """Charge the creation of a session to the user or, for an anonymous session, to the address.

        Whether the user has room for one more session is `SessionService.require_room`'s to say.
        Raises UnknownModel, which charges nothing, RateLimited or Unavailable.
        """
        if model is not None:
            self.models.require(model)
        if user_id is not None:
            return self.limiter.require(owner_buckets("create", user_id, self.per_user))
        return self.limiter.require(creation_buckets(address, self.per_address, self.all_addresses))
