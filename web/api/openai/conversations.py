"""/v1/conversations: OpenAI's Conversations, which are the user's sessions under the same ids."""

from collections.abc import Mapping
from typing import NoReturn
from uuid import UUID

from flask import Blueprint

from core.auth.principal import Principal
from core.conversation.message import Message
from core.errors import (
    InvalidBody,
    QueueSlow,
    SessionExpired,
    SessionInvalid,
    SwitchboardError,
    TooManySessions,
    UnknownConversation,
    UnknownItem,
)
from core.limits.status import RateLimited
from core.sessions.queries import Session
from web.api.conversation_json import one_of_readers
from web.api.message_acceptance import discard_session
from web.api.openai import response_objects
from web.api.openai.errors import SHAPE
from web.api.openai.item_pages import AFTER, INCLUDE, LIMIT, ORDER, Order, in_order
from web.api.openai.response_creation import own_conversation
from web.api.operation import operation
from web.api.session_creation import session_of_user
from web.auth.access import USER
from web.context import context
from web.errors import PartOfConversation
from web.limits import change_limits
from web.schemas.openai_responses import (
    AddItems,
    CreateConversation,
    OpenAIConversation,
    OpenAIDeleted,
    OpenAIItem,
    OpenAIItems,
    UpdateConversation,
)

blueprint = Blueprint("openai_conversations", __name__, url_prefix="/v1/conversations")


@blueprint.post("")
@operation(
    access=USER,
    body=CreateConversation,
    answers={200: OpenAIConversation},
    raises=(RateLimited, TooManySessions, QueueSlow, UnknownConversation),
    idempotent_by="sender",
    errors_as=SHAPE,
)
def create(body: CreateConversation) -> OpenAIConversation:
    """Create a conversation, on the default model: a session of the user's."""
    session = session_of_user(None)
    if body.metadata:
        try:
            session = _noted(session, body.metadata)
        except SwitchboardError:
            discard_session(session)
            raise
    return OpenAIConversation(**response_objects.conversation(session))


@blueprint.get("/<conversation_id>")
@operation(access=USER, answers={200: OpenAIConversation}, raises=(UnknownConversation, RateLimited), errors_as=SHAPE)
def retrieve(principal: Principal, conversation_id: str) -> OpenAIConversation:
    """Tell of a conversation."""
    change_limits.admit_read(principal.user_id)
    return OpenAIConversation(**response_objects.conversation(own_conversation(conversation_id, principal)))


@blueprint.post("/<conversation_id>")
@operation(
    access=USER,
    body=UpdateConversation,
    answers={200: OpenAIConversation},
    raises=(UnknownConversation, RateLimited),
    errors_as=SHAPE,
)
def update(principal: Principal, body: UpdateConversation, conversation_id: str) -> OpenAIConversation:
    """Change a conversation's metadata; without any they stay."""
    session = own_conversation(conversation_id, principal)
    if "metadata" in body.model_fields_set:
        change_limits.admit("rename", principal.user_id)
        session = _noted(session, body.metadata or {})
    else:
        change_limits.admit_read(principal.user_id)
    return OpenAIConversation(**response_objects.conversation(session))


@blueprint.delete("/<conversation_id>")
@operation(access=USER, answers={200: OpenAIDeleted}, raises=(UnknownConversation,), errors_as=SHAPE)
def delete(principal: Principal, conversation_id: str) -> OpenAIDeleted:
    """Delete a conversation with all that is stored about it."""
    session = own_conversation(conversation_id, principal)
    context().services.actions.end(session)
    return OpenAIDeleted(id=str(session.id), object="conversation.deleted", deleted=True)


@blueprint.get("/<conversation_id>/items")
@operation(
    access=USER,
    takes=(LIMIT, AFTER, ORDER, *INCLUDE),
    answers={200: OpenAIItems},
    raises=(UnknownConversation, RateLimited),
    errors_as=SHAPE,
)
def items(principal: Principal, conversation_id: str, limit: int, after: UUID | None, order: Order) -> OpenAIItems:
    """List a conversation's messages, a page at a time."""
    change_limits.admit_read(principal.user_id)
    session = own_conversation(conversation_id, principal)
    with one_of_readers():
        page, more = in_order(context().services.transcript.newest_first(session), limit, after, order)
        return OpenAIItems(**response_objects.items(page, more=more))


@blueprint.post("/<conversation_id>/items")
@operation(access=USER, body=AddItems, answers={200: OpenAIItems}, raises=(UnknownConversation,), errors_as=SHAPE)
def add_items(principal: Principal, conversation_id: str) -> NoReturn:
    """Refuse to add messages: a conversation's are asked and answered, by POST /v1/responses."""
    own_conversation(conversation_id, principal)
    raise InvalidBody(
        "items: messages are not added by hand here; ask with POST /v1/responses, which names the conversation.",
        field="items",
    )


@blueprint.get("/<conversation_id>/items/<item_id>")
@operation(
    access=USER,
    takes=INCLUDE,
    answers={200: OpenAIItem},
    raises=(UnknownConversation, UnknownItem, RateLimited),
    errors_as=SHAPE,
)
def item(principal: Principal, conversation_id: str, item_id: str) -> OpenAIItem:
    """Read a message of a conversation, on whichever branch it is."""
    change_limits.admit_read(principal.user_id)
    return OpenAIItem(**response_objects.item(_own_item(conversation_id, item_id, principal)))


@blueprint.delete("/<conversation_id>/items/<item_id>")
@operation(
    access=USER,
    answers={200: OpenAIConversation},
    raises=(UnknownConversation, UnknownItem, PartOfConversation),
    errors_as=SHAPE,
)
def delete_item(principal: Principal, conversation_id: str, item_id: str) -> NoReturn:
    """Refuse to delete a single message: what follows it was said with it in mind."""
    _own_item(conversation_id, item_id, principal)
    raise PartOfConversation(
        "Messages are not deleted one by one: what follows them was said with them in mind. Go on from an earlier"
        f" response to leave this one out; DELETE /v1/conversations/{conversation_id} deletes all."
    )


def _own_item(conversation_id: str, item_id: str, principal: Principal) -> Message:
    """The message of this id in the user's conversation, finished or not. Raises UnknownConversation, or UnknownItem
    for another conversation's as well."""
    session = own_conversation(conversation_id, principal)
    message_id = response_objects.parse_id(item_id, response_objects.MESSAGE)
    if message_id is None:
        raise UnknownItem
    transcript = context().services.transcript
    newest = next(transcript.newest_first(session), None)  # which may be unfinished
    found = newest if newest and newest.id == str(message_id) else transcript.message(session, message_id)
    if found is None:
        raise UnknownItem
    return found


def _noted(session: Session, metadata: Mapping[str, str]) -> Session:
    try:
        return context().services.actions.set_client_metadata(session, metadata)
    except (SessionInvalid, SessionExpired):
        raise UnknownConversation from None
