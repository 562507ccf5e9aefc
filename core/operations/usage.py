"""What users' answers have come to, as their rows tell (core/stores/daily_usage.py)."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select

from core.clock import Clock
from core.stores.daily_usage import Amount
from core.stores.database import Database
from core.stores.tables import DailyUsage

__all__ = ["MAX_DAYS", "Amount", "DailyUsage", "Days", "UsageRecords", "total"]

MAX_DAYS = 366
"""Days that one may look back, today included."""


class Days(NamedTuple):
    """A range of days in UTC, both included."""

    since: date
    until: date


class UsageRecords:
    """Reads them. All methods raise Unavailable when the database is away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def last(self, days: int) -> Days:
        """The last so many days, today included."""
        today = self._clock.now().date()
        return Days(today - timedelta(days=days - 1), today)

    def for_user(self, user_id: UUID, days: Days) -> Sequence[DailyUsage]:
        """A user's, by day and model, the newest day first. An answer is there within seconds of its end."""
        wanted = select(DailyUsage).where(DailyUsage.user_id == user_id, DailyUsage.day.between(*days))
        with self._database.reading() as db:
            return db.scalars(wanted.order_by(DailyUsage.day.desc(), DailyUsage.model)).all()


def total(rows: Sequence[DailyUsage]) -> Amount:
    """What these rows come to together."""
    return Amount(*(sum(getattr(row, name) for row in rows) for name in Amount._fields))
