"""What a provider of models looks like to the rest: one file per wire protocol lies beside this one."""

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol


class Turn(NamedTuple):
    """One message as a model gets it."""

    role: Literal["system", "user", "assistant"]
    text: str


class Sampling(NamedTuple):
    """What one question asks for besides its conversation. None: what the model's table or its server has."""

    max_tokens: int | None = None
    """Of the answer and its thinking; never more than the model's table allows."""
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    """Sequences before the first of which the answer ends."""
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    user: str | None = None
    """Whom the sender asks for, in words of its own."""


NO_SAMPLING = Sampling()


class Usage(NamedTuple):
    """Tokens, as the provider counted them."""

    prompt_tokens: int
    completion_tokens: int
    """All that the model wrote, its thinking included."""
    reasoning_tokens: int = 0
    """How many of those are thinking."""

    @property
    def total(self) -> int:
        """What a budget is charged: thinking counts once."""
        return self.prompt_tokens + self.completion_tokens


MAX_COUNT = 2**31 - 1
"""Of tokens; the database takes no greater one."""
MAX_PLAUSIBLE_TOKENS = 20_000_000
"""Tokens of one answer and its question altogether: twice the largest context that models have."""


def believable(prompt_tokens: object, completion_tokens: object, reasoning_tokens: object = 0) -> Usage | None:
    """What a provider says it has counted, unless no answer can have taken that. Thinking that is more than all that
    was written is not believed; the rest is."""
    counts = [count for count in (prompt_tokens, completion_tokens) if type(count) is int and count >= 0]
    if len(counts) != 2 or sum(counts) > MAX_PLAUSIBLE_TOKENS:
        return None
    thought = reasoning_tokens if type(reasoning_tokens) is int and 0 <= reasoning_tokens <= counts[1] else 0
    return Usage(counts[0], counts[1], thought)


FinishReason = Literal["stop", "length", "content_filter", "refusal", "tool_calls", "other"]
"""Why an answer ended, in our words: the model has said all; it may say no more (`max_tokens`, or its context is
full); the provider's filter does not let it go on; the model declines to answer; it asks for a tool, which this chat
does not have; anything else."""


class Chunk(NamedTuple):
    """A piece of an answer. Any chunk is a sign of life, also an empty one. The reason and the usage come near the
    end, and the last ones hold."""

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    thinking: str = ""
    """What the model says to itself before or while it answers."""


class ErrorKind(StrEnum):
    """Why a provider failed, as far as it matters for what happens next."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    MISCONFIGURED = "misconfigured"
    """No client can be made: a proxy's address, a certificate, a key that no header can carry."""
    MISSING_KEY = "missing-key"
    UNAUTHORIZED = "unauthorized"
    MODEL_NOT_FOUND = "model-not-found"
    QUOTA = "quota"
    RATE_LIMITED = "rate-limited"
    TOO_LONG = "too-long"
    FILTERED = "filtered"
    REJECTED = "rejected"
    EMPTY = "empty"
    """The answer ended without a word of text."""
    SERVER_ERROR = "server-error"
    BROKEN_STREAM = "broken-stream"


REASONS = {
    ErrorKind.UNREACHABLE: "The model's server can't be reached.",
    ErrorKind.TIMEOUT: "The model's server took too long.",
    ErrorKind.MISCONFIGURED: "The service's connection to this model is set up wrongly; its operator can mend that.",
    ErrorKind.MISSING_KEY: "The service has no key for this model; its operator can set one.",
    ErrorKind.UNAUTHORIZED: "The model's server refused this service's key.",
    ErrorKind.MODEL_NOT_FOUND: "The model's server does not know a model of this name.",
    ErrorKind.QUOTA: "This service's quota with the model's server is used up.",
    ErrorKind.RATE_LIMITED: "The model's server is overloaded; try again in a moment.",
    ErrorKind.TOO_LONG: "The message is too long for the model.",
    ErrorKind.FILTERED: "The filter of the model's server refused this message.",
    ErrorKind.REJECTED: "The model's server did not accept this request.",
    ErrorKind.EMPTY: "The model gave no answer.",
    ErrorKind.SERVER_ERROR: "The model's server had an error of its own.",
    ErrorKind.BROKEN_STREAM: "The model's server broke off in the middle of the answer.",
}
"""In words for the person who asked. Never the provider's own: those may quote keys and prompts."""


class ProviderError(Exception):
    """A provider failed."""

    def __init__(
        self,
        kind: ErrorKind,
        log_detail: str = "",
        retry_after: float | None = None,
        *,
        provider_message: str = "",
        prompt_tokens: int | None = None,
        limit_tokens: int | None = None,
        status: int | None = None,
    ) -> None:
        self.kind = kind
        self.retry_after = retry_after
        """Seconds after which the provider wants to be asked again, if it said so."""
        self.log_detail = log_detail
        """For the operator's log: the exception's class and the HTTP status, never a body."""
        self.provider_message = provider_message
        """For the operator: the provider's own words, one line, bounded, without keys or the conversation's words."""
        self.prompt_tokens = prompt_tokens
        """How many tokens the provider counted in a conversation that is too long, if it said so."""
        self.limit_tokens = limit_tokens
        """How many it takes, if it said so."""
        self.status = status
        """The HTTP status, or the number that stands for it in the body, or 200, if the server answered at all."""
        super().__init__(f"{kind} {log_detail}".strip())


class ChunkStream(Protocol):
    """An answer, which is asked for when its first chunk is wanted, and read on the event loop."""

    def __aiter__(self) -> AsyncIterator[Chunk]:
        """Ask, once, and give the chunks as they arrive. Raises ProviderError.

        A server that has begun to answer may be silent for ever: to keep a deadline, cancel the task that reads. That
        closes the connection at once, whatever it waits for.
        """
        ...

    async def aclose(self) -> None:
        """Close the connection, if there is one. By who reads, when it reads no more."""
        ...


class RequestedAnswer(ChunkStream, Protocol):
    """An answer that knows how far its request has come."""

    @property
    def sent(self) -> bool:
        """Whether the request is on its way to the server, which has neither refused it nor failed since."""
        ...

    @property
    def answered(self) -> bool:
        """Whether the server has taken the request besides: with a status of success."""
        ...


class Provider(Protocol):
    """One model on one server."""

    def open(self, turns: Sequence[Turn], sampling: Sampling = NO_SAMPLING) -> RequestedAnswer:
        """An answer to be. Nothing is sent yet."""
        ...
