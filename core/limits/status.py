"""What a limit says of a client: its quota, what is left of it, and that it refuses the request."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import SwitchboardError


@dataclass(frozen=True)
class LimitStatus:
    """What one policy has left for a client, as the answer's RateLimit header fields tell it."""

    policy: str
    quota: int
    remaining: int
    window: int | None = None
    """Seconds in which the whole quota comes back; None when it counts what is under way."""
    reset: int | None = None
    """Seconds for which no more than `remaining` is to be had."""
    unit: str = "requests"
    whole_in: int | None = None
    """Seconds until the whole quota is there again, if nothing more is used."""


class RateLimited(SwitchboardError):
    """A limit refused the request; nothing was done. `limit` names its policy."""

    slug, title, status = "rate-limited", "Too many requests", 429

    def __init__(
        self, detail: str | None = None, *, retry_after: int, limit: str, limit_statuses: Sequence[LimitStatus]
    ) -> None:
        detail = detail or f"This is more often than the limit {limit!r} allows; try again in {retry_after} s."
        super().__init__(detail, retry_after=retry_after, limit=limit)
        self.limit_statuses = limit_statuses
