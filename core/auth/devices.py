"""Devices: browsers in which an account's password has been proved before (OWASP, "Slow Down Online Guessing Attacks
with Device Cookies").

Strangers' attempts use up the limits of an account and of an address; a browser that is known has limits of its own,
so that no user is locked out of their account by others. Its cookie is no login, and nothing is stored for it: its
signature's key is the stored hash of the account's password, which every server has and which a new password replaces
(so does a renewal of the hash; then the other browsers become known again with their next log-in).
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

DEVICE_LIFETIME = timedelta(days=365)
"""How long a browser is known after its last log-in. Browsers keep no cookie for more than 400 days (RFC 6265bis,
5.5)."""
NONCE_BYTES = 16
"""128 random bits tell an account's devices apart."""

_COOKIE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")
# No password has this hash: a cookie of an unknown account is checked with the same work.
_NO_HASH = secrets.token_hex(48)


@dataclass(frozen=True)
class Device:
    """The three parts of a device cookie, `<user_id>.<nonce>.<signature>`; the signature may be forged."""

    user_id: UUID
    nonce: str
    signature: str

    def __repr__(self) -> str:
        return f"Device({self.user_id})"  # what proves it stays out of logs and tracebacks

    def __str__(self) -> str:
        return f"{self.user_id}.{self.nonce}.{self.signature}"

    @classmethod
    def issue(cls, user_id: UUID, password_hash: str, before: "Device | None" = None) -> "Device":
        """A browser in which the password of this hash has just been proved; `before` is what it was known as."""
        nonce = before.nonce if before else secrets.token_urlsafe(NONCE_BYTES)
        return cls(user_id, nonce, _signature(user_id, nonce, password_hash))

    @classmethod
    def parse(cls, text: str) -> "Device | None":
        """Read what a browser sent; None when it is malformed."""
        match = _COOKIE.fullmatch(text)
        return None if match is None else cls(UUID(match[1]), match[2], match[3])

    def signed_with(self, password_hash: str | None) -> bool:
        """Whether the signature is of the password whose hash this is. In constant time, also without a hash."""
        expected = _signature(self.user_id, self.nonce, password_hash or _NO_HASH)
        return hmac.compare_digest(self.signature, expected) and password_hash is not None


def _signature(user_id: UUID, nonce: str, password_hash: str) -> str:
    signed = hmac.digest(password_hash.encode(), f"device {user_id} {nonce}".encode(), "sha256")
    return urlsafe_b64encode(signed).decode().rstrip("=")
