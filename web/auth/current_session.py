"""The session that a request proves to hold."""

from uuid import UUID

from core.auth.principal import Principal
from core.sessions.credential import Credential
from core.sessions.queries import Session
from web.auth.credentials import session_credential
from web.auth.principal import current_principal
from web.context import context
from web.errors import SessionRequired


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
    return None if credential is None else validated_session(credential, current_principal())


def owned_session(session_id: UUID, principal: Principal) -> Session:
    """One of the user's sessions, by its id. Raises NotOwner, SessionInvalid or SessionExpired."""
    return validated_session(Credential(session_id), principal)


def validated_session(credential: Credential, principal: Principal | None) -> Session:
    """The living session that the credential and the principal prove to hold.

    Raises SessionInvalid, SessionExpired or NotOwner.
    """
    user_id = principal.user_id if principal else None
    return context().services.session_queries.validate_session(credential.session_id, user_id, credential.secret_hash)
