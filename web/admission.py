"""Which session a request speaks for: the one it proves to hold, or one that is made for it."""

from flask import request

from core.errors import QueueSlow, SessionRequired, SwitchboardError
from core.models import Session
from core.replies import Reply
from core.session_service import Credential
from web.credentials import session_credential
from web.parts import parts

PATIENCE = 10.0
"""Seconds to wait for a worker where the request can't be answered without it."""


def current_session() -> Session:
    """The session whose credential the request carries. Raises SessionRequired, SessionInvalid,
    SessionExpired or NotOwner."""
    credential = session_credential()
    if credential is None:
        raise SessionRequired
    runtime = parts().runtime
    with runtime.database.reading() as db:
        session = runtime.sessions.validate_session(
            credential.session_id, db, require_valid=True, secret_hash=credential.secret_hash
        )
    assert session is not None
    return session


def session_for_message(model: str | None) -> tuple[Session, Credential | None]:
    """The session that a message goes to, on the model that was asked for, and its credential if it is new."""
    if session_credential() is None:
        return _created(model, allowed=("on_message", "on_stream"))
    session = current_session()
    runtime, commands = parts().runtime, parts().commands
    if model is not None and model != runtime.sessions.current_model(session):
        result_of(commands.switch_model(session.id, model, session.owner_id, None, PATIENCE))
    return current_session(), None


def session_to_stream() -> tuple[Session, Credential | None]:
    """The session whose events are wanted, and its credential if it is new."""
    if session_credential() is None:
        return _created(None, allowed=("on_stream",))
    return current_session(), None


def result_of(reply: Reply) -> Reply:
    """The reply, if it is a result. Raises QueueSlow when it is pending, CommandFailed when it is a problem."""
    if reply.problem is not None:
        raise CommandFailed(reply)
    if reply.result is None:
        raise QueueSlow(retry_after=2)
    return reply


class CommandFailed(SwitchboardError):
    """A worker answered with a problem; it is passed on as it is."""

    def __init__(self, reply: Reply) -> None:
        assert reply.problem is not None
        self._problem = reply.problem
        super().__init__(str(reply.problem["detail"]))
        self.status = int(reply.problem["status"])  # type: ignore[misc]

    def problem(self) -> dict[str, object]:
        """The worker's problem details."""
        return self._problem


def _created(model: str | None, allowed: tuple[str, ...]) -> tuple[Session, Credential]:
    runtime, commands = parts().runtime, parts().commands
    if runtime.settings.auto_create not in allowed:
        raise SessionRequired
    runtime.sessions.admit_create(model)
    credential = Credential.issue()
    result_of(commands.create_session(credential, None, model, PATIENCE))
    with runtime.database.reading() as db:
        session = runtime.sessions.validate_session(
            credential.session_id, db, require_valid=True, secret_hash=credential.secret_hash
        )
    assert session is not None
    return session, credential


def prefers_async() -> bool:
    """Whether the client would rather not wait (RFC 7240)."""
    preferences = ",".join(request.headers.getlist("Prefer")).split(",")
    return any(preference.split(";")[0].strip().lower() == "respond-async" for preference in preferences)
