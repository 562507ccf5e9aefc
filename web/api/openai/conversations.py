"""/v1/conversations: OpenAI's Conversations, which are the user's sessions under the same ids."""

from typing import NoReturn
from uuid import UUID

from flask import Blueprint

from core.auth.principal import Principal
from core.errors import InvalidBody, QueueSlow, TooManySessions, UnknownConversation
from core.limits.status import RateLimited
from web.api.conversation_json import one_of_readers
from web.api.openai import response_objects
from web.api.openai.errors import SHAPE
from web.api.openai.item_pages import AFTER, INCLUDE, LIMIT, ORDER, Order, in_order
from web.api.openai.response_creation import own_conversation
from web.api.operation import operation
from web.api.session_creation import session_of_user
from web.auth.access import USER
from web.context import context
from web.limits import change_limits
from web.schemas.openai_responses import (
    AddItems,
    CreateConversation,
    OpenAIConversation,
    OpenAIDeleted,
    OpenAIItems,
    UpdateConversation,
)

blueprint = Blueprint("openai_conversations", __name__, url_prefix="/v1/conversations")


@blueprint.post("")
@operation(
    access=USER,
    body=CreateConversation,
    answers={200: OpenAIConversation},
    raises=(RateLimited, TooManySessions, QueueSlow),
    idempotent_by="sender",
    errors_as=SHAPE,
)
def create() -> OpenAIConversation:
    """Create a conversation, on the default model: a session of the user's."""
    return OpenAIConversation(**response_objects.conversation(session_of_user(None)))


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
def update(principal: Principal, conversation_id: str) -> OpenAIConversation:
    """Change nothing: conversations have no metadata here, and any is refused."""
    change_limits.admit_read(principal.user_id)
    return OpenAIConversation(**response_objects.conversation(own_conversation(conversation_id, principal)))


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
