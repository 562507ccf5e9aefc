"""How much of a conversation a model takes, and how much less after it has refused one: pure functions of values."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from core.generation.tokens import TURN_OVERHEAD, estimate, size
from core.llm.model_config import ModelConfig
from core.llm.providers.base import MAX_COUNT, ErrorKind, ProviderError, Turn

SAFETY_FACTOR = 0.85
"""Of the bytes that a token is thought to have: half of all texts have fewer."""
MIN_BYTES_PER_TOKEN = 1.0
"""Bytes that a token has at the least: digits, and what a tokenizer has no words for."""
MAX_BYTES_PER_TOKEN = 16
"""Bytes that a token has at the most, in the middle of a whole conversation."""
MAX_TRIES = 3
"""Times that one model is asked with less and less of a conversation."""


class Window(NamedTuple):
    """What there is of a model's context for a conversation."""

    room: int
    """Tokens."""
    bytes_per_token: float
    """Of this conversation's text, cautiously."""
    reserve: int = 0
    """Tokens of the context that are set aside for what the model thinks and answers."""

    @classmethod
    def for_model(cls, config: ModelConfig, bytes_per_token: float, known: int | None = None) -> "Window":
        """What a model's table promises, or its server has named: the context that is `known` to be smaller."""
        reserve = config.max_tokens + (config.thinking_budget or 0)
        room = config.context_tokens - reserve
        if known is not None:
            room = min(room, _room(known, reserve))
        return cls(max(0, room), bytes_per_token * SAFETY_FACTOR, reserve)

    @classmethod
    def whole(cls, config: ModelConfig, bytes_per_token: float) -> "Window":
        """All of the context, and as many bytes in a token as most texts have: what is more than that is told to be
        too long before it is sent, for some servers leave the beginning out in silence. What may be is sent."""
        return cls(config.context_tokens, bytes_per_token / SAFETY_FACTOR)

    def tokens(self, text: str) -> int:
        """What a turn with this text takes."""
        return estimate(text, self.bytes_per_token) + TURN_OVERHEAD

    def taken_by(self, turns: Sequence[Turn]) -> int:
        """What all of them take."""
        return sum(self.tokens(turn.text) for turn in turns)


class Figures(NamedTuple):
    """Of a refusal, as far as it names them."""

    tokens: int | None
    limit: int | None

    @classmethod
    def from_refusal(cls, refusal: ProviderError, refused: Sequence[Turn]) -> "Figures":
        """None of those, if it says that it has counted fewer in the refused turns than any tokenizer does; and not
        those that no conversation and no model can have."""
        if refusal.prompt_tokens and refusal.prompt_tokens * MAX_BYTES_PER_TOKEN < sum(
            size(turn.text) for turn in refused
        ):
            return cls(None, None)
        named = (refusal.prompt_tokens, refusal.limit_tokens)
        return cls(*(count if count is not None and 0 < count <= MAX_COUNT else None for count in named))


def _room(limit: int, reserve: int) -> int:
    """For a conversation, in a context that its server has named, which may be smaller than what is set aside."""
    return limit - reserve if limit > reserve else limit // 2


def bytes_per_token(turns: Sequence[Turn], prompt_tokens: int) -> float:
    """How many bytes a token of these turns has, when a provider has counted so many tokens in them. What the
    template adds is not theirs, but never more than half."""
    of_text = max(prompt_tokens - TURN_OVERHEAD * len(turns), prompt_tokens / 2, 1)
    return sum(size(turn.text) for turn in turns) / of_text


