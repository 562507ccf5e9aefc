"""Why an answer failed, as its readers are told: pure functions of what a provider did."""

from typing import Any

from core.errors import ProviderFailed
from core.generation.context_window import TooLong
from core.llm.providers.base import REASONS, ErrorKind, FinishReason, ProviderError, Usage

EMPTY_ANSWER_DETAILS: dict[FinishReason, str] = {
    "length": "The model reached its limit before it had written a word of its answer.",
    "tool_calls": "The model asked for a tool, which this chat does not have, and gave no answer.",
    "refusal": "The model declined to answer.",
}


NOTHING_CAME = "The model's server sent no answer."


class EmptyAnswer(ProviderError):
    """A model came to its end without a word."""

    def __init__(self, finish_reason: FinishReason, *, thought: bool, usage: Usage | None = None) -> None:
        """`thought`: it has been thinking until then; `usage`: what the provider has counted, if it said so."""
        kind = ErrorKind.FILTERED if finish_reason == "content_filter" else ErrorKind.EMPTY
        super().__init__(kind, f"no text, {finish_reason}")
        self.finish_reason = finish_reason
        self.usage = usage
        self.used_up = thought and finish_reason == "length"
        """Whether thinking has taken all the room that the request gave; the next one may give more."""


BREAKS = {ErrorKind.BROKEN_STREAM, ErrorKind.SERVER_ERROR, ErrorKind.UNREACHABLE, ErrorKind.TIMEOUT}
"""What may happen once, to whatever question. What else a server says, it would say again."""


def finish_reason(error: ProviderError) -> str:
    """What a failed answer's message has as its `finish_reason`."""
    if error.kind is ErrorKind.FILTERED:  # some providers tell it as an error, others as a reason
        return "content_filter"
    return error.finish_reason if isinstance(error, EmptyAnswer) and error.finish_reason != "stop" else "error"


def end_of_words(error: ProviderError, *, wrote: bool) -> FinishReason | None:
    """The reason for which an answer with words has ended, if it did with this error, and did not break off. `wrote`:
    some of the words have come from the request that had the error."""
    if error.kind is ErrorKind.FILTERED:
        return "content_filter"
    # Of a request that has been answered, the conversation was not too long: its answer has filled the context.
    return "length" if error.kind is ErrorKind.TOO_LONG and wrote else None


def may_go_on(error: ProviderError, *, wrote: bool, thought: bool) -> bool:
    """Whether the same model is asked once more: it broke off in the middle of what it `wrote` or `thought`, or
    thinking took all its room."""
    if isinstance(error, EmptyAnswer):
        return error.used_up
    return (wrote and error.kind in BREAKS) or (thought and error.kind is ErrorKind.BROKEN_STREAM)


def failed(model: str, error: ProviderError, *, begun: bool = False) -> ProviderFailed:
    """The problem of an answer whose last model has failed. `begun`: whether there are words of it."""
    detail = REASONS[error.kind]
    if error.kind is ErrorKind.BROKEN_STREAM and not begun:
        detail = NOTHING_CAME
    more: dict[str, Any] = {}
    if isinstance(error, EmptyAnswer):
        detail = EMPTY_ANSWER_DETAILS.get(error.finish_reason, detail)
    if isinstance(error, TooLong):
        detail = error.detail
        more = {"subject": error.subject, "tokens": error.tokens, "limit": error.limit}
    return ProviderFailed(detail, reason=error.kind.value, model=model, **more)
