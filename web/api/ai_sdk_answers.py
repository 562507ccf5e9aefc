"""What a client of the AI SDK means by its ids, and the answers that it is told."""

import json
from typing import NamedTuple
from uuid import UUID

from flask import Response

from core.auth.principal import Principal
from core.conversation.position import Position
from core.errors import SessionInvalid
from core.generation.accepted import Accepted
from core.generation.service import Found
from core.sessions.credential import Credential
from core.sessions.queries import Session
from web.ai_sdk.chunks import NOTHING, Answer, tell, tell_at_once
from web.ai_sdk.wire import UIMessageWire, ending
from web.api.events import STREAM_HEADERS
from web.auth.creation_plan import new_credential
from web.auth.credentials import session_credential
from web.auth.current_session import validated_session
from web.auth.principal import current_principal
from web.context import context
from web.errors import PositionLost
from web.streaming.reader import Reader
from web.streaming.slots import held

HEADERS = {**STREAM_HEADERS, "X-Vercel-AI-UI-Message-Stream": "v1"}
RUN_ID = "X-Workflow-Run-Id"
"""The header that names the generation, by which `WorkflowChatTransport` comes back."""
TAIL_INDEX = "X-Workflow-Stream-Tail-Index"
"""The header by which it knows where a place lies that it has counted from the end: the number of the last chunk."""


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
    """The chunks of the generation, or else of the session's latest, from this number on, which below 0 is counted
    from the end of what there is; when nothing is live and nothing was missed, the last chunk alone, without which
    `WorkflowChatTransport` asks again. Raises PositionLost.

    An answer whose first events are no longer kept can't be counted: it is told from the beginning only, and then
    none of its later chunks can be asked for.
    """
    found = generation
    if session is not None and found is None:
        found = context().services.generations.latest(session.id)
    if session is None or found is None or (generation is None and start <= 0 and not found.live):
        return Response(ending([]), headers=HEADERS)
    before = _beginning(found)
    if before is not None:
        told = _count(found, before) if start < 0 else 0
        skip = max(0, told + start)
        response = _respond(session, found.id, before, UIMessageWire(found.id, _answer(found), skip=skip))
        if start < 0:
            response.headers[TAIL_INDEX] = str(told - 1)
        return response
    whole = resume(session, found) if start <= 0 else None
    if whole is None:
        raise PositionLost
    return whole


def _beginning(found: Found) -> Position | None:
    """The place in the log before the generation's first event; None where that is not kept, or where it goes on with
    an answer that has begun before."""
    if found.message_id != found.id:
        return None
    log, named = context().services.log, _named(found)
    page = log.read(found.session_id, after=0)
    if found.live and page.start is not None:
        page = log.read(found.session_id, after=page.start, limit=1)
    while page.events:
        for event in page.events:
            if event.data.startswith(named):
                return Position(page.epoch, event.offset - 1) if event.type == "queued" else None
        page = log.read(found.session_id, after=page.events[-1].offset)
    return None


def _count(found: Found, before: Position) -> int:
    """How many chunks there are by now of the generation, whose events begin after this place."""
    log, named, answer = context().services.log, _named(found), _answer(found)
    parts, count, after = NOTHING, 0, before.offset
    while events := log.read(found.session_id, after=after).events:
        for event in events:
            if event.data.startswith(named):
                parts, chunks = tell(parts, event.type, json.loads(event.data), answer)
                count += len(chunks)
        after = events[-1].offset
    return count


def _named(found: Found) -> str:
    """How the data of the generation's events begin."""
    return f'{{"generation_id":"{found.id}"'


def _answer(found: Found) -> Answer:
    return Answer(str(found.session_id), str(found.message_id), found.model)


def _respond(session: Session, generation_id: UUID, cursor: Position | None, wire: UIMessageWire) -> Response:
    reader = Reader(context().stream_sources, session, current_principal(), str(generation_id), wire)
    response = Response(held(reader.read(cursor, b""), reader.leave), headers=HEADERS, direct_passthrough=True)
    response.headers[RUN_ID] = str(generation_id)
    return response
