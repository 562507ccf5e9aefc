"""Tasks on the queue `sessions`: commands about one session, each answered with the session or a problem."""

from typing import Any
from uuid import UUID

from celery_config import TaskNames
from core.errors import InvalidBody
from workers.app import runtime
from workers.retry import Retry
from workers.task import Command, task

REPLY_RETRY = Retry(times=5, delay=2.0)
"""For a reply that can't be sent: a minute in all, in which Redis may come back."""

MAX_VERSION = 2**31 - 1
"""The greatest number of the column."""


@task(TaskNames.CREATE_SESSION, base=Command, idempotent_by="session_id", retry=REPLY_RETRY)
def create(session_id: str, secret_hash: str | None, owner_id: str | None, model: str | None) -> dict[str, Any]:
    """Create the session; the same id twice gives the same session."""
    session = runtime.actions.create(
        UUID(session_id),
        model,
        owner_id=UUID(owner_id) if owner_id else None,
        secret_hash=bytes.fromhex(secret_hash) if secret_hash else None,
    )
    return runtime.sessions.describe(session)


@task(TaskNames.SWITCH_MODEL, base=Command, idempotent_by="task_id", retry=REPLY_RETRY, bind=True)
def switch_model(
    self: Command, session_id: str, model: str, owner_id: str | None, version: int | None
) -> dict[str, Any]:
    """Switch the session's model and tell its readers."""
    _require_version(version)
    owner = UUID(owner_id) if owner_id else None
    command_id = UUID(self.request.id)
    session = runtime.actions.switch_model(UUID(session_id), model, owner, version, command_id)
    return runtime.sessions.describe(session)


def _require_version(version: object) -> None:
    """Raises InvalidBody for what no session can have as its version, which some databases would compare as another
    type, and others fail over."""
    if version is not None and not (type(version) is int and 0 <= version <= MAX_VERSION):
        raise InvalidBody(f"A session's version is a whole number from 0 to {MAX_VERSION}.")
