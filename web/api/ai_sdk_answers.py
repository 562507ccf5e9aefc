"""What a client of the AI SDK means by its ids, and the answers that it is told."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from flask import Response

from core.auth.principal import Principal
from core.conversation.message import Message
from core.conversation.position import Position
from core.errors import InvalidBody, SessionInvalid
from core.generation.accepted import Accepted
from core.generation.service import Found
from core.generation.wishes import CURRENT_LEAF, Parent
from core.sessions.credential import Credential
from core.sessions.queries import Session
from web.ai_sdk.chunks import Answer, tell_at_once
from web.ai_sdk.requests import UIChat
from web.ai_sdk.wire import UIMessageWire, ending
from web.api.events import STREAM_HEADERS
from web.api.message_acceptance import AcceptedMessage, accept_message
from web.api.message_acceptance import accept as accept_generation
from web.auth.creation_plan import new_credential
from web.auth.credentials import session_credential
from web.auth.current_session import validated_session
from web.auth.principal import current_principal
from web.context import context
from web.errors import PositionLost
from web.schemas.requests import ChatMessage
from web.streaming.reader import Reader
from web.streaming.slots import held

HEADERS = {**STREAM_HEADERS, "X-Vercel-AI-UI-Message-Stream": "v1"}
RUN_ID = "X-Workflow-Run-Id"
"""The header that names the generation, by which `WorkflowChatTransport` comes back."""
MAX_LOOKED_AT = 200
"""Messages of the current branch among which the place of a client's message is looked for, the newest."""
MAX_REFUSED = 10
"""Messages that a client may have kept after one that is known here, with ids in the form of ours."""
MESSAGE_ID = "messageId"


class Named(NamedTuple):
    """What a client's id names."""

    session: Session | None
    generation: Found | None
    """If it is a generation's own."""


def find_named(chat_id: str | None, session: Session | None, principal: Principal | None) -> Named:
    """What the id names: a session, or a generation of one; any other id means the request's session, if it has one.

    Raises NotOwner, SessionInvalid or SessionExpired for what is not the sender's.
    """
    services, named = context().services, uuid_of(chat_id)
    if named is None or (session is not None and named == session.id):
        return Named(session, None)
    if services.session_queries.find_session(named) is not None:
        return Named(validated_session(Credential(named), principal), None)
    generation = services.generations.find(named)
    if generation is None:
        return Named(session, None)
    if session is None or session.id != generation.session_id:
        session = validated_session(Credential(generation.session_id), principal)
    return Named(session, generation)


def uuid_of(text: str | None) -> UUID | None:
    """The UUID that a client's id is, if it is one as ours are written."""
    try:
        found = UUID(text or "")
    except ValueError:
        return None
    return found if str(found) == text else None


def accept(session: Session | None, body: UIChat) -> AcceptedMessage:
    """Take what is asked: a new message, a new version of one, or an answer to write again.

    Raises what `accept_message` and GenerationService.regenerate raise, and InvalidBody for a place that the
    conversation does not have.
    """
    text, before = body.asked()
    if session is None:
        return _accept_message(None, body, text, CURRENT_LEAF)
    if body.trigger == "submit-message":
        parent = CURRENT_LEAF if body.messageId is None else _parent_of(session, body, before)
        return _accept_message(session, body, text, parent)
    question = _ours(session, body.messageId)
    if question is None:
        place = _place(session, before)
        question = _question_after(session, place)
        if question is None or question.text != text:  # the message was refused when it was sent
            return _accept_message(session, body, text, place)
    return _regenerate(session, UUID(question.id), body.model)


def _accept_message(session: Session | None, body: UIChat, text: str, parent: Parent) -> AcceptedMessage:
    fields: dict[str, Any] = {"message": text, "model": body.model}
    if parent is not CURRENT_LEAF:
        fields["parent"] = parent
    return accept_message(session, ChatMessage.model_construct(**fields))


def _regenerate(session: Session, message_id: UUID, model: str | None) -> AcceptedMessage:
    generations = context().services.generations
    accepted = accept_generation(
        lambda generation_id, repeated: generations.regenerate(
            session, message_id, generation_id, repeated=repeated, model=model
        )
    )
    return AcceptedMessage(accepted, session, None)


def _ours(session: Session, client_id: str | None) -> Message | None:
    """The session's message of this id, which may be a client's own."""
    named = uuid_of(client_id)
    return None if named is None else context().services.transcript.message(session, named)


def _parent_of(session: Session, body: UIChat, before: Sequence[str | None]) -> UUID | None:
    """What the new version of a message follows. Raises InvalidBody."""
    old = _ours(session, body.messageId)
    if old is not None:
        if old.role != "user":
            raise InvalidBody(
                "messageId: only a user's message can be edited, and this is an answer.", field=MESSAGE_ID
            )
        return UUID(old.parent) if old.parent else None
    if not body.messages:
        raise InvalidBody(
            "messageId: this session has no message with this id. Send `messages`, or an id of ours.",
            field=MESSAGE_ID,
        )
    return _place(session, before)


