"""Sessions that a request creates: by POST /session/create, or with its first message or stream."""

from uuid import UUID

from core.limits.message_limits import owner_of
from core.sessions.credential import Credential
from core.sessions.queries import Session
from web.api.stream_slot import take_stream_slot
from web.auth.client_address import client_address
from web.auth.creation_plan import new_credential
from web.auth.current_session import validated_session
from web.auth.principal import current_principal
from web.commands import result_of
from web.context import context
from web.errors import SessionRequired
from web.limits import change_limits, rate_limit_headers

COMMAND_TIMEOUT = 10.0
"""Seconds to wait for a worker's reply where the request can't be answered without it."""


def owner_id() -> UUID | None:
    """The user that a session which is about to be created will belong to, if the request has one."""
    principal = current_principal()
    return principal.user_id if principal else None


def admit_create(model: str | None) -> None:
    """Check, before anything is queued, that the request may create a session.

    Raises UnknownModel, RateLimited, TooManySessions or Unavailable.
    """
    services, owner = context().services, owner_id()
    # First: without a database no session can be created, so the request waits for no worker and is charged nothing.
    context().database_check.call()
    decision = services.creation_limits.admit(model, owner, address=client_address())
    rate_limit_headers.note(decision.limit_statuses)
    if owner is not None:
        services.session_queries.require_room(owner)


def session_for_message(session: Session | None, model: str | None) -> tuple[Session, Credential | None]:
    """The session that a message goes to, on the model that was asked for, and its credential if it is new: the
    request's session, or without one a session that is created."""
    if session is None:
        return _created(model, allowed=("on_message", "on_stream"))
    services, commands = context().services, context().commands
    if model is None or model == services.sessions.model_of(session):
        return session, None
    change_limits.admit("switch", owner_of(session))
    result_of(
        commands.switch_model(
            session.id, model, session.owner_id, None, COMMAND_TIMEOUT, secret_hash=session.secret_hash
        )
    )
    proof = (session.id, session.owner_id, session.secret_hash)
    return services.session_queries.validate_session(*proof), None


def session_to_stream(session: Session | None) -> tuple[Session, Credential | None]:
    """The session whose events are wanted, and its credential if it is new; with a slot for the stream."""
    if session is not None:
        take_stream_slot(session.id)
        return session, None
    if context().options.auto_create == "on_stream":
        take_stream_slot()
    return _created(None, allowed=("on_stream",))


def session_of_user(model: str | None) -> Session:
    """A new session of the user who sent the request, and who asks for one, whatever the policy is for others."""
    return _create(model)[0]


def _created(model: str | None, allowed: tuple[str, ...]) -> tuple[Session, Credential]:
    if context().options.auto_create not in allowed:
        raise SessionRequired
    return _create(model)


def _create(model: str | None) -> tuple[Session, Credential]:
    admit_create(model)
    credential = new_credential()
    # Nothing uses a session that is created after the wait for it is over.
    commands = context().commands
    result_of(commands.create_session(credential, owner_id(), model, COMMAND_TIMEOUT, stale=COMMAND_TIMEOUT))
    return validated_session(credential, current_principal()), credential
