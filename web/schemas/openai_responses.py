"""The JSON of OpenAI's Responses and Conversations, as far as they are spoken here."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from core.conversation.session_settings import MAX_SYSTEM_PROMPT
from core.text.characters import storable
from web.schemas.openai import NOTHING, WHOLE, Tokens, Unsupported, unsupported
from web.schemas.requests import MAX_BODY, Body, ModelName, SystemPrompt, Temperature
from web.schemas.responses import Answer

MAX_ITEMS = 100
"""Items of one input."""
MAX_PARTS = 100
"""Parts of one item."""

_PART = {
    "type": "object",
    "properties": {"type": {"enum": ["input_text", "output_text", "text"]}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_ITEM = {
    "type": "object",
    "properties": {
        "type": {"const": "message"},
        "role": {"enum": ["user", "system", "developer"]},
        "content": {"anyOf": [{"type": "string"}, {"type": "array", "maxItems": MAX_PARTS, "items": _PART}]},
    },
    "required": ["role", "content"],
}


def _text_or_list(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise PydanticCustomError("input", "a text, or a list of messages, is needed")
    return value


Input = Annotated[
    str | list[Any],
    BeforeValidator(_text_or_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"\S"},
                {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": _ITEM},
            ]
        }
    ),
]
"""Read by web/api/openai/response_input.py."""


def _refuse(value: Any, accept: ValidatorFunctionWrapHandler) -> Any:
    try:
        return accept(value)
    except ValidationError:
        raise unsupported() from None


UNSUPPORTED = WrapValidator(_refuse)
"""Of what OpenAI has, the values that change nothing are accepted, as clients send them; all others are refused."""


def _without_values(value: Any) -> Any:
    if value not in NOTHING and not (isinstance(value, dict) and all(each is None for each in value.values())):
        raise unsupported()
    return value


def _stored(value: bool) -> bool:
    if not value:
        raise PydanticCustomError(
            "unsupported", "responses are kept here, in their conversation; /v1/chat/completions keeps nothing"
        )
    return value


# A Literal would take 1 for true.
Stored = Annotated[bool, AfterValidator(_stored), WithJsonSchema({"const": True})] | None
Reasoning = Annotated[
    Any,
    AfterValidator(_without_values),
    WithJsonSchema({"anyOf": [{"enum": NOTHING}, {"type": "object", "additionalProperties": {"type": "null"}}]}),
]
"""Clients send it with all that it may have, as null."""
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=64), AfterValidator(storable)],
        Annotated[str, StringConstraints(max_length=512), AfterValidator(storable)],
    ],
    Field(max_length=16),
]
"""Within OpenAI's bounds."""
Hint = Annotated[str, StringConstraints(max_length=512)] | None
"""Something that changes no answer."""
Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]


def _empty_or(value: Any, accept: ValidatorFunctionWrapHandler) -> Any:
    return value if value == "" else accept(value)


Instructions = Annotated[
    SystemPrompt | None,
    WrapValidator(_empty_or),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": MAX_SYSTEM_PROMPT}, {"type": "null"}]}),
]
"""Empty ones take back those that the conversation has; with null it keeps them."""


def _named(value: Any) -> Any:
    return value["id"] if isinstance(value, dict) and set(value) == {"id"} else value


ConversationId = Annotated[
    Id,
    BeforeValidator(_named),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
            ]
        }
    ),
]


class TextFormat(Body):
    """The only format that there is."""

    type: Literal["text"]


class TextOptions(Body):
    """What a text is to be like."""

    format: TextFormat | None = None
    verbosity: Annotated[Literal["medium"] | None, UNSUPPORTED] = None


class StreamOptions(Body):
    """How a stream is sent."""

    include_obfuscation: bool | None = Field(None, description="Either way, nothing is obfuscated.")


class CreateResponse(Body):
    """POST /v1/responses."""

    replaces_surrogates: ClassVar[bool] = True
    limit: ClassVar[int] = MAX_BODY

    input: Input
    model: ModelName | None = None
    stream: bool | None = None
    background: bool | None = None
    previous_response_id: Id | None = None
    conversation: ConversationId | None = None

    stream_options: StreamOptions | None = None
    text: TextOptions | None = None
    store: Stored = None
    instructions: Instructions = None
    temperature: Temperature | None = None
    max_output_tokens: Tokens | None = None
    top_p: Annotated[Annotated[float, Field(ge=1, le=1)] | None, UNSUPPORTED] = None
    metadata: Metadata | None = None
    tools: Unsupported = None
    tool_choice: Annotated[Literal["auto", "none"] | None, UNSUPPORTED] = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Unsupported = None
    include: Unsupported = None
    reasoning: Reasoning = None
    truncation: Annotated[Literal["auto"] | None, UNSUPPORTED] = None
    service_tier: Annotated[Literal["auto", "default"] | None, UNSUPPORTED] = None
    top_logprobs: Annotated[Annotated[int, Field(ge=0, le=0), WHOLE] | None, UNSUPPORTED] = None
    prompt: Unsupported = None
    moderation: Unsupported = None
    context_management: Unsupported = None
    user: Hint = None
    safety_identifier: Hint = None
    prompt_cache_key: Hint = None
    prompt_cache_retention: Hint = None


class CreateConversation(Body):
    """POST /v1/conversations."""

    items: Unsupported = None
    metadata: Metadata | None = None


class UpdateConversation(Body):
    """POST /v1/conversations/{conversation_id}."""

    metadata: Metadata | None = Field(None, description="In place of what there is; null leaves none.")


class AddItems(Body):
    """POST /v1/conversations/{conversation_id}/items."""

    items: Annotated[list[Any], Field(max_length=20)]


class OpenAIResponse(Answer):
    """A response, as OpenAI's API has it."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "cancelled", "failed"]
    background: bool = Field(description="As it was asked: each is written whether its reader stays or not.")
    model: str
    output: list[dict[str, Any]]
    conversation: dict[str, str]
    previous_response_id: str | None
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    usage: dict[str, Any] | None


class OpenAIResponseEvent(Answer):
    """A server-sent event of a response's stream: its data is an event as OpenAI's API has it, of the same type."""

    event: str
    data: str = Field(
        json_schema_extra={"contentMediaType": "application/json"},
        examples=['{"type":"response.completed","sequence_number":7}'],
    )


class OpenAIDeleted(Answer):
    """What has been deleted, as OpenAI's API has it."""

    id: str
    object: Literal["response", "conversation.deleted"]
    deleted: Literal[True]


class OpenAIConversation(Answer):
    """A conversation, as OpenAI's API has it."""

    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class OpenAIItem(Answer):
    """A message, as OpenAI's API has it."""

    id: str
    type: Literal["message"]
    role: Literal["user", "assistant"]
    status: Literal["completed", "in_progress", "incomplete"]
    content: list[dict[str, Any]]


class OpenAIItems(Answer):
    """A page of messages, as OpenAI's API has them."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
