"""/chat: messages in; answers come as events."""

import logging

from flask import Blueprint, Response, jsonify

from core.errors import (
    GenerationInProgress,
    GenerationLost,
    MessageTooLarge,
    NothingToStop,
    RateLimited,
    SwitchboardError,
    TooManySessions,
    Unavailable,
    UnknownModel,
)
from core.generation.service import Accepted, check_size
from core.limits.message_limits import owner_of
from core.sessions.queries import Session
from core.sessions.service import Credential
from web.api.events import events, first_event
from web.api.representations import personal
from web.api.session_creation import session_for_message
from web.api.stream_slot import take_stream_slot
from web.auth import current_session
from web.auth.creation_plan import creation_plan
from web.auth.credentials import set_session_cookie
from web.context import context
from web.errors import SessionRequired
from web.idempotency.header import idempotent
from web.limits import change_limits, rate_limit_headers
from web.openapi.operation import IDEMPOTENCY_KEY, Stream, documented
from web.schemas import responses
from web.schemas.requests import ChatMessage, Nothing, parse

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
    take_stream_slot()
    accepted, session, issued = _accept()
    described = context().runtime.sessions.describe(session)
    response = events.respond(session, accepted.before, first_event(described), until=str(accepted.generation_id))
    return _with_cookie(response, issued)


@blueprint.post("/stop")
@documented({202: responses.Stopped}, access="session", body=Nothing, raises=(NothingToStop, RateLimited))
def stop() -> Response:
    """Stop the answer; what has been shown of it is kept."""
    parse(Nothing)
    session = current_session.current_session()
    change_limits.admit_uncounted("stop", owner_of(session))
    stopped = context().runtime.generations.stop(session)
    response = jsonify(session_id=str(session.id), generation_id=str(stopped))
    response.status_code = 202
    return personal(response)


def _accept() -> tuple[Accepted, Session, Credential | None]:
    body = parse(ChatMessage)
    check_size(body.message)
    session, issued = session_for_message(body.model)
    generations = context().runtime.generations
    try:
        accepted = generations.accept(session, body.message, creation_plan().generation_id)
    except Exception:
        if issued is not None:
            _discard(session)
        raise
    rate_limit_headers.note(accepted.standings)
    try:
        context().commands.generate(accepted.generation_id)
    except Unavailable:
        logger.warning("the queue is away; the reaper calls the workers when it is back")
    return accepted, session, issued


def _discard(session: Session) -> None:
    """End a session that was made for a message which has been refused: nobody has its credential."""
    try:
        context().runtime.sweeper.delete(session)
    except SwitchboardError as error:
        logger.warning("a session that nobody has waits for its expiry: %s", error.slug)


def _with_cookie(response: Response, issued: Credential | None) -> Response:
    if issued is not None:
        set_session_cookie(response, issued)
    return response
