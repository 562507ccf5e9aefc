"""Users, as operators see them: found, listed, given limits of their own. core/auth/accounts.py closes accounts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from unicodedata import normalize
from uuid import UUID

from sqlalchemy import ColumnElement, func, select

from core.clock import Clock
from core.limits.message_limits import PARSERS
from core.operations.usage import Days
from core.stores.database import Database
from core.stores.tables import DailyUsage, Session, User

__all__ = ["ListedUser", "UnknownUser", "User", "Users"]


class UnknownUser(LookupError):
    """No user has this id or address. Its text says so."""


class ListedUser(NamedTuple):
    """A user, and how much of the system is theirs."""

    user: User
    sessions: int
    """That live."""
    tokens: int
    """Of their answers, on the days that were asked for."""
    cost: int
    """Of those, in millionths of the currency."""
    active_at: datetime | None
    """When the last message came in one of the sessions that are there."""


class Users:
    """Reads the table of users, and writes their limits. All methods raise Unavailable when the database is away."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def find(self, name: str) -> User:
        """The user of this id or e-mail address, also one whose account is being removed. Raises UnknownUser."""
        with self._database.reading() as db:
            found = db.scalar(select(User).where(_named(name)))
        if found is None:
            raise UnknownUser(f"no user has the id or the e-mail address {name[:254]!r}")
        return found

    def page(self, days: Days, *, match: str | None, after: UUID | None, limit: int) -> Sequence[ListedUser]:
        """Users, the newest account first: those after this one, whose addresses have `match` in them."""
        used = DailyUsage.user_id == User.id, DailyUsage.day.between(*days)
        tokens = select(func.sum(DailyUsage.prompt_tokens + DailyUsage.completion_tokens)).where(*used)
        cost = select(func.sum(DailyUsage.cost)).where(*used)
        theirs = (
            Session.owner_id == User.id,
            Session.ephemeral.is_(False),
            Session.expires_at > self._clock.now(),
        )
        sessions = select(func.count()).select_from(Session).where(*theirs)
        active = select(func.max(Session.last_active_at)).where(*theirs)
        wanted = select(User, *(each.scalar_subquery() for each in (sessions, tokens, cost, active)))
        if match is not None:
            wanted = wanted.where(User.email.contains(match.casefold(), autoescape=True))
        if after is not None:
            wanted = wanted.where(User.id < after)
        with self._database.reading() as db:
            rows = db.execute(wanted.order_by(User.id.desc()).limit(limit)).all()
        return [ListedUser(user, count, int(used or 0), int(paid or 0), at) for user, count, used, paid, at in rows]

    def change_limits(self, user_id: UUID, changes: Mapping[str, str | None]) -> Mapping[str, str]:
        """Give a user limits of their own, by policy, as options say them; None: everybody's. Returns all that the
        user has then; they hold from the next question on.

        Raises ValueError that names the policy and what is wrong, or UnknownUser.
        """
        for policy, text in changes.items():
            if text is not None:
                _check(policy, text)
        with self._database.writing() as db:
            user = db.scalar(select(User).where(User.id == user_id).with_for_update())
            if user is None:
                raise UnknownUser(f"no user has the id {user_id}")
            limits = {**(user.limits or {}), **changes}
            own = {policy: text for policy, text in limits.items() if text is not None}
            user.limits = own or None
        return own


def _check(policy: str, text: str) -> None:
    try:
        PARSERS[policy](text)
    except ValueError as error:
        raise ValueError(f"{policy}: {error}") from None


def _named(name: str) -> ColumnElement[bool]:
    try:
        return User.id == UUID(name)
    except ValueError:
        return User.email == normalize("NFC", name.strip().casefold())
