"""What a provider of models looks like to the rest: one file per wire protocol lies beside this one."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol


class Turn(NamedTuple):
    """One message as a model gets it."""

    role: Literal["system", "user", "assistant"]
    text: str


class Usage(NamedTuple):
    """Tokens, as the provider counted them."""

    prompt_tokens: int
    completion_tokens: int


LARGEST_COUNT = 2**31 - 1
"""Of an answer's tokens altogether; more than the database takes, or a model ever wrote."""


def believable(prompt_tokens: object, completion_tokens: object) -> Usage | None:
    """What a provider says it has counted, unless no answer can have taken that."""
    counts = [count for count in (prompt_tokens, completion_tokens) if type(count) is int and count >= 0]
    return Usage(*counts) if len(counts) == 2 and sum(counts) <= LARGEST_COUNT else None


FinishReason = Literal["stop", "length", "content_filter", "other"]
"""Why an answer ended, in our words: the model has said all; it may say no more (`max_tokens`, or its context is
full); the provider does not let it go on; anything else."""


class Chunk(NamedTuple):
    """A piece of an answer. Text may be empty; the reason and the usage come near the end, and the last ones hold."""

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


class ErrorKind(StrEnum):
    """Why a provider failed, as far as it matters for what happens next."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate-limited"
    REJECTED = "rejected"
    SERVER_ERROR = "server-error"
    BROKEN_STREAM = "broken-stream"


REASONS = {
    ErrorKind.UNREACHABLE: "The model's server can't be reached.",
    ErrorKind.TIMEOUT: "The model's server took too long.",
    ErrorKind.UNAUTHORIZED: "The model's server refused this service's key.",
    ErrorKind.RATE_LIMITED: "The model's server is overloaded; try again in a moment.",
    ErrorKind.REJECTED: "The model's server can't take this conversation; it may be too long for the model.",
    ErrorKind.SERVER_ERROR: "The model's server had an error of its own.",
    ErrorKind.BROKEN_STREAM: "The model's server broke off in the middle of the answer.",
}
"""In words for the person who asked. Never the provider's own: those may quote keys and prompts."""


class ProviderError(Exception):
    """A provider failed."""

    def __init__(self, kind: ErrorKind, log_detail: str = "", retry_after: float | None = None) -> None:
        self.kind = kind
        self.retry_after = retry_after
        """Seconds after which the provider wants to be asked again, if it said so."""
        self.log_detail = log_detail
        """For the operator's log: the exception's class and the HTTP status, never a body."""
        super().__init__(f"{kind} {log_detail}".strip())


class ChunkStream(Protocol):
    """An answer, which is asked for when its first chunk is wanted."""

    def __iter__(self) -> Iterator[Chunk]:
        """Ask, once, and give the chunks as they arrive. Raises ProviderError."""
        ...

    def abort(self) -> None:
        """Close the connection now, whatever it waits for, also from another thread than the one that reads."""
        ...


class Provider(Protocol):
    """One model on one server."""

    def open(self, turns: Sequence[Turn]) -> ChunkStream:
        """An answer to be. Nothing is sent yet."""
        ...
