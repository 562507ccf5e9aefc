"""Where the domain gets the time from, so that a test can turn the clock."""

from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


class Clock(Protocol):
    """A source of the current time."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """A moment as the wire has it: RFC 3339, UTC, microseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def born_at(identifier: UUID) -> datetime:
    """The moment in a UUIDv7: its first 48 bits are milliseconds since 1970 (RFC 9562, 5.7); the last one that a
    datetime can have, if it lies after the year 9999."""
    return EPOCH + min(timedelta(milliseconds=identifier.int >> 80), LATEST - EPOCH)
