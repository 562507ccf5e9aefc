"""What the provider layer makes of a response."""

import unicodedata
from typing import NamedTuple

from core.llm.client_pool import ClientPool
from core.llm.providers.base import Chunk, FinishReason, ProviderError, Turn, Usage
from tests.support.reading import read

QUESTION = [Turn("user", "Why?")]


class Heard(NamedTuple):
    """What became of a request."""

    text: str
    thinking: str
    finish_reason: FinishReason | None
    usage: Usage | None
    error: ProviderError | None


def hear(pool: ClientPool, model: str) -> Heard:
    """Ask, and read to the end. An error that is not a ProviderError fails the test."""
    chunks: list[Chunk] = []
    reason, usage, error = None, None, None
    try:
        read(pool.open(model, QUESTION), chunks.append)
    except ProviderError as failure:
        error = failure
    for chunk in chunks:
        reason, usage = chunk.finish_reason or reason, chunk.usage or usage
    text, thinking = ("".join(parts) for parts in ([c.text for c in chunks], [c.thinking for c in chunks]))
    return Heard(text, thinking, reason, usage, error)


def check_said(error: ProviderError) -> None:
    """The provider's words are one short line."""
    assert len(error.provider_message) <= 300
    assert not {unicodedata.category(character) for character in error.provider_message} & {
        "Cc",
        "Cf",
        "Cs",
        "Zl",
        "Zp",
    }