def _place(session: Session, before: Sequence[str | None]) -> UUID | None:
    """The nearest of the client's messages that is one of ours; None: the beginning. What stands after it in the
    client was refused, and is no part of the conversation."""
    candidates = [each for each in reversed(before) if uuid_of(each)]
    found = (_ours(session, each) for each in candidates[:MAX_REFUSED])
    return next((UUID(message.id) for message in found if message is not None), None)


def _question_after(session: Session, place: UUID | None) -> Message | None:
    """What has been asked next after a place of the current branch. Raises InvalidBody for a place of another."""
    next_one: Message | None = None
    for message in islice(context().services.transcript.newest_first(session), MAX_LOOKED_AT):
        if message.id == str(place):
            return next_one
        next_one = message
    if place is None and (next_one is None or not next_one.parent):
        return next_one
    raise InvalidBody(
        "messageId: which answer is meant can't be told. Name it by the id that the stream gave it.", field=MESSAGE_ID
    )


def follow(session: Session, accepted: Accepted) -> Response:
    """The answer of what has just been accepted, from its first chunk on."""
    model = context().services.sessions.model_of(session)
    answer = Answer(str(session.id), str(accepted.generation_id), model)
    wire = UIMessageWire(accepted.generation_id, answer)
    return _respond(session, accepted.generation_id, accepted.before, wire)


def repeat(generation_id: UUID, principal: Principal | None) -> Response:
    """The answer that a request before this one has asked for, from its first chunk on. Raises PositionLost, and
    SessionInvalid, SessionExpired or NotOwner where its session is not the sender's any more."""
    found = context().services.generations.find(generation_id)
    if found is None:
        raise SessionInvalid
    credential = session_credential()
    if credential is None or credential.session_id != found.session_id:
        credential = new_credential()  # the one that the first request was given, if it made the session
    if credential.session_id != found.session_id:
        credential = Credential(found.session_id)
    return resume_from(validated_session(credential, principal), found, 0)


def resume(session: Session | None, generation: Found | None) -> Response | None:
    """The live answer, or this one if it is live: what there is of it at once, and then what comes. None when there
    is none."""
    if session is None:
        return None
    services = context().services
    page = services.transcript.read(session, limit=1)
    latest = services.generations.latest(session.id)
    if latest is None or (generation is not None and generation.id != latest.id):
        return None
    answer = _answer(latest)
    newest = page.messages[-1] if page.messages else None
    if newest is not None and newest.state == "streaming" and newest.id == answer.message_id:
        parts, first = tell_at_once(newest, answer)
        return _respond(session, latest.id, page.cursor, UIMessageWire(latest.id, answer, parts=parts, first=first))
    if latest.live:  # its log is about to begin
        return _respond(session, latest.id, page.cursor, UIMessageWire(latest.id, answer))
    return None


def resume_from(session: Session | None, generation: Found | None, start: int) -> Response:
    """The chunks of the generation, or else of the session's latest, from this number on; when nothing is live and
    nothing was missed, the last chunk alone, without which `WorkflowChatTransport` asks again. Raises PositionLost.

    An answer whose first events are no longer kept can't be counted: it is told from the beginning only, and then
    none of its later chunks can be asked for.
    """
    found = generation
    if session is not None and found is None:
        found = context().services.generations.latest(session.id)
    if session is None or found is None or (generation is None and start == 0 and not found.live):
        return Response(ending([]), headers=HEADERS)
    before = _beginning(found)
    if before is not None:
        return _respond(session, found.id, before, UIMessageWire(found.id, _answer(found), skip=start))
    whole = resume(session, found) if start == 0 else None
    if whole is None:
        raise PositionLost
    return whole


def _beginning(found: Found) -> Position | None:
    """The place in the log before the generation's first event; None where that is not kept, or where it goes on with
    an answer that has begun before."""
    if found.message_id != found.id:
        return None
    log, named = context().services.log, f'{{"generation_id":"{found.id}"'
    page = log.read(found.session_id, after=0)
    if found.live and page.start is not None:
        page = log.read(found.session_id, after=page.start, limit=1)
    while page.events:
        for event in page.events:
            if event.data.startswith(named):
                return Position(page.epoch, event.offset - 1) if event.type == "queued" else None
        page = log.read(found.session_id, after=page.events[-1].offset)
    return None


def _answer(found: Found) -> Answer:
    return Answer(str(found.session_id), str(found.message_id), found.model)


def _respond(session: Session, generation_id: UUID, cursor: Position | None, wire: UIMessageWire) -> Response:
    reader = Reader(context().stream_sources, session, current_principal(), str(generation_id), wire)
    response = Response(held(reader.read(cursor, b""), reader.leave), headers=HEADERS, direct_passthrough=True)
    response.headers[RUN_ID] = str(generation_id)
    return response
