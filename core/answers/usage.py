"""What an answer counts for, in tokens: pure functions of values.

What the provider reports holds for an answer that one request has written. Of one that was stopped, broken off or
carried on there is no such report, or one that counts the same words twice: then what was shown is estimated.
"""

from collections.abc import Iterable

from core.answers.tokens import estimate
from core.providers import Turn, Usage

BYTES_PER_TOKEN = 4
"""About what English has. Budgets need a guess that is the same for all, and no model's own."""


def tokens(text: str) -> int:
    """About as many tokens as the text has."""
    return estimate(text, BYTES_PER_TOKEN)


def prompt(turns: Iterable[Turn]) -> int:
    """About as many tokens as a conversation has."""
    return sum(tokens(turn.text) for turn in turns)


def shown(prompt_tokens: int, text: str) -> Usage:
    """Of an answer without a report: nothing when nobody has seen a word of it."""
    return Usage(prompt_tokens, tokens(text)) if text else Usage(0, 0)
