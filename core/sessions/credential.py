"""The credential of an anonymous session: what its holder presents, and what the database keeps of it."""

from dataclasses import dataclass
from uuid import UUID

from uuid_utils.compat import uuid7

from core.errors import SessionInvalid
from core.secret import MAX_LENGTH, digest, new_secret, parse_id


@dataclass(frozen=True)
class Credential:
    """The two halves of an anonymous session's credential, `<session_id>.<secret>` on the wire."""

    session_id: UUID
    secret: str | None = None
    """None names a session without proving anything: enough for an owner, whose login is the proof."""

    def __repr__(self) -> str:
        return f"Credential({self.session_id})"  # the secret stays out of logs and tracebacks

    def __str__(self) -> str:
        return f"{self.session_id}.{self.secret}" if self.secret else str(self.session_id)

    @classmethod
    def issue(cls, session_id: UUID | None = None) -> "Credential":
        """A new secret for the session of this id, or for one with a new id (UUIDv7)."""
        return cls(session_id or uuid7(), new_secret())

    @classmethod
    def parse(cls, text: str) -> "Credential":
        """Read what a client sent. Raises SessionInvalid when it is malformed."""
        session_id, _, secret = text.partition(".")
        parsed = parse_id(session_id)
        if parsed is None or len(secret) > MAX_LENGTH:
            raise SessionInvalid
        return cls(parsed, secret or None)

    @property
    def secret_hash(self) -> bytes | None:
        """What the database keeps of the secret."""
        return None if self.secret is None else digest(self.secret)
