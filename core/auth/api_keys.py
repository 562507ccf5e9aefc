"""API keys: how programs prove whose they are. Shown once; only a hash is stored.

Takes a database session and leaves the commit to its caller.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session as DatabaseSession
from uuid_utils.compat import uuid7

from core.clock import Clock
from core.errors import LoginRequired, TokenInvalid, TooManyKeys
from core.secret import digest, matches, new_secret
from core.stores.tables import ApiKey, User

PREFIX = "sb_"
"""Tells a key from an issuer's token, and lets secret scanners find one that was committed."""
MAX_KEYS = 50
"""Keys that one user may have."""
LAST_USE_PRECISION = timedelta(minutes=1)
"""How exact `last_used_at` is: a busy key is not a hot row."""

_KEY = re.compile(r"sb_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class KeyCredential:
    """The two halves of a key, `sb_<id>_<secret>`, the id as 32 hexadecimal digits."""

    key_id: UUID
    secret: str

    def __repr__(self) -> str:
        return f"KeyCredential({self.key_id})"  # the secret stays out of logs and tracebacks

    def __str__(self) -> str:
        return f"{PREFIX}{self.key_id.hex}_{self.secret}"

    @classmethod
    def parse(cls, text: str) -> "KeyCredential":
        """Read what a client sent. Raises TokenInvalid when it is malformed."""
        match = _KEY.fullmatch(text)
        if match is None:
            raise TokenInvalid
        return cls(UUID(hex=match[1]), match[2])


class ApiKeys:
    """The table of keys and the rules about it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def create(self, user_id: UUID, name: str, db: DatabaseSession) -> tuple[ApiKey, KeyCredential]:
        """A new key. Raises TooManyKeys, or LoginRequired when the account has been deleted meanwhile."""
        # The user's row is the lock between two requests that each see one place left.
        if db.scalar(select(User.id).where(User.id == user_id).with_for_update()) is None:
            raise LoginRequired
        number = db.scalar(select(func.count()).select_from(ApiKey).where(ApiKey.user_id == user_id))
        if (number or 0) >= MAX_KEYS:
            raise TooManyKeys
        credential = KeyCredential(uuid7(), new_secret())
        key = ApiKey(
            id=credential.key_id,
            user_id=user_id,
            name=name,
            secret_hash=digest(credential.secret),
            created_at=self._clock.now(),
        )
        db.add(key)
        return key, credential

    def find(self, credential: KeyCredential, db: DatabaseSession) -> ApiKey:
        """The key that the credential proves. Raises TokenInvalid."""
        return self.require_proved(db.get(ApiKey, credential.key_id), credential)

    def require_proved(self, key: ApiKey | None, credential: KeyCredential) -> ApiKey:
        """The key that was read under the credential's id, if it is proved. Raises TokenInvalid."""
        if key is None or not matches(credential.secret, key.secret_hash):
            raise TokenInvalid
        return key

    def use_is_noticeable(self, key: ApiKey) -> bool:
        """Whether using the key now is worth writing down."""
        return key.last_used_at is None or self._clock.now() - key.last_used_at >= LAST_USE_PRECISION

    def note_use(self, key_id: UUID, db: DatabaseSession) -> None:
        """Write down that the key is in use."""
        key = db.get(ApiKey, key_id)
        if key is not None:
            key.last_used_at = self._clock.now()

    def for_user(self, user_id: UUID, db: DatabaseSession) -> Sequence[ApiKey]:
        """The user's keys, newest first."""
        wanted = select(ApiKey).where(ApiKey.user_id == user_id)
        return db.scalars(wanted.order_by(ApiKey.created_at.desc(), ApiKey.id.desc())).all()

    def revoke(self, user_id: UUID, key_id: UUID, db: DatabaseSession) -> bool:
        """Revoke one of the user's keys; whether there was such a one."""
        revoked = delete(ApiKey).where(ApiKey.id == key_id, ApiKey.user_id == user_id).returning(ApiKey.id)
        return db.scalars(revoked).first() is not None

    def revoke_all(self, user_id: UUID, db: DatabaseSession) -> None:
        """Revoke all of the user's keys."""
        db.execute(delete(ApiKey).where(ApiKey.user_id == user_id))
