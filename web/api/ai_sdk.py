"""/api/chat: the AI SDK's UI message stream, for `useChat` and all that speaks it (docs/clients.md)."""

import json
import time
from uuid import UUID

from flask import Blueprint, Response
from werkzeug.routing import PathConverter

from core.auth.principal import Principal
from core.conversation.finished_messages import UnknownMessage
from core.errors import InvalidBody, NothingToRegenerate, NothingToStop, NotOwner, SessionExpired, SessionInvalid
from core.limits.message_limits import owner_of
from core.limits.status import RateLimited
from core.sessions.queries import Session
from web.ai_sdk.chunks import ui_message
from web.ai_sdk.requests import UIChat
from web.api import ai_sdk_answers, ai_sdk_questions, parameters
from web.api.ai_sdk_answers import find_named
from web.api.chat import MESSAGE_ERRORS
from web.api.conversation_json import one_of_readers
from web.api.message_acceptance import AcceptedMessage
from web.api.operation import operation
from web.api.stream_slot import take_stream_slot
from web.auth.access import OPTIONAL_SESSION
from web.auth.credentials import set_session_cookie
from web.context import context
from web.errors import (
    IdempotencyInFlight,
    IdempotencyKeyInvalid,
    IdempotencyMismatch,
    PositionLost,
    SessionRequired,
)
from web.idempotency.header import idempotent
from web.limits import change_limits
from web.openapi.declaration import IDEMPOTENCY_KEY, Encoded, StreamOf
from web.schemas import ai_sdk, responses
from web.schemas.requests import Nothing
from web.streaming.door import wait_for_turn

blueprint = Blueprint("ai_sdk", __name__, url_prefix="/api/chat")


class ChatIdConverter(PathConverter):
    """What the clients put into their URLs as it is: also slashes, and ends of lines."""

    regex = r"[^/][\s\S]*?"


blueprint.record(lambda state: state.app.url_map.converters.update(chat=ChatIdConverter))

CHUNKS = StreamOf(ai_sdk.UIMessageEvent)
REPEAT_ERRORS = (IdempotencyKeyInvalid, IdempotencyMismatch, IdempotencyInFlight)
NAMED_ERRORS = (NotOwner, SessionInvalid, SessionExpired)
LIMIT = parameters.page_size(200, 200)
BEFORE = parameters.page_end(
    "The id of the oldest message that is known, for the page before it.", "the id of a message of this session"
)


@blueprint.post("")
@operation(
    access=OPTIONAL_SESSION,
    body=UIChat,
    takes=(IDEMPOTENCY_KEY,),
    answers={200: CHUNKS},
    raises=(*MESSAGE_ERRORS, *NAMED_ERRORS, *REPEAT_ERRORS, NothingToRegenerate, PositionLost),
)
def chat(session: Session | None, principal: Principal | None, body: UIChat) -> Response:
    """Send a message, a new version of one, or the wish for another answer; the response streams the answer.

    A repeat under the same key streams the same answer from its beginning.
    """
    wait_for_turn()  # its reader joins as any other
    session, _ = find_named(body.id, session, principal)
    take_stream_slot()
    taken: list[AcceptedMessage] = []

    def take() -> Response:
        accepted = ai_sdk_questions.accept(session, body)
        taken.append(accepted)
        kept = Response(str(accepted.accepted.generation_id))
        if accepted.issued is not None:
            set_session_cookie(kept, accepted.issued)
        return kept

    kept = idempotent(in_session=True)(take)()
    if taken:
        response = ai_sdk_answers.follow(taken[0].session, taken[0].accepted)
    else:
        response = ai_sdk_answers.repeat(UUID(kept.get_data(as_text=True)), principal)
    for cookie in kept.headers.getlist("Set-Cookie"):
        response.headers.add("Set-Cookie", cookie)
    return response


@blueprint.get("/<chat:chat_id>/stream")
@operation(
    access=OPTIONAL_SESSION,
    takes=(parameters.START_INDEX,),
    answers={200: CHUNKS, 204: None},
    raises=(*NAMED_ERRORS, RateLimited, PositionLost),
    safe=False,  # it holds a reader
)
def stream(
    chat_id: str, session: Session | None, principal: Principal | None, start_index: int | None
) -> Response | None:
    """Come back to the answer that is being written; 204 when there is none.

    It begins anew, with what there is as one delta. With `startIndex` the chunks are those of the answer's first
    stream, from that number on.
    """
    wait_for_turn()
    session, generation = find_named(chat_id, session, principal)
    take_stream_slot(session.id if session else None)
    if start_index is None:
        return ai_sdk_answers.resume(session, generation)
    return ai_sdk_answers.resume_from(session, generation, start_index)


@blueprint.post("/<chat:chat_id>/stop")
@operation(
    access=OPTIONAL_SESSION,
    body=Nothing,
    answers={202: responses.Stopped},
    raises=(SessionRequired, *NAMED_ERRORS, NothingToStop, RateLimited),
)
def stop(chat_id: str, session: Session | None, principal: Principal | None) -> responses.Stopped:
    """Stop the answer that is being written; what has been shown of it is kept."""
    session, generation = find_named(chat_id, session, principal)
    if session is None:
        raise SessionRequired
    change_limits.admit_uncounted("stop", owner_of(session))
    generations = context().services.generations
    if generation is not None and not generation.live:
        raise NothingToStop
    return responses.Stopped(session_id=session.id, generation_id=generations.stop(session))


@blueprint.get("/<chat:chat_id>/messages")
@operation(
    access=OPTIONAL_SESSION,
    takes=(LIMIT, BEFORE),
    answers={200: Encoded(ai_sdk.UIMessages)},
    raises=(SessionRequired, *NAMED_ERRORS, InvalidBody, RateLimited),
)
def messages(
    chat_id: str, session: Session | None, principal: Principal | None, limit: int, before: UUID | None
) -> Response:
    """Read a page of the conversation as UI messages, the newest first, without the answer that is being written.

    `Link` has the page before it, if there is one.
    """
    session, _ = find_named(chat_id, session, principal)
    if session is None:
        raise SessionRequired
    change_limits.admit_read(owner_of(session))
    try:
        with one_of_readers():
            page = context().services.transcript.read(session, before, limit)
    except UnknownMessage:
        raise InvalidBody("before: this session has no message with this id.", field="before") from None
    encoded = []
    for message in page.messages:
        if message.state != "streaming":
            with one_of_readers():
                encoded.append(json.dumps(ui_message(message, str(session.id))))
            time.sleep(0)  # others' turn
    response = Response(f"[{','.join(encoded)}]", mimetype="application/json")
    if page.before is not None:
        response.headers["Link"] = f'<?limit={limit}&before={page.before}>; rel="prev"'
    return response
