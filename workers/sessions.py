"""Tasks on the queue `sessions`: commands about one session each, answered with the session or a problem."""

from collections.abc import Sequence
from uuid import UUID

from celery_config import TaskNames
from core.errors import InvalidBody, SwitchboardError
from core.sessions.actions import Switch
from core.sessions.service import NewSession
from core.stores.tables import Session
from workers.app import runtime
from workers.calls import Call
from workers.retry import Retry
from workers.task import Command, Result, task

REPLY_RETRY = Retry(times=5, delay=2.0)
"""For a reply that can't be sent: a minute in all, in which Redis may come back."""

MAX_VERSION = 2**31 - 1
"""The greatest number of the column."""


@task(TaskNames.CREATE_SESSION, base=Command, idempotent_by="session_id", retry=REPLY_RETRY)
def create(calls: Sequence[Call]) -> list[Result]:
    """Create the sessions; the same id twice gives the same session."""
    wanted = [_new_session(*call.args, **call.kwargs) for call in calls]
    return [_described(session) for session in runtime.actions.create(wanted)]


@task(TaskNames.SWITCH_MODEL, base=Command, idempotent_by="task_id", retry=REPLY_RETRY)
def switch_model(calls: Sequence[Call]) -> list[Result]:
    """Switch the sessions' models and tell their readers."""
    switches = [_switch(call.pending.task_id, *call.args, **call.kwargs) for call in calls]
    return [_described(session) for session in runtime.actions.switch_models(switches)]


def _new_session(session_id: str, secret_hash: str | None, owner_id: str | None, model: str | None) -> NewSession:
    owner = UUID(owner_id) if owner_id else None
    return NewSession(UUID(session_id), owner, bytes.fromhex(secret_hash) if secret_hash else None, model)


def _switch(
    task_id: str, session_id: str, model: str, owner_id: str | None, version: int | None, live: bool = False
) -> Switch:
    _require_version(version)
    owner = UUID(owner_id) if owner_id else None
    return Switch(UUID(session_id), model, owner, version, UUID(task_id), live is True)


def _described(session: Session | SwitchboardError) -> Result:
    return session if isinstance(session, SwitchboardError) else runtime.sessions.describe(session)


def _require_version(version: object) -> None:
    """Raises InvalidBody for what no session can have as its version, which some databases would compare as another
    type, and others fail over."""
    if version is not None and not (type(version) is int and 0 <= version <= MAX_VERSION):
        raise InvalidBody(f"A session's version is a whole number from 0 to {MAX_VERSION}.")
