"""The user that a request is authenticated as."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID


@dataclass(frozen=True)
class Principal:
    """A user, and how they proved to be one. An anonymous person has no principal."""

    user_id: UUID
    method: Literal["login", "api-key", "oidc"]
    login_id: UUID | None = None
    """The browser's login that was used, so that it can be told from the user's others."""
    key_id: UUID | None = None
    """The API key that was used."""
    expires_at: datetime | None = None
    """When the issuer's token ends, leeway included. Logins and keys end in the database."""
