"""Accepting a message: its session, its place in the queue, and a worker that is told of it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore
from typing import NamedTuple

from core.errors import SwitchboardError, Unavailable
from core.generation.service import Accepted, check_size
from core.sessions.credential import Credential
from core.sessions.queries import Session
from web.api.session_creation import session_for_message
from web.auth.creation_plan import creation_plan
from web.context import context
from web.limits import rate_limit_headers
from web.schemas.requests import ChatMessage

logger = logging.getLogger(__name__)

ACCEPTED_AT_ONCE = 8
"""Messages that this process takes at once; the others wait for their turn. All of them begun together would be done
together, and late, or fail for want of a connection in the middle."""
TURN_TIMEOUT = 5.0
"""Seconds to wait for it: a burst is taken late rather than refused."""
_turns = Semaphore(ACCEPTED_AT_ONCE)


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
        with _turn():
            accepted = _accept(session, body.message)
    except Exception:
        if issued is not None:
            _discard(session)
        raise
    rate_limit_headers.note(accepted.limit_statuses)
    return AcceptedMessage(accepted, session, issued)


@contextmanager
def _turn() -> Iterator[None]:
    """While a message is being taken. Raises Unavailable when there are too many others."""
    if not _turns.acquire(timeout=TURN_TIMEOUT):
        raise Unavailable("Too many messages are coming in; try again in a moment.", retry_after=2)
    try:
        yield
    finally:
        _turns.release()


def _accept(session: Session, message: str) -> Accepted:
    plan = creation_plan()
    accepted = context().services.generations.accept(session, message, plan.generation_id, repeated=plan.repeated)
    try:
        context().commands.generate(accepted.generation_id)
    except Unavailable:
        logger.warning("the queue is away; the reaper calls the workers when it is back")
    return accepted


def _discard(session: Session) -> None:
    """End a session that was created for a message which has been refused: its credential was never sent."""
    try:
        context().services.actions.discard(session)
    except SwitchboardError as error:
        logger.warning("an unused session could not be ended before its expiry: %s", error.slug)
