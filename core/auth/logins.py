"""Logins: the browsers that people are logged in with, each a row with a hashed secret.

Takes a database session and leaves the commit to its caller. A login that has ended is a row that is gone, so
"ended" holds from the next request on, in every process (OWASP ASVS 5, 7.4.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.clock import Clock
from core.errors import LoginInvalid
from core.secret import MAX_LENGTH, digest, matches, new_secret, parse_id
from core.sessions.lifetime import Lifetime
from core.stores.tables import Login

SWEEP_BATCH = 500
"""Expired logins that one transaction deletes."""
MAX_LOGINS = 50
"""Logins that one user may have; a new one beyond that ends the one that has been used least lately."""


@dataclass(frozen=True)
class LoginCredential:
    """The two halves of a login cookie, `<login_id>.<secret>`."""

    login_id: UUID
    secret: str

    def __repr__(self) -> str:
        return f"LoginCredential({self.login_id})"  # the secret stays out of logs and tracebacks

    def __str__(self) -> str:
        return f"{self.login_id}.{self.secret}"

    @classmethod
    def parse(cls, text: str) -> "LoginCredential":
        """Read what a browser sent. Raises LoginInvalid when it is malformed."""
        login_id, _, secret = text.partition(".")
        parsed = parse_id(login_id)
        if parsed is None or not 0 < len(secret) <= MAX_LENGTH:
            raise LoginInvalid
        return cls(parsed, secret)


class Logins:
    """The table of logins and the rules about it."""

    def __init__(self, lifetime: Lifetime, clock: Clock) -> None:
        self._lifetime = lifetime
        self._clock = clock

    def begin(self, user_id: UUID, db: DatabaseSession) -> LoginCredential:
        """Log a user in: always a new id and a new secret (OWASP ASVS 5, 7.2.4).

        The caller holds the lock on the user's row, or has just made it.
        """
        self._make_room(user_id, db)
        credential = LoginCredential(uuid7(), new_secret())
        now = self._clock.now()
        ends_at = self._lifetime.ends(now)
        db.add(
            Login(
                id=credential.login_id,
                user_id=user_id,
                secret_hash=digest(credential.secret),
                created_at=now,
                last_used_at=now,
                expires_at=self._lifetime.expiry(now, ends_at),
                ends_at=ends_at,
            )
        )
        return credential

    def find(self, credential: LoginCredential, db: DatabaseSession) -> Login:
        """The living login that the credential proves. Raises LoginInvalid."""
        return self.require_proved(db.get(Login, credential.login_id), credential)

    def require_proved(self, login: Login | None, credential: LoginCredential) -> Login:
        """The login that was read under the credential's id, if it lives and is proved. Raises LoginInvalid; which of
        ended, expired and forged it is, it does not say."""
        if login is None or not matches(credential.secret, login.secret_hash) or not self._is_active(login):
            raise LoginInvalid
        return login

    def extension(self, login: Login) -> datetime | None:
        """When the login expires if it is used now, or None when it would not move noticeably."""
        return self._lifetime.extension(self._clock.now(), login.expires_at, login.ends_at)

    def extend(self, login_id: UUID, expires_at: datetime, db: DatabaseSession) -> None:
        """Write down that the login is in use."""
        login = db.get(Login, login_id)
        if login is not None:
            login.expires_at = expires_at
            login.last_used_at = self._clock.now()

    def for_user(self, user_id: UUID, db: DatabaseSession) -> Sequence[Login]:
        """The user's living logins, newest first."""
        now = self._clock.now()
        wanted = select(Login).where(Login.user_id == user_id, Login.expires_at > now)
        return db.scalars(wanted.order_by(Login.created_at.desc(), Login.id.desc())).all()

    def end(self, user_id: UUID, login_id: UUID, db: DatabaseSession) -> bool:
        """End one of the user's logins; whether there was such a one."""
        ended = delete(Login).where(Login.id == login_id, Login.user_id == user_id).returning(Login.id)
        return db.scalars(ended).first() is not None

    def end_all(self, user_id: UUID, db: DatabaseSession) -> None:
        """End all of the user's logins."""
        db.execute(delete(Login).where(Login.user_id == user_id))

    def sweep_expired(self, db: DatabaseSession, limit: int = SWEEP_BATCH) -> int:
        """Delete up to `limit` expired logins; returns how many."""
        batch = select(Login.id).where(Login.expires_at <= self._clock.now()).limit(limit)
        batch = batch.with_for_update(skip_locked=True)
        return len(db.scalars(delete(Login).where(Login.id.in_(batch)).returning(Login.id)).all())

    def _make_room(self, user_id: UUID, db: DatabaseSession) -> None:
        newest = select(Login.id).where(Login.user_id == user_id).order_by(Login.last_used_at.desc(), Login.id.desc())
        db.execute(delete(Login).where(Login.id.in_(newest.offset(MAX_LOGINS - 1))))

    def _is_active(self, login: Login) -> bool:
        return login.expires_at > self._clock.now()