def narrowed(window: Window, refused: Sequence[Turn], refusal: ProviderError, *, last: bool) -> Window:
    """What is left of the window when the model has refused these turns as too long: at most half of them.

    When the refusal names figures, they say how much less will do. Otherwise each byte may have been a token, which
    always fits if the model's table is right. If it isn't, what the server takes is unknown; so that the
    conversation can go on all the same, the `last` try has no room for anything but what must be sent.
    """
    tokens, limit = Figures.from_refusal(refusal, refused)
    room = window.room
    if limit is not None:
        room = min(room, _room(limit, window.reserve))
    elif last:
        room = 0
    density = MIN_BYTES_PER_TOKEN if tokens is None or last else bytes_per_token(refused, tokens) * SAFETY_FACTOR
    narrow = Window(room, density, window.reserve)
    return narrow._replace(room=min(room, narrow.taken_by(refused) // 2))


SERVICE_INSTRUCTIONS = "this service's own instructions"
OWN_INSTRUCTIONS = "this conversation's instructions"
"""What people call the system prompt."""

Subject = Literal["message", "conversation", "instructions", "answer"]
"""What is more than a model takes: the question by itself, this with what had to go with it, the operator's system
prompt by itself, or the question with the room for its answer."""


class TooLong(ProviderError):
    """The least that must be sent is more than the model takes, or seems to be."""

    def __init__(
        self, subject: Subject, subject_in_words: str, tokens: int, limit: int, label: str, refusal: ProviderError
    ) -> None:
        """`subject_in_words`: how the problem begins; `tokens` of the subject, as the provider has counted them, or
        estimated; `limit`: what the provider, or else the model's table, says; `label`: what people call the model.

        The figures are told only when they show what is wrong: often it is the room for the answer that is missing.
        """
        super().__init__(
            ErrorKind.TOO_LONG,
            refusal.log_detail,
            provider_message=refusal.provider_message,
            prompt_tokens=tokens,
            limit_tokens=limit,
        )
        shown = tokens > limit > 0
        has = "have" if subject == "instructions" else "has"
        self.subject: Subject = subject if shown or subject != "message" else "answer"
        self.tokens = tokens
        self.limit = limit
        self.detail = (
            f"{subject_in_words} {has} about {tokens:,} tokens; {label} takes at most {limit:,}."
            if shown
            else f"{subject_in_words} and the room for an answer are more than {label} takes."
        )
        """For the person who asked."""


def too_long(
    window: Window,
    label: str,
    system_prompt: str,
    refused: Sequence[Turn],
    refusal: ProviderError,
    *,
    least: bool,
    instructions: str = SERVICE_INSTRUCTIONS,
) -> TooLong:
    """Why the model is not asked again. `window`: as the model's table has it; `least`: whether the refused turns are
    the system prompt, the question and no more than there must be of the answer; `instructions`: what people call the
    system prompt."""
    counted, named = Figures.from_refusal(refusal, refused)
    guess = window.taken_by(refused)
    tokens = guess if counted is None else counted
    limit = window.room if named is None else named
    of_system = tokens * (window.tokens(system_prompt) if system_prompt else 0) // guess
    subject: Subject = "conversation"
    if not least:
        words = "This conversation"
    elif of_system > limit:
        subject, words, tokens = "instructions", f"{instructions[0].upper()}{instructions[1:]}", of_system
    elif 2 * of_system > tokens:
        words = f"Your message with {instructions}"
    elif refused[-1].role == "assistant" or sum(turn.role == "user" for turn in refused) > 1:
        words = "Your message with the answer so far"
    else:
        subject, words = "message", "Your message"
    return TooLong(subject, words, tokens, limit, label, refusal)


class Fitting:
    """One model's window while it is asked with less and less of one conversation."""

    def __init__(self, window: Window, label: str, system_prompt: str) -> None:
        """`window`: as the model's table has it; `label`: what people call the model."""
        self._promised = window
        self._label = label
        self._system_prompt = system_prompt
        self._instructions = SERVICE_INSTRUCTIONS
        self._tries_left = MAX_TRIES - 1
        self.window = window
        """What to ask with now."""

    def begins_with(self, system_prompt: str, *, own: bool) -> None:
        """The conversation begins with this system prompt. `own`: it has the session's own instructions in it."""
        self._system_prompt = system_prompt
        self._instructions = OWN_INSTRUCTIONS if own else SERVICE_INSTRUCTIONS

    def refused(self, turns: Sequence[Turn], refusal: ProviderError, *, least: bool) -> None:
        """The model takes less than these turns. Raises TooLong when it is not to be asked again."""
        if least or not self._tries_left:
            raise too_long(
                self._promised,
                self._label,
                self._system_prompt,
                turns,
                refusal,
                least=least,
                instructions=self._instructions,
            )
        self.window = narrowed(self.window, turns, refusal, last=self._tries_left == 1)
        self._tries_left -= 1
