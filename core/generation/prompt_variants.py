"""The variants of a prompt, and which one is tried after a model has failed at another: pure functions."""

from enum import IntEnum
from typing import NamedTuple

from core.generation.failure import EmptyAnswer
from core.llm.providers.base import ErrorKind, ProviderError


class Scope(IntEnum):
    """Which of the exchanges before the question the prompt has."""

    ALL = 0
    """But what a filter has refused: sent again, it would be refused again, and every question after it. And what has
    failed, once a question after it has been answered (`history.py`)."""
    ANSWERED = 1
    """None that has no answer, or one that failed: its question may be why every other one fails."""
    NONE = 2


class PromptVariant(NamedTuple):
    """How a conversation is put to a model."""

    prefill: bool
    """Whether the answer's beginning is the last turn, for the server to continue."""
    scope: Scope = Scope.ALL


OF_THE_CONVERSATION = {
    *(ErrorKind.SERVER_ERROR, ErrorKind.BROKEN_STREAM, ErrorKind.EMPTY, ErrorKind.TIMEOUT),
    *(ErrorKind.REJECTED, ErrorKind.FILTERED, ErrorKind.UNAUTHORIZED, ErrorKind.MODEL_NOT_FOUND),
}
"""What may come of one message: servers crash, hang and stay silent over some, and firewalls before them answer with
web pages. The rest is known to have nothing to do with it."""
OF_PREFILL = {ErrorKind.REJECTED, ErrorKind.SERVER_ERROR}
"""What servers say that do not continue a turn: a template that raises an error is one of the server's to some."""
OF_ITS_WORDS = {ErrorKind.REJECTED, ErrorKind.FILTERED}
"""What only a server that has looked at the words says."""


def next_variant(
    variant: PromptVariant, error: ProviderError, *, prefilled: bool, doubtful: bool
) -> PromptVariant | None:
    """The variant to try next, after a model has failed at this one. None: it has no other.

    `prefilled`: the last turn was the answer's beginning, which many servers refuse to continue, and no word has
    followed it; `doubtful`: some questions before this one have no answer, or one that failed, so that it may not be
    its own trouble.
    """
    if prefilled and error.kind in OF_PREFILL:
        return variant._replace(prefill=False)
    if not doubtful or (isinstance(error, EmptyAnswer) and error.used_up):
        return None
    if variant.scope is Scope.ALL and error.kind in OF_THE_CONVERSATION:
        return variant._replace(scope=Scope.ANSWERED)
    if variant.scope is Scope.ANSWERED and error.kind in OF_ITS_WORDS:
        return variant._replace(scope=Scope.NONE)
    return None
