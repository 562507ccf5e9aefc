"""The session that a request proves to hold."""

from uuid import UUID

from flask import g

from core.auth.principal import Principal
from core.errors import SessionInvalid, SwitchboardError
from core.observability.log_ids import add_ids
from core.sessions.credential import Credential
from core.sessions.queries import Session
from web.auth.credentials import session_credential
from web.auth.principal import current_principal, identify
from web.context import context
from web.errors import SessionRequired

_FOUND = "found_session"


def current_session() -> Session:
    """The session whose credential the request carries. Raises SessionRequired, SessionInvalid,
    SessionExpired or NotOwner."""
    session = optional_session()
    if session is None:
        raise SessionRequired
    return session


def optional_session() -> Session | None:
    """The session whose credential the request carries; None without one. Raises SessionInvalid, SessionExpired or
    NotOwner."""
    credential = session_credential()
    if credential is None:
        return None
    identify_with_session()
    found: Session | SwitchboardError | None = g.pop(_FOUND, None)  # once: who asks again wants to know anew
    if isinstance(found, SwitchboardError):
        raise found
    return _noted(found) if found else validated_session(credential, current_principal())


def identify_with_session() -> Principal | None:
    """The user who sent the request, as `current_principal` has it. The session that the request names is looked up
    in the same transaction, for `optional_session`."""
    found = identify(_well_formed())
    if found is not None:
        setattr(g, _FOUND, found)
    return current_principal()


def owned_session(session_id: UUID, principal: Principal) -> Session:
    """One of the user's sessions, by its id. Raises NotOwner, SessionInvalid or SessionExpired."""
    return validated_session(Credential(session_id), principal)


def validated_session(credential: Credential, principal: Principal | None) -> Session:
    """The living session that the credential and the principal prove to hold.

    Raises SessionInvalid, SessionExpired or NotOwner.
    """
    user_id = principal.user_id if principal else None
    queries = context().services.session_queries
    return _noted(queries.validate_session(credential.session_id, user_id, credential.secret_hash))


def _noted(session: Session) -> Session:
    add_ids(session_id=str(session.id))
    return session


def _well_formed() -> Credential | None:
    try:
        return session_credential()
    except SessionInvalid:
        return None
