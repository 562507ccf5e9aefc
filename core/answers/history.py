"""Which turns of a conversation go to the model: pure functions of values."""

from collections.abc import Iterable, Sequence

from core.message import Message
from core.providers import Turn

BYTES_PER_TOKEN = 3
"""A cautious guess that needs no tokenizer: English has about 4 bytes a token, Chinese about 3."""
TURN_OVERHEAD = 8
"""Tokens that a chat template spends on each turn besides its text."""


def estimate_tokens(text: str) -> int:
    """At least as many tokens as the text is likely to have."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN) + TURN_OVERHEAD


def newest_within(budget: int, newest_first: Iterable[Message]) -> list[Message]:
    """All the messages that `fit` could use, oldest first; no more are taken than it takes to know."""
    taken: list[Message] = []
    for message in newest_first:
        taken.append(message)
        if message.text:  # the others are left out, and cost nothing
            budget -= estimate_tokens(message.text)
            if budget < 0:
                break
    return taken[::-1]


def fit(system_prompt: str, messages: Sequence[Message], budget: int) -> list[Turn]:
    """The newest turns that fit into `budget` tokens after the system prompt, oldest first.

    The newest message is always there, even when it alone is too long: then the model's server says so, which
    is better than answering another question. What is kept begins with a person's turn, as chat templates
    want it. Answers that failed before their first word are left out.
    """
    turns = [Turn(message.role, message.text) for message in messages if message.text]
    left = budget - (estimate_tokens(system_prompt) if system_prompt else 0)
    kept: list[Turn] = []
    for turn in reversed(turns):
        left -= estimate_tokens(turn.text)
        if kept and left < 0:
            break
        kept.append(turn)
    kept.reverse()
    while len(kept) > 1 and kept[0].role == "assistant":
        kept.pop(0)
    return [Turn("system", system_prompt), *kept] if system_prompt else kept
