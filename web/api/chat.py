"""/chat: send a message, have it answered again or an answer continued, stop an answer."""

from contextlib import suppress

from flask import Blueprint, Response

from core.errors import (
    AnswerWhole,
    GenerationInProgress,
    GenerationLost,
    LoginRequired,
    MessageTooLarge,
    NoSuchMessage,
    NothingToRegenerate,
    NothingToStop,
    QueueSlow,
    TooManyBranches,
    TooManySessions,
    TooManyWaiting,
    Unavailable,
    UnknownModel,
)
from core.limits.message_limits import owner_of
from core.limits.status import RateLimited
from core.sessions.credential import Credential
from core.sessions.queries import Session
from web.api import events
from web.api.message_acceptance import accept, accept_message, wake_worker
from web.api.operation import operation
from web.api.stream_slot import take_stream_slot
from web.auth.access import OPTIONAL_SESSION, SESSION
from web.auth.credentials import set_session_cookie
from web.context import context
from web.errors import SessionRequired
from web.limits import change_limits
from web.openapi.declaration import Stream
from web.schemas import responses
from web.schemas.requests import ChatMessage, GoOn, Nothing, Regenerate
from web.streaming.door import wait_for_turn

blueprint = Blueprint("chat", __name__, url_prefix="/chat")

MESSAGE_ERRORS = (
    SessionRequired,
    GenerationInProgress,
    MessageTooLarge,
    UnknownModel,
    RateLimited,
    TooManySessions,
    LoginRequired,
    GenerationLost,
    QueueSlow,
    TooManyWaiting,
    NoSuchMessage,
    TooManyBranches,
)
AGAIN_ERRORS = (NoSuchMessage, GenerationInProgress, GenerationLost, RateLimited)
"""Of what is to be answered and is there already."""


@blueprint.post("")
@operation(
    access=OPTIONAL_SESSION,
    body=ChatMessage,
    answers={202: responses.Accepted},
    raises=MESSAGE_ERRORS,
    idempotent_by="session",
)
def chat(session: Session | None, body: ChatMessage, response: Response) -> responses.Accepted:
    """Send a message; the session's events bring its answer."""
    accepted, _, issued = accept_message(session, body)
    _set_issued(response, issued)
    return responses.Accepted(**accepted.describe())


@blueprint.post("/sse")
@operation(access=OPTIONAL_SESSION, body=ChatMessage, answers={200: Stream}, raises=MESSAGE_ERRORS)
def chat_sse(session: Session | None, body: ChatMessage) -> Response:
    """Send a message; the response streams the events until its answer ends."""
    wait_for_turn()  # its reader joins as any other
    take_stream_slot()
    accepted, session, issued = accept_message(session, body)
    described = context().services.sessions.describe(session)
    response = events.blueprint.respond(
        session, accepted.before, events.session_event(described), until=str(accepted.generation_id)
    )
    _set_issued(response, issued)
    return response


@blueprint.post("/regenerate")
@operation(
    access=SESSION,
    body=Regenerate,
    answers={202: responses.Accepted},
    raises=(*AGAIN_ERRORS, UnknownModel, NothingToRegenerate, TooManyBranches),
    idempotent_by="session",
)
def regenerate(session: Session, body: Regenerate) -> responses.Accepted:
    """Have another answer written beside this one, by default the last, or to this question."""
    generations = context().services.generations
    accepted = accept(
        lambda generation_id, repeated: generations.regenerate(
            session, body.message_id, generation_id, repeated=repeated, model=body.model
        )
    )
    return responses.Accepted(**accepted.describe())


@blueprint.post("/continue")
@operation(
    access=SESSION,
    body=GoOn,
    answers={202: responses.Accepted},
    raises=(*AGAIN_ERRORS, AnswerWhole),
    idempotent_by="session",
)
def go_on(session: Session, body: GoOn) -> responses.Accepted:
    """Continue an answer that ended with `length`, by default the last, in the same message."""
    generations = context().services.generations
    accepted = accept(
        lambda generation_id, repeated: generations.continue_answer(
            session, body.message_id, generation_id, repeated=repeated
        )
    )
    return responses.Accepted(**accepted.describe())


@blueprint.post("/stop")
@operation(access=SESSION, body=Nothing, answers={202: responses.Stopped}, raises=(NothingToStop, RateLimited))
def stop(session: Session) -> responses.Stopped:
    """Stop the answer that is being written; what has been shown of it is kept. Questions that wait are answered
    next."""
    change_limits.admit_uncounted("stop", owner_of(session))
    stopped = context().services.generations.stop(session)
    with suppress(Unavailable):  # the reaper goes on with what waits
        following = context().services.promotion.promote(session.id)
        if following is not None:
            wake_worker(following)
    return responses.Stopped(session_id=session.id, generation_id=stopped)


def _set_issued(response: Response, issued: Credential | None) -> None:
    if issued is not None:
        set_session_cookie(response, issued)
