"""Why an answer failed, as its readers are told: pure functions of what a provider did."""

from core.answers.context_window import TooLong
from core.errors import ProviderFailed
from core.providers import REASONS, ErrorKind, FinishReason, ProviderError

WORDLESS: dict[FinishReason, str] = {
    "length": "The model reached its limit before it had written a word of its answer.",
    "tool_calls": "The model asked for a tool, which this chat does not have, and gave no answer.",
    "refusal": "The model declined to answer.",
}


class Wordless(ProviderError):
    """A model came to its end without a word."""

    def __init__(self, finish_reason: FinishReason, *, thought: bool) -> None:
        """`thought`: it has been thinking until then."""
        kind = ErrorKind.FILTERED if finish_reason == "content_filter" else ErrorKind.EMPTY
        super().__init__(kind, f"no text, {finish_reason}")
        self.finish_reason = finish_reason
        self.used_up = thought and finish_reason == "length"
        """Whether thinking has taken all the room that the request gave; the next one may give more."""


def finish_reason(error: ProviderError) -> str:
    """What a failed answer's message has as its `finish_reason`."""
    return error.finish_reason if isinstance(error, Wordless) and error.finish_reason != "stop" else "error"


def may_go_on(error: ProviderError, *, wrote: bool, thought: bool) -> bool:
    """Whether the same model is asked once more: it broke off in the middle of what it `wrote` or `thought`, or
    thinking took all its room."""
    if isinstance(error, Wordless):
        return error.used_up
    return wrote or (thought and error.kind is ErrorKind.BROKEN_STREAM)


def failed(model: str, error: ProviderError) -> ProviderFailed:
    """The problem of an answer whose last model has failed."""
    detail = REASONS[error.kind]
    if isinstance(error, Wordless):
        detail = WORDLESS.get(error.finish_reason, detail)
    figures = {}
    if error.kind is ErrorKind.TOO_LONG and error.prompt_tokens is not None and error.limit_tokens is not None:
        figures = {"tokens": error.prompt_tokens, "limit": error.limit_tokens}
        detail = (
            f"Your message has about {error.prompt_tokens:,} tokens; {model} takes at most {error.limit_tokens:,}."
        )
    if isinstance(error, TooLong):
        detail = error.detail
    return ProviderFailed(detail, reason=error.kind.value, model=model, **figures)
