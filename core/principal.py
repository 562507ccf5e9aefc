"""Who a request speaks for, once that has been proved."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID


@dataclass(frozen=True)
class Principal:
    """A user, and how they proved to be one. An anonymous person has no principal."""

    user_id: UUID
    method: Literal["login", "api-key", "oidc"]
    login_id: UUID | None = None
    """The browser's login that was used, so that it can be told from the user's others."""
