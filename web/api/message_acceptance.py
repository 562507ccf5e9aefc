"""Accepting a message: its session, its place in the queue, and a worker that is told of it."""

import logging
from typing import NamedTuple

from core.errors import SwitchboardError, Unavailable
from core.generation.service import Accepted, check_size
from core.sessions.credential import Credential
from core.sessions.queries import Session
from web.api.session_creation import session_for_message
from web.api.turns import Turns
from web.auth.creation_plan import creation_plan
from web.context import context
from web.limits import rate_limit_headers
from web.schemas.requests import ChatMessage

logger = logging.getLogger(__name__)

_turns = Turns(at_once=8, timeout=10.0)
"""Of messages that this process takes. A burst is taken late rather than refused."""


class AcceptedMessage(NamedTuple):
    """A message that will be answered, and its session."""

    accepted: Accepted
    session: Session
    issued: Credential | None
    """The session's credential, if the session was created for the message."""


def accept_message(session: Session | None, body: ChatMessage) -> AcceptedMessage:
    """Accept a message into the session, or without one into a session that is created for it, and tell a worker.

    Raises MessageTooLarge, what GenerationService.accept raises, and what creating a session or switching its model
    raises.
    """
    check_size(body.message)
    session, issued = session_for_message(session, body.model)
    try:
        with _turns.turn():
            accepted = _accept(session, body.message)
    except Exception:
        if issued is not None:
            discard_session(session)
        raise
    rate_limit_headers.note(accepted.limit_statuses)
    return AcceptedMessage(accepted, session, issued)


def _accept(session: Session, message: str) -> Accepted:
    plan = creation_plan()
    accepted = context().services.generations.accept(session, message, plan.generation_id, repeated=plan.repeated)
    try:
        context().commands.generate(accepted.generation_id)
    except Unavailable:
        logger.warning("the queue is away; the reaper calls the workers when it is back")
    return accepted


def discard_session(session: Session) -> None:
    """End a session that was created for a message which has been refused: its credential was never sent."""
    try:
        context().services.actions.discard(session)
    except SwitchboardError as error:
        logger.warning("an unused session could not be ended before its expiry: %s", error.slug)
