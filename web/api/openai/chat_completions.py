"""/v1/chat/completions: OpenAI's Chat Completions over the generations of a session that lasts for one request."""

import logging

from flask import Blueprint, Response

from core.auth.principal import Principal
from core.errors import (
    ContextLengthExceeded,
    GenerationInProgress,
    GenerationLost,
    LoginRequired,
    ProviderFailed,
    SessionExpired,
    SessionInvalid,
    Unavailable,
    UnknownModel,
)
from core.generation.answer_requests import AnswerRequest
from core.generation.service import AcceptedRequest
from core.limits.status import RateLimited
from core.llm.providers.base import Sampling, Turn
from web.api.events import SLOW_JSON_HEADERS, STREAM_HEADERS
from web.api.openai.completion import Completion
from web.api.openai.errors import SHAPE, PromptFiltered
from web.api.operation import operation
from web.api.stream_slot import take_stream_slot
from web.api.turns import Turns
from web.auth.access import USER
from web.context import context
from web.limits import rate_limit_headers
from web.openapi.declaration import Either, Encoded, StreamOf
from web.schemas.chat_completions import ChatCompletion, ChatCompletionEvent, CreateChatCompletion
from web.streaming.answer_reader import AnswerInterrupted
from web.streaming.door import wait_for_turn
from web.streaming.slots import held

logger = logging.getLogger(__name__)

blueprint = Blueprint("openai_chat_completions", __name__, url_prefix="/v1/chat/completions")

_turns = Turns(at_once=8, timeout=10.0)
"""Of requests that this process takes. A burst is taken late rather than refused."""


@blueprint.post("")
@operation(
    access=USER,
    body=CreateChatCompletion,
    answers={200: Either(Encoded(ChatCompletion), StreamOf(ChatCompletionEvent))},
    raises=(
        *(UnknownModel, RateLimited, GenerationInProgress, GenerationLost, SessionInvalid, SessionExpired),
        *(LoginRequired, ProviderFailed, ContextLengthExceeded, PromptFiltered, AnswerInterrupted),
    ),
    errors_as=SHAPE,
)
def create(principal: Principal, body: CreateChatCompletion) -> Response:
    """Answer a conversation that the request brings with it. Nothing but its usage is kept."""
    wait_for_turn()
    take_stream_slot()
    context().services.models.require(body.model)
    completion = Completion(principal, _accept(principal, body), body)
    if not body.stream:
        whole = completion.whole()
        if isinstance(whole, bytes):
            return Response(whole, mimetype="application/json")
        return Response(held(whole, completion.leave), headers=SLOW_JSON_HEADERS, direct_passthrough=True)
    return Response(held(completion.stream(), completion.leave), headers=STREAM_HEADERS, direct_passthrough=True)


def _accept(principal: Principal, body: CreateChatCompletion) -> AcceptedRequest:
    with _turns.turn():
        taken = context().services.generations.answer_request(principal.user_id, body.model, request_of(body))
        try:
            context().commands.generate(taken.accepted.generation_id)
        except Unavailable:
            logger.warning("the queue is away; the reaper calls the workers when it is back")
    rate_limit_headers.note(taken.accepted.limit_statuses)
    return taken


def request_of(body: CreateChatCompletion) -> AnswerRequest:
    """What the body asks of a model."""
    turns = tuple(
        Turn("system" if message.role == "developer" else message.role, message.content) for message in body.messages
    )
    sampling = Sampling(
        max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=tuple(body.stop or ()),
        seed=body.seed,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        user=body.user or None,
    )
    return AnswerRequest(turns, sampling)
