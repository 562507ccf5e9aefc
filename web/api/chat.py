"""/chat: messages in; answers come as events."""

import logging

from flask import Blueprint, Response, jsonify

from core.errors import (
    GenerationInProgress,
    GenerationLost,
    MessageTooLarge,
    NothingToStop,
    SessionRequired,
    SwitchboardError,
    TooManySessions,
    Unavailable,
    UnknownModel,
)
from core.generation.service import Accepted, check_size
from core.limits.message_limits import owner_of
from core.limits.status import RateLimited
from core.sessions.credential import Credential
from core.stores.tables import Session
from web.api.events import events, first_event
from web.api.session import personal
from web.auth import current_session
from web.auth.creation_plan import planned
from web.auth.credentials import set_cookie
from web.context import parts
from web.idempotency.header import idempotent
from web.limits import change_limits, rate_limit_headers
from web.openapi.operation import IDEMPOTENCY_KEY, Stream, documented
from web.schemas import responses
from web.schemas.requests import ChatMessage, Nothing, parse
from web.streaming import slots

logger = logging.getLogger(__name__)

blueprint = Blueprint("chat", __name__, url_prefix="/chat")

REFUSALS = (
    SessionRequired,
    GenerationInProgress,
    MessageTooLarge,
    UnknownModel,
    RateLimited,
    TooManySessions,
    GenerationLost,
)


@blueprint.post("")
@idempotent(in_session=True)
@documented({202: responses.Accepted}, access="anybody", body=ChatMessage, raises=REFUSALS, takes=(IDEMPOTENCY_KEY,))
def chat() -> Response:
    """Take a message; its answer goes to the session's events."""
    accepted, _, issued = _accept()
    response = jsonify(accepted.describe())
    response.status_code = 202
    return _with_cookie(personal(response), issued)


@blueprint.post("/sse")
@documented({200: Stream}, access="anybody", body=ChatMessage, raises=REFUSALS)
def chat_sse() -> Response:
    """Take a message, and answer with the events until the answer ends."""
    slots.take()
    accepted, session, issued = _accept()
    described = parts().runtime.sessions.describe(session)
    response = events.respond(session, accepted.before, first_event(described), until=str(accepted.generation_id))
    return _with_cookie(response, issued)


@blueprint.post("/stop")
@documented({202: responses.Stopped}, access="session", body=Nothing, raises=(NothingToStop, RateLimited))
def stop() -> Response:
    """Stop the answer; what has been shown of it is kept."""
    parse(Nothing)
    session = current_session.current_session()
    change_limits.admit_uncounted("stop", owner_of(session))
    stopped = parts().runtime.generations.stop(session)
    response = jsonify(session_id=str(session.id), generation_id=str(stopped))
    response.status_code = 202
    return personal(response)


def _accept() -> tuple[Accepted, Session, Credential | None]:
    body = parse(ChatMessage)
    check_size(body.message)
    session, issued = current_session.session_for_message(body.model)
    generations = parts().runtime.generations
    try:
        accepted = generations.accept(session, body.message, planned().generation_id)
    except Exception:
        if issued is not None:
            _discard(session)
        raise
    rate_limit_headers.note(accepted.limit_statuses)
    try:
        parts().commands.generate(accepted.generation_id)
    except Unavailable:
        logger.warning("the queue is away; the reaper calls the workers when it is back")
    return accepted, session, issued


def _discard(session: Session) -> None:
    """End a session that was made for a message which has been refused: nobody has its credential."""
    try:
        parts().runtime.actions.discard(session)
    except SwitchboardError as error:
        logger.warning("a session that nobody has waits for its expiry: %s", error.slug)


def _with_cookie(response: Response, issued: Credential | None) -> Response:
    if issued is not None:
        set_cookie(response, issued)
    return response
