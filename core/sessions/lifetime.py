"""How long a session lives: pure rules over moments and spans."""

from dataclasses import dataclass
from datetime import datetime, timedelta

MIN_EXTENSION = 1 / 20
"""The part of the idle lifetime by which an extension must move the expiry to be written, so that a busy session is
not a hot row."""


@dataclass(frozen=True)
class Lifetime:
    """The two lifetimes of one kind of session."""

    idle: timedelta
    """From the last activity."""
    absolute: timedelta
    """From the creation; activity does not move it."""

    def ends(self, created_at: datetime) -> datetime:
        """The moment after which nothing extends the session."""
        return created_at + self.absolute

    def expiry(self, now: datetime, ends_at: datetime) -> datetime:
        """When a session that is active now expires."""
        return min(now + self.idle, ends_at)

    def extension(self, now: datetime, expires_at: datetime, ends_at: datetime) -> datetime | None:
        """The new expiry, or None when it would not move noticeably."""
        extended = self.expiry(now, ends_at)
        moved = extended - expires_at
        # Reaching the absolute end is noticeable too, however small the last step.
        if moved >= self.idle * MIN_EXTENSION or (extended == ends_at and moved > timedelta(0)):
            return extended
        return None
