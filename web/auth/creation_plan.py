"""What a request will create, if it creates anything."""

from dataclasses import dataclass, field
from uuid import UUID

from flask import g
from uuid_utils.compat import uuid7

from core.sessions.credential import Credential
from web.auth.principal import current_principal


@dataclass(frozen=True)
class CreationPlan:
    """The ids and secrets of what a request creates, fixed before it begins."""

    session: Credential
    generation_id: UUID
    repeated: bool = field(default=False, compare=False)
    """Whether a request before this one may have created some of it."""

    @classmethod
    def new(cls) -> "CreationPlan":
        """The plan of a request that is sent once."""
        return cls(Credential.issue(), uuid7())


def creation_plan() -> CreationPlan:
    """The request's plan: a new one, unless an idempotency key has fixed it in advance."""
    if "creation_plan" not in g:
        g.creation_plan = CreationPlan.new()
    plan: CreationPlan = g.creation_plan
    return plan


def set_creation_plan(plan: CreationPlan) -> None:
    """Have the request create what this plan says."""
    g.creation_plan = plan


def new_credential() -> Credential:
    """The credential of the session that the request creates: a user's session is named by its id alone."""
    issued = creation_plan().session
    return issued if current_principal() is None else Credential(issued.session_id)
