"""What users' answers have come to, as their rows tell (core/stores/daily_usage.py)."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import func, select

from core.clock import Clock
from core.stores.among import among
from core.stores.daily_usage import Amount
from core.stores.database import Database
from core.stores.tables import DailyUsage, User

__all__ = ["MAX_DAYS", "Amount", "DailyUsage", "Days", "Grouping", "UsageLine", "UsageRecords", "total"]

MAX_DAYS = 366
"""Days that one may look back, today included."""


class Days(NamedTuple):
    """A range of days in UTC, both included."""

    since: date
    until: date


Grouping = Literal["day", "model", "user"]


class UsageLine(NamedTuple):
    """What answers have come to by one thing."""

    name: str
    """The day, the model's name or the user's id."""
    email: str | None
    """The user's, if it is one's."""
    amount: Amount


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

    def totals(self, days: Days, by: Grouping, user_id: UUID | None, limit: int) -> Sequence["UsageLine"]:
        """What all users' answers, or one's, have come to by one thing: the newest days first, or what cost most."""
        column = {"day": DailyUsage.day, "model": DailyUsage.model, "user": DailyUsage.user_id}[by]
        sums = [func.sum(getattr(DailyUsage, name)) for name in Amount._fields]
        tokens = func.sum(DailyUsage.prompt_tokens + DailyUsage.completion_tokens)
        order = [column.desc()] if by == "day" else [sums[-1].desc(), tokens.desc(), column]
        wanted = select(column, *sums).where(DailyUsage.day.between(*days)).group_by(column)
        if user_id is not None:
            wanted = wanted.where(DailyUsage.user_id == user_id)
        with self._database.reading() as db:
            rows = db.execute(wanted.order_by(*order).limit(limit)).all()
            ids = [row[0] for row in rows] if by == "user" else []
            emails = dict(db.execute(select(User.id, User.email).where(among(User.id, ids, db))).all()) if ids else {}
        return [UsageLine(str(row[0]), emails.get(row[0]), Amount(*map(int, row[1:]))) for row in rows]


def total(rows: Sequence[DailyUsage]) -> Amount:
    """What these rows come to together."""
    return Amount(*(sum(getattr(row, name) for row in rows) for name in Amount._fields))
