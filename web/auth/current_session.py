"""Which session a request speaks for: the one it proves to hold, or one that is made for it."""

from uuid import UUID

from flask import request

from core.auth.principal import Principal
from core.errors import QueueSlow, SessionRequired, SwitchboardError
from core.limits.message_limits import owner_of
from core.messaging.replies import Reply
from core.sessions.credential import Credential
from core.stores.tables import Session
from web.auth.client_address import client_address
from web.auth.creation_plan import planned
from web.auth.credentials import session_credential
from web.auth.principal import current_principal
from web.context import parts
from web.limits import change_limits, rate_limit_headers
from web.streaming import slots

PATIENCE = 10.0
"""Seconds to wait for a worker where the request can't be answered without it."""


def current_session() -> Session:
    """The session whose credential the request carries. Raises SessionRequired, SessionInvalid,
    SessionExpired or NotOwner."""
    credential = session_credential()
    if credential is None:
        raise SessionRequired
    return _validated(credential, current_principal())


def owned_session(session_id: UUID, principal: Principal) -> Session:
    """One of the user's sessions, by its id. Raises NotOwner, SessionInvalid or SessionExpired."""
    return _validated(Credential(session_id), principal)


def _validated(credential: Credential, principal: Principal | None) -> Session:
    runtime = parts().runtime
    with runtime.database.reading() as db:
        session = runtime.sessions.validate_session(
            credential.session_id,
            db,
            principal.user_id if principal else None,
            require_valid=True,
            secret_hash=credential.secret_hash,
        )
    assert session is not None
    return session


def new_credential() -> Credential:
    """What a session that is about to be created will be known by: a user's session by its id alone."""
    issued = planned().session
    return issued if current_principal() is None else Credential(issued.session_id)


def owner_id() -> UUID | None:
    """The user whom a session that is about to be created will belong to, if the request has one."""
    principal = current_principal()
    return principal.user_id if principal else None


def session_for_message(model: str | None) -> tuple[Session, Credential | None]:
    """The session that a message goes to, on the model that was asked for, and its credential if it is new."""
    if session_credential() is None:
        return _created(model, allowed=("on_message", "on_stream"))
    session = current_session()
    if model is not None and model != _current_model(session):
        change_limits.admit("switch", owner_of(session))
        result_of(
            parts().commands.switch_model(
                session.id, model, session.owner_id, None, PATIENCE, secret_hash=session.secret_hash
            )
        )
    return current_session(), None


def _current_model(session: Session) -> str:
    runtime = parts().runtime
    with runtime.database.reading() as db:
        return runtime.sessions.get_current_model(session.id, db)


def session_to_stream() -> tuple[Session, Credential | None]:
    """The session whose events are wanted, and its credential if it is new; with a place for the stream."""
    if session_credential() is not None:
        session = current_session()
        slots.take(session.id)
        return session, None
    if parts().runtime.settings.auto_create == "on_stream":
        slots.take()
    return _created(None, allowed=("on_stream",))


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


def admit_create(model: str | None) -> None:
    """Check, before anything is queued, that the request may create a session.

    Raises UnknownModel, RateLimited, TooManySessions or Unavailable.
    """
    runtime, owner = parts().runtime, owner_id()
    runtime.database.ping()  # who can't be given a session waits for no worker, and is charged nothing
    decision = runtime.creation_limits.admit(model, owner, address=client_address())
    rate_limit_headers.note(decision.limit_statuses)
    if owner is not None:
        with runtime.database.reading() as db:
            runtime.sessions.require_room(owner, db)


def _created(model: str | None, allowed: tuple[str, ...]) -> tuple[Session, Credential]:
    runtime, commands = parts().runtime, parts().commands
    if runtime.settings.auto_create not in allowed:
        raise SessionRequired
    admit_create(model)
    credential = new_credential()
    # Nobody is left to use a session that is made after the wait for it is over.
    result_of(commands.create_session(credential, owner_id(), model, PATIENCE, stale=PATIENCE))
    return _validated(credential, current_principal()), credential


def prefers_async() -> bool:
    """Whether the client would rather not wait (RFC 7240)."""
    preferences = ",".join(request.headers.getlist("Prefer")).split(",")
    return any(preference.split(";")[0].strip().lower() == "respond-async" for preference in preferences)
