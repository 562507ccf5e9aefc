"""What a client of the AI SDK asks, and where in the conversation's tree."""

from collections.abc import Sequence
from itertools import islice, takewhile
from typing import Any
from uuid import UUID

from core.conversation.message import Message
from core.errors import InvalidBody
from core.generation.wishes import CURRENT_LEAF, Parent
from core.sessions.queries import Session
from web.ai_sdk.requests import Asked, UIChat, UIMessage
from web.api.ai_sdk_answers import uuid_of
from web.api.message_acceptance import AcceptedMessage, accept_message
from web.api.message_acceptance import accept as accept_generation
from web.context import context
from web.schemas.requests import ChatMessage

MAX_LOOKED_AT = 200
"""Messages of the current branch among which the place of a client's message is looked for, the newest."""
MAX_REFUSED = 10
"""Messages that a client may have kept after one that is known here, with ids in the form of ours."""
MESSAGE_ID = "messageId"


class OnAnotherBranch(Exception):
    """The current branch does not have this place."""


def accept(session: Session | None, body: UIChat) -> AcceptedMessage:
    """Take what is asked: a new message, a new version of one, or an answer to write again.

    Raises what `accept_message` and GenerationService.regenerate raise, and InvalidBody for a place that the
    conversation does not have.
    """
    asked = body.asked()
    if session is None:
        return _accept_message(None, body, asked.text, CURRENT_LEAF)
    found = _find(session, body, asked)
    if isinstance(found, Message):
        return _regenerate(session, UUID(found.id), body.model)
    return _accept_message(session, body, asked.text, found)


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


def _find(session: Session, body: UIChat, asked: Asked) -> Message | Parent:
    """The message of ours that is to be answered again, or what the asked one follows. Raises InvalidBody."""
    if body.is_submission:
        return CURRENT_LEAF if body.messageId is None else _parent_of(session, body, asked.before)
    named = _ours(session, body.messageId)
    if named is not None:
        return named
    own = _ours(session, asked.message.id)
    if own is not None and own.role == "user":
        return own if own.text == asked.text else _follows(own)
    if body.message is not None:
        return _find_alone(session, body.messageId, asked)
    if body.tells_by_messages:
        return _find_by_messages(session, asked)
    place = _place(session, asked.before)
    try:
        question = _question_after(session, place)
    except OnAnotherBranch:
        raise _ambiguous() from None
    if question is None or question.text != asked.text:  # the message was refused when it was sent
        return place
    return question


def _find_alone(session: Session, message_id: str | None, asked: Asked) -> Message | Parent:
    """For the wish for another answer to a message that came alone, and has an id of the client's: the last question
    if that says the same, or else the conversation's end, where the message was refused when it was sent. Raises
    InvalidBody where another one may be meant."""
    newest = islice(context().services.transcript.newest_first(session), MAX_LOOKED_AT)
    questions = [message for message in newest if message.role == "user"]
    if questions and questions[0].text == asked.text:
        return questions[0]
    never_asked = message_id == asked.message.id and all(each.text != asked.text for each in questions)
    if message_id is None or never_asked:
        return CURRENT_LEAF
    raise _unknown()


def _find_by_messages(session: Session, asked: Asked) -> Message | Parent:
    """For a client that sends its conversation without saying what for, as `WorkflowChatTransport` does: where ours
    goes on with the same question, that is to be answered again; any other is asked in its place. Raises InvalidBody
    where ours is so long that this can't be told."""
    place = _place(session, asked.before)
    try:
        question = _question_after(session, place)
    except OnAnotherBranch:
        question = None
    if question is not None and question.text == asked.text:
        return question
    # A question before this one that is not ours was refused, or asked in a session before this.
    since = list(takewhile(lambda message: message.role != "user", reversed(asked.before)))
    known = len(since) == len(asked.before) if place is None else any(each.id == str(place) for each in since)
    return place if known else CURRENT_LEAF


def _ours(session: Session, client_id: str | None) -> Message | None:
    """The session's message of this id, which may be a client's own."""
    named = uuid_of(client_id)
    return None if named is None else context().services.transcript.message(session, named)


def _follows(message: Message) -> UUID | None:
    return UUID(message.parent) if message.parent else None


def _parent_of(session: Session, body: UIChat, before: Sequence[UIMessage]) -> UUID | None:
    """What the new version of a message follows. Raises InvalidBody."""
    old = _ours(session, body.messageId)
    if old is not None:
        if old.role != "user":
            raise InvalidBody(
                "messageId: only a user's message can be edited, and this is an answer.", field=MESSAGE_ID
            )
        return _follows(old)
    if not body.messages:
        raise _unknown()
    return _place(session, before)


def _unknown() -> InvalidBody:
    return InvalidBody(
        "messageId: this session has no message with this id. Send `messages`, or an id of ours.", field=MESSAGE_ID
    )


def _place(session: Session, before: Sequence[UIMessage]) -> UUID | None:
    """The nearest of the client's messages that is one of ours; None: the beginning. What stands after it in the
    client was refused, and is no part of the conversation."""
    candidates = [message.id for message in reversed(before) if uuid_of(message.id)]
    found = (_ours(session, each) for each in candidates[:MAX_REFUSED])
    return next((UUID(message.id) for message in found if message is not None), None)


def _question_after(session: Session, place: UUID | None) -> Message | None:
    """What has been asked next after a place of the current branch. Raises OnAnotherBranch, and InvalidBody for a
    place before the messages that are looked at."""
    next_one: Message | None = None
    for number, message in enumerate(context().services.transcript.newest_first(session)):
        if message.id == str(place):
            return next_one
        if number == MAX_LOOKED_AT:
            raise _ambiguous()
        next_one = message
    if place is None and (next_one is None or not next_one.parent):
        return next_one
    raise OnAnotherBranch


def _ambiguous() -> InvalidBody:
    return InvalidBody(
        "messageId: which message is meant can't be told. Name it by the id that the stream or /messages gave it, or"
        " send a new one alone, as `message`.",
        field=MESSAGE_ID,
    )
