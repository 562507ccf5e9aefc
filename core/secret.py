"""Secrets that prove something: 256 random bits each, of which only a hash is stored.

Nobody guesses 256 bits, so one plain SHA-256 is enough (OWASP ASVS 5, 7.2.3); passwords, which people choose, need
more (core/auth/passwords.py).
"""

import hmac
import secrets
from hashlib import sha256
from uuid import UUID

SECRET_BYTES = 32
DIGEST_BYTES = 32
"""Of SHA-256."""
MAX_LENGTH = 128
"""Characters of a secret that are looked at; ours have 43."""


def new_secret() -> str:
    """A new secret, in letters that go into cookies and headers as they are."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> bytes:
    """What the database keeps of a secret."""
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


def matches(secret: str, stored: bytes) -> bool:
    """Whether this is the secret whose digest is stored."""
    return digests_match(digest(secret), stored)


def digests_match(presented: bytes, stored: bytes) -> bool:
    """Whether two digests are equal. In constant time, so that a secret can't be found bit by bit."""
    return hmac.compare_digest(presented, stored)


def parse_id(text: str) -> UUID | None:
    """The id, if it is one in its one canonical spelling."""
    try:
        parsed = UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text else None
