"""/v1/responses: OpenAI's Responses over sessions and their answers."""

from uuid import UUID

from flask import Blueprint, Response

from core.auth.principal import Principal
from core.errors import (
    GenerationInProgress,
    GenerationLost,
    MessageTooLarge,
    NoSuchMessage,
    NothingToStop,
    QueueSlow,
    TooManyBranches,
    TooManySessions,
    UnknownConversation,
    UnknownModel,
    UnknownResponse,
)
from core.generation.answers import Answer
from core.limits.message_limits import owner_of
from core.limits.status import RateLimited
from web.api.events import SLOW_JSON_HEADERS, STREAM_HEADERS
from web.api.openai import response_objects, response_stream
from web.api.openai.errors import SHAPE
from web.api.openai.item_pages import AFTER, INCLUDE, LIMIT, ORDER, Order, in_order
from web.api.openai.parameters import STARTING_AFTER, STREAM
from web.api.openai.response_cancelling import cancel_answer
from web.api.openai.response_creation import create_response, own_answer
from web.api.operation import operation
from web.api.stream_slot import take_stream_slot
from web.auth.access import USER
from web.context import context
from web.errors import IdempotencyInFlight, IdempotencyKeyInvalid, IdempotencyMismatch, PartOfConversation
from web.idempotency.header import idempotent
from web.limits import change_limits
from web.openapi.declaration import IDEMPOTENCY_KEY, Either, Encoded, StreamOf
from web.schemas.openai_responses import (
    CreateResponse,
    OpenAIDeleted,
    OpenAIItems,
    OpenAIResponse,
    OpenAIResponseEvent,
)
from web.schemas.requests import Nothing
from web.streaming.door import wait_for_turn

blueprint = Blueprint("openai_responses", __name__, url_prefix="/v1/responses")

WHOLE_OR_STREAM = Either(Encoded(OpenAIResponse), StreamOf(OpenAIResponseEvent))
CREATION_ERRORS = (
    NoSuchMessage,
    TooManyBranches,
    UnknownResponse,
    UnknownConversation,
    GenerationInProgress,
    MessageTooLarge,
    UnknownModel,
    RateLimited,
    TooManySessions,
    GenerationLost,
    QueueSlow,
    IdempotencyKeyInvalid,
    IdempotencyMismatch,
    IdempotencyInFlight,
)


@blueprint.post("")
@operation(
    access=USER,
    body=CreateResponse,
    takes=(IDEMPOTENCY_KEY,),
    answers={200: WHOLE_OR_STREAM},
    raises=CREATION_ERRORS,
    errors_as=SHAPE,
)
def create(principal: Principal, body: CreateResponse) -> Response:
    """Ask a model. The question and its answer are kept in a conversation, which is a session of the user's.

    The answer is written whether its reader stays or not: `GET /v1/responses/{response_id}` has it, and goes on with
    a stream that was cut. With `background` the response is answered at once. A repeat under the same key asks
    nothing again, and is answered with the same response.
    """
    if not body.background or body.stream:
        wait_for_turn()
        take_stream_slot()
    answer = _created_once(body, principal)
    if body.stream:
        return _streamed(answer)
    return _as_json(answer) if body.background else _waiting(answer)


@blueprint.get("/<response_id>")
@operation(
    access=USER,
    takes=(STREAM, STARTING_AFTER, *INCLUDE),
    answers={200: WHOLE_OR_STREAM},
    raises=(UnknownResponse, RateLimited),
    errors_as=SHAPE,
)
def retrieve(principal: Principal, response_id: str, stream: bool, starting_after: int | None) -> Response:
    """Read a response as it is now, or with `stream` its events: all, or those after `starting_after`."""
    change_limits.admit_read(principal.user_id)
    answer = own_answer(response_id, principal)
    if not stream:
        return _as_json(answer)
    wait_for_turn()
    take_stream_slot(answer.session.id)
    return _streamed(answer, starting_after)


@blueprint.post("/<response_id>/cancel")
@operation(
    access=USER,
    body=Nothing,
    answers={200: Encoded(OpenAIResponse)},
    raises=(UnknownResponse, NothingToStop, RateLimited),
    errors_as=SHAPE,
)
def cancel(principal: Principal, response_id: str) -> Response:
    """Cancel a response that is being written; what there is of it is kept."""
    answer = own_answer(response_id, principal)
    change_limits.admit_uncounted("stop", owner_of(answer.session))
    return _as_json(cancel_answer(answer))


@blueprint.delete("/<response_id>")
@operation(
    access=USER,
    answers={200: OpenAIDeleted},
    raises=(UnknownResponse, PartOfConversation),
    errors_as=SHAPE,
)
def delete(principal: Principal, response_id: str) -> OpenAIDeleted:
    """Delete a response, with the conversation that has nothing else.

    Where the conversation has others, it is deleted as a whole only: at /v1/conversations.
    """
    answer = own_answer(response_id, principal)
    if not context().services.answers.is_alone(answer):
        raise PartOfConversation(
            f"The conversation {answer.session.id} has other responses; DELETE /v1/conversations/{answer.session.id}"
            " deletes them all."
        )
    context().services.actions.end(answer.session)
    return OpenAIDeleted(id=response_objects.response_id(answer.id), object="response", deleted=True)


@blueprint.get("/<response_id>/input_items")
@operation(
    access=USER,
    takes=(LIMIT, AFTER, ORDER, *INCLUDE),
    answers={200: OpenAIItems},
    raises=(UnknownResponse, RateLimited),
    errors_as=SHAPE,
)
def input_items(principal: Principal, response_id: str, limit: int, after: UUID | None, order: Order) -> OpenAIItems:
    """List what was asked for a response: one message."""
    change_limits.admit_read(principal.user_id)
    question = own_answer(response_id, principal).question
    page, more = in_order(iter([question] if question else []), limit, after, order)
    return OpenAIItems(**response_objects.items(page, more=more))


def _created_once(body: CreateResponse, principal: Principal) -> Answer:
    """The response that the request creates, or has created when it was sent before under its key."""
    created: list[Answer] = []

    def create_and_keep_id() -> Response:
        created.append(create_response(body, principal))
        return Response(str(created[0].id))

    kept = idempotent(in_session=False)(create_and_keep_id)()
    if created:
        return created[0]
    return context().services.answers.find(UUID(kept.get_data(as_text=True)), principal.user_id)


def _streamed(answer: Answer, starting_after: int | None = None) -> Response:
    body = response_stream.stream(answer, starting_after)
    return Response(body, headers=STREAM_HEADERS, direct_passthrough=True)


def _waiting(answer: Answer) -> Response:
    return Response(response_stream.whole(answer), headers=SLOW_JSON_HEADERS, direct_passthrough=True)


def _as_json(answer: Answer) -> Response:
    return Response(response_stream.as_json(answer), mimetype="application/json")
