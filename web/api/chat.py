"""/chat: send a message, stop its answer."""

import logging

from flask import Blueprint, Response

from core.errors import (
    GenerationInProgress,
    GenerationLost,
    LoginRequired,
    MessageTooLarge,
    NothingToStop,
    QueueSlow,
    RateLimited,
    SessionRequired,
    SwitchboardError,
    TooManySessions,
    Unavailable,
    UnknownModel,
)
from core.generation.service import Accepted, check_size
from core.limits.message_limits import owner_of
from core.sessions.queries import Session
from core.sessions.service import Credential
from web.api import events
from web.api.operation import operation
from web.api.session_creation import session_for_message
from web.api.stream_slot import take_stream_slot
from web.auth.access import OPTIONAL_SESSION, SESSION
from web.auth.creation_plan import creation_plan
from web.auth.credentials import set_cookie
from web.context import context
from web.limits import change_limits, rate_limit_headers
from web.openapi.declaration import Stream
from web.schemas import responses
from web.schemas.requests import ChatMessage, Nothing

logger = logging.getLogger(__name__)

blueprint = Blueprint("chat", __name__, url_prefix="/chat")

REFUSALS = (
    SessionRequired,
    GenerationInProgress,
    MessageTooLarge,
    UnknownModel,
    RateLimited,
    TooManySessions,
    LoginRequired,
    GenerationLost,
    QueueSlow,
)


@blueprint.post("")
@operation(
    access=OPTIONAL_SESSION,
    body=ChatMessage,
    answers={202: responses.Accepted},
    raises=REFUSALS,
    idempotent_by="session",
)
def chat(body: ChatMessage, response: Response) -> responses.Accepted:
    """Send a message; the session's events bring its answer."""
    accepted, _, issued = _accept(body)
    _set_issued(response, issued)
    return responses.Accepted(**accepted.describe())


@blueprint.post("/sse")
@operation(access=OPTIONAL_SESSION, body=ChatMessage, answers={200: Stream}, raises=REFUSALS)
def chat_sse(body: ChatMessage) -> Response:
    """Send a message; the response streams the events until its answer ends."""
    take_stream_slot()
    accepted, session, issued = _accept(body)
    described = context().runtime.sessions.describe(session)
    response = events.blueprint.respond(
        session, accepted.before, events.first_event(described), until=str(accepted.generation_id)
    )
    _set_issued(response, issued)
    return response


@blueprint.post("/stop")
@operation(access=SESSION, body=Nothing, answers={202: responses.Stopped}, raises=(NothingToStop, RateLimited))
def stop(session: Session) -> responses.Stopped:
    """Stop the answer that is being written; what has been shown of it is kept."""
    change_limits.admit_uncounted("stop", owner_of(session))
    stopped = context().runtime.generations.stop(session)
    return responses.Stopped(session_id=session.id, generation_id=stopped)


def _accept(body: ChatMessage) -> tuple[Accepted, Session, Credential | None]:
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
    """End a session that was created for a message which has been refused: its credential was never sent."""
    try:
        context().runtime.sweeper.delete(session)
    except SwitchboardError as error:
        logger.warning("an unused session could not be ended before its expiry: %s", error.slug)


def _set_issued(response: Response, issued: Credential | None) -> None:
    if issued is not None:
        set_cookie(response, issued)
