"""How often one owner, a user or an anonymous session, may change sessions, read one or take a copy of it."""

from contextlib import suppress
from typing import Literal
from uuid import UUID

from core.errors import Unavailable
from core.limits.buckets import owner_buckets
from web.context import context
from web.limits import rate_limit_headers

Change = Literal["switch", "refresh", "rename", "open", "claim", "stop", "queue", "keys", "branch", "search"]
"""Each has a bucket of its own, so that an owner that has refreshed too often can still stop an answer."""


def admit(change: Change, owner: UUID) -> None:
    """Charge a change, before anything is written or queued. Raises RateLimited or Unavailable."""
    rate_limit_headers.require(owner_buckets(change, owner, context().options.limit_changes))


def admit_uncounted(change: Change, owner: UUID) -> None:
    """Charge a change, or a search, that may also be made while Redis is away and can't count: it touches one row of
    the owner's, or none, and no queue. Raises RateLimited."""
    try:
        admit(change, owner)
    except Unavailable:
        return


def admit_read(owner: UUID) -> None:
    """Charge a page of a conversation, which may be read when Redis is too slow to count. Raises RateLimited."""
    with suppress(Unavailable):
        rate_limit_headers.require(owner_buckets("read", owner, context().options.limit_read))


def admit_export(owner: UUID) -> None:
    """Charge a copy of a whole conversation. Raises RateLimited or Unavailable."""
    rate_limit_headers.require(owner_buckets("export", owner, context().options.limit_export))
