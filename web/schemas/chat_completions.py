"""The JSON of OpenAI's Chat Completions, as far as they are spoken here."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from core.text.characters import blank, storable
from web.schemas.openai import WHOLE, Tokens, Unsupported, unsupported
from web.schemas.requests import Body, ModelName, Temperature
from web.schemas.responses import Answer

MAX_CONVERSATION = 4 * 1024 * 1024
"""Bytes of a request: a conversation of more than a megabyte fits, also with many of its characters escaped."""
MAX_MESSAGES = 2_000
MAX_PARTS = 1_000
"""Of one message."""
MAX_STOPS = 4
MAX_STOP = 256
"""Characters of one stop sequence."""
MAX_USER = 512
MAX_SEED = 2**63 - 1


def _left_out(value: Any) -> Any:
    """Without any options it asks for something, too."""
    if value is not None:
        raise unsupported()
    return value


def _only_text(value: Any) -> Any:
    if value not in (None, ["text"], {"type": "text"}):
        raise PydanticCustomError("unsupported", "only text is supported here")
    return value


def _one(value: Any) -> Any:
    if value not in (None, 1) or isinstance(value, bool):
        raise PydanticCustomError("unsupported", "one choice is all that is supported here; leave it out, or send 1")
    return value


def _content(value: Any) -> str:
    """The text of a message, which may come in parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise PydanticCustomError("content", "send a string, or a list of parts of the type text")
    if len(value) > MAX_PARTS:
        raise PydanticCustomError("content", "a message has at most 1000 parts")
    return "".join(_part(number, part) for number, part in enumerate(value))


def _part(number: int, part: Any) -> str:
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return text
        case {"type": "refusal", "refusal": str(text)}:
            return text
        case {"type": "text"}:
            raise PydanticCustomError("content", "part {number} has no text", {"number": number})
        case {"type": str(kind)}:
            about = {"number": number, "kind": kind[:40]}
            raise PydanticCustomError("content", "part {number} is of the type {kind}; only text is supported", about)
    raise PydanticCustomError("content", "part {number} is no part of a message", {"number": number})


def _stops(value: Any) -> list[str] | None:
    if value is None:
        return None
    sequences = [value] if isinstance(value, str) else value
    if not isinstance(sequences, list) or not all(isinstance(one, str) for one in sequences):
        raise PydanticCustomError("stop", "send a string, or a list of up to 4 strings")
    if len(sequences) > MAX_STOPS:
        raise PydanticCustomError("stop", "there may be up to 4 sequences")
    if not all(0 < len(one) <= MAX_STOP for one in sequences):
        raise PydanticCustomError("stop", "a sequence has 1 to 256 characters")
    return sequences


TEXT_OR_PARTS = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {"type": "object", "properties": {"type": {"const": "text"}, "text": {"type": "string"}}},
        },
    ]
}
STRING_OR_STRINGS = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": MAX_STOP},
        {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": MAX_STOP},
            "maxItems": MAX_STOPS,
        },
        {"type": "null"},
    ]
}
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class CompletionMessage(_Lenient):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    # Before the content, which such messages may lack: what is told is the reason, the first error.
    tool_calls: Unsupported = None
    function_call: Unsupported = None
    audio: Unsupported = None
    content: Annotated[str, BeforeValidator(_content), AfterValidator(storable), WithJsonSchema(TEXT_OR_PARTS)]

    @model_validator(mode="before")
    @classmethod
    def _with_refusal(cls, sent: Any) -> Any:
        """A model's message that declines has its words in `refusal`, and no content."""
        if isinstance(sent, dict) and sent.get("content") is None and isinstance(sent.get("refusal"), str):
            return {**sent, "content": sent["refusal"]}
        return sent


def _with_words(messages: list[CompletionMessage]) -> list[CompletionMessage]:
    if all(blank(message.content) for message in messages if message.role != "assistant"):
        raise PydanticCustomError("no_question", "a message of the role user or system with words is needed")
    return messages


class StreamOptions(_Lenient):
    """What a stream has besides the answer."""

    include_usage: bool | None = None


class CreateChatCompletion(Body):
    """POST /v1/chat/completions. Fields that are not listed are passed over."""

    model_config = ConfigDict(extra="ignore", strict=True)
    replaces_surrogates: ClassVar[bool] = True
    limit: ClassVar[int] = MAX_CONVERSATION

    model: ModelName
    messages: Annotated[
        list[CompletionMessage], Field(min_length=1, max_length=MAX_MESSAGES), AfterValidator(_with_words)
    ]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    stop: Annotated[list[str] | None, BeforeValidator(_stops), WithJsonSchema(STRING_OR_STRINGS)] = None
    seed: Annotated[int, Field(ge=-MAX_SEED - 1, le=MAX_SEED), WHOLE] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    user: Annotated[str, StringConstraints(max_length=MAX_USER), AfterValidator(storable)] | None = None
    n: Annotated[Any, AfterValidator(_one), WithJsonSchema({"anyOf": [{"const": 1}, {"type": "null"}]})] = None
    response_format: Annotated[
        Any,
        AfterValidator(_only_text),
        WithJsonSchema(
            {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {"type": {"const": "text"}},
                        "required": ["type"],
                        "additionalProperties": False,
                    },
                    {"type": "null"},
                ]
            }
        ),
    ] = None
    modalities: Annotated[
        Any, AfterValidator(_only_text), WithJsonSchema({"anyOf": [{"const": ["text"]}, {"type": "null"}]})
    ] = None
    tools: Unsupported = None
    tool_choice: Unsupported = None
    functions: Unsupported = None
    function_call: Unsupported = None
    logprobs: Unsupported = None
    top_logprobs: Unsupported = None
    logit_bias: Unsupported = None
    audio: Unsupported = None
    prediction: Unsupported = None
    web_search_options: Annotated[Any, AfterValidator(_left_out), WithJsonSchema({"type": "null"})] = None
    store: Unsupported = None


class CompletionTokensDetails(Answer):
    """What the tokens of an answer are made of."""

    reasoning_tokens: int


class CompletionUsage(Answer):
    """What an answer counts for, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: CompletionTokensDetails


class AnswerMessage(Answer):
    """The answer."""

    role: Literal["assistant"]
    content: str
    refusal: None
    reasoning_content: str | None = Field(None, description="What the model said to itself.")


FinishReason = Literal["stop", "length", "content_filter"]


class CompletionChoice(Answer):
    """The one choice."""

    index: Literal[0]
    message: AnswerMessage
    logprobs: None
    finish_reason: FinishReason


class ChatCompletion(Answer):
    """An answer as a whole."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage


class ChatCompletionEvent(Answer):
    """A server-sent event of a stream: its data is a `chat.completion.chunk`, as OpenAI's API has it, with
    `reasoning_content` beside `content`. The stream ends with the data `[DONE]`; one that fails has an `error`
    instead."""

    data: str = Field(
        json_schema_extra={"contentMediaType": "application/json"},
        examples=[
            '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"smollm2",'
            '"choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}]}'
        ],
    )
