"""Accepting what is to be answered: its session, its place in the queue, and a worker that is told of it."""

import logging
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from core.errors import SwitchboardError, Unavailable
from core.generation.accepted import Accepted
from core.generation.service import check_size
from core.generation.wishes import CURRENT_LEAF
from core.limits.message_limits import owner_of
from core.sessions.credential import Credential
from core.sessions.queries import Session
from web.api.session_creation import session_for_message
from web.api.turns import Turns
from web.auth.creation_plan import creation_plan
from web.context import context
from web.limits import change_limits, rate_limit_headers
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
        accepted = accept(lambda generation_id, repeated: _take(session, body, generation_id, repeated))
    except Exception:
        if issued is not None:
            discard_session(session)
        raise
    return AcceptedMessage(accepted, session, issued)


def wake_worker(generation_id: UUID) -> None:
    """Have a worker look for what waits: this generation, most likely."""
    try:
        context().commands.generate(generation_id)
    except Unavailable:
        logger.warning("the queue is away; the reaper calls the workers when it is back")


def accept(take: Callable[[UUID, bool], Accepted]) -> Accepted:
    """Take something to be answered when it is its turn, and tell a worker. `take` is given the generation's id, and
    whether a request before this one may have taken it."""
    plan = creation_plan()
    with _turns.turn():
        accepted = take(plan.generation_id, plan.repeated)
        woken = accepted.to_wake if accepted.waits else accepted.generation_id
        if woken is not None:
            wake_worker(woken)
    rate_limit_headers.note(accepted.limit_statuses)
    return accepted


def _take(session: Session, body: ChatMessage, generation_id: UUID, repeated: bool) -> Accepted:
    parent = body.parent if "parent" in body.model_fields_set else CURRENT_LEAF
    if body.while_busy != "reject":
        change_limits.admit("queue", owner_of(session))
    return context().services.generations.accept(
        session, body.message, generation_id, repeated=repeated, parent=parent, while_busy=body.while_busy
    )


def discard_session(session: Session) -> None:
    """End a session that was created for a message which has been refused: its credential was never sent."""
    try:
        context().services.actions.discard(session)
    except SwitchboardError as error:
        logger.warning("an unused session could not be ended before its expiry: %s", error.slug)
