"""/chat: messages in; answers come as events."""

from flask import Blueprint, Response, jsonify

from core.errors import Unavailable
from core.generation import Accepted, check_size
from core.models import Session
from core.session_service import Credential
from web import admission, limits
from web.bodies import ChatMessage, parse
from web.credentials import set_cookie
from web.parts import parts
from web.session import personal
from web.stream import events, first_event

blueprint = Blueprint("chat", __name__, url_prefix="/chat")


@blueprint.post("")
def chat() -> Response:
    """Take a message; its answer goes to the session's events."""
    accepted, _, issued = _accept()
    response = jsonify(accepted.describe())
    response.status_code = 202
    return _with_cookie(personal(response), issued)


@blueprint.post("/sse")
def chat_sse() -> Response:
    """Take a message, and answer with the events until the answer ends."""
    accepted, session, issued = _accept()
    described = parts().runtime.sessions.describe(session)
    response = events.respond(session, accepted.before, first_event(described), until=str(accepted.generation_id))
    return _with_cookie(response, issued)


def _accept() -> tuple[Accepted, Session, Credential | None]:
    body = parse(ChatMessage)
    check_size(body.message)
    session, issued = admission.session_for_message(body.model)
    generations = parts().runtime.generations
    accepted = generations.accept(session, body.message)
    limits.note(accepted.standings)
    try:
        parts().commands.generate(accepted.generation_id)
    except Unavailable:
        generations.withdraw(accepted.generation_id)
        raise
    return accepted, session, issued


def _with_cookie(response: Response, issued: Credential | None) -> Response:
    if issued is not None:
        set_cookie(response, issued)
    return response
