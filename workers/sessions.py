"""Tasks on the queue `sessions`: commands about one session, each answered with the session or a problem."""

from typing import Any
from uuid import UUID

from celery_config import TaskNames
from workers.app import Command, app, runtime


@app.task(name=TaskNames.CREATE_SESSION, base=Command)
def create(session_id: str, secret_hash: str | None, owner_id: str | None, model: str | None) -> dict[str, Any]:
    """Create the session; the same id twice gives the same session."""
    session = runtime.actions.create(
        UUID(session_id),
        model,
        owner_id=UUID(owner_id) if owner_id else None,
        secret_hash=bytes.fromhex(secret_hash) if secret_hash else None,
    )
    return runtime.sessions.describe(session)


@app.task(name=TaskNames.SWITCH_MODEL, base=Command, bind=True)
def switch_model(
    self: Command, session_id: str, model: str, owner_id: str | None, version: int | None
) -> dict[str, Any]:
    """Switch the session's model and tell its readers."""
    owner = UUID(owner_id) if owner_id else None
    command_id = UUID(self.request.id)
    session = runtime.actions.switch_model(UUID(session_id), model, owner, version, command_id)
    return runtime.sessions.describe(session)
