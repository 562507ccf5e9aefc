"""The limit of an answer's tokens, and what usage and refusals tell of it: values, and pure functions of them."""

from collections.abc import Sequence
from typing import NamedTuple

from core.llm.model_config import ModelConfig
from core.llm.providers.base import ErrorKind, Turn
from core.llm.providers.errors import Complaint

THINKING_ALLOWANCE = 8192
"""Tokens that a model which thinks may do so for at the most, when its table does not say."""
MIN_OUTPUT_TOKENS = 64
"""Tokens of an answer that are worth asking for."""
MIN_MEASURED_TOKENS = 256
"""Tokens: of a request with fewer, the template is too great a part to tell how long the texts' tokens are. An answer
is asked to be shorter than that only when figures say so."""
BYTES_PER_TOKEN = 3.0
"""Until the server has counted."""
MIN_BYTES_PER_TOKEN, MAX_BYTES_PER_TOKEN = 0.25, 8.0
TOKENS_PER_TURN = 8
"""Tokens that the template adds to a turn."""


class LearnedLimits(NamedTuple):
    """What a model's answers and refusals have told of its limits."""

    thinks: bool = False
    """Whether it has been seen thinking."""
    context_tokens: int | None = None
    """Tokens that the server's context holds, as a refusal said."""
    max_output_tokens: int | None = None
    """Tokens that an answer may be asked for, as a refusal said."""
    bytes_per_token: float | None = None
    """Of what it is asked, as the server counts."""

    def __or__(self, other: "LearnedLimits") -> "LearnedLimits":
        """Both; where they differ, the second one knows better."""
        return LearnedLimits(
            self.thinks or other.thinks,
            other.context_tokens or self.context_tokens,
            other.max_output_tokens or self.max_output_tokens,
            other.bytes_per_token or self.bytes_per_token,
        )


def text_bytes(turns: Sequence[Turn]) -> int:
    """Bytes of the turns' texts."""
    return sum(len(turn.text.encode(errors="replace")) for turn in turns)


def limits_from_usage(known: LearnedLimits, asked: int, prompt_tokens: int | None) -> LearnedLimits:
    """What the server's count of the tokens in `asked` bytes tells. Tokens that are shorter than assumed matter at
    once: longer ones cost only a part of the context."""
    if prompt_tokens is None or prompt_tokens < MIN_MEASURED_TOKENS:
        return LearnedLimits()
    seen = min(max(asked / prompt_tokens, MIN_BYTES_PER_TOKEN), MAX_BYTES_PER_TOKEN)
    before = known.bytes_per_token or seen
    return LearnedLimits(bytes_per_token=seen if seen < before else (seen + before) / 2)


def output_limit(config: ModelConfig, turns: Sequence[Turn], learned: LearnedLimits) -> int:
    """Tokens that an answer may have, the thinking before it included: thinking must not shorten the text."""
    asked = int(text_bytes(turns) / (learned.bytes_per_token or BYTES_PER_TOKEN)) + TOKENS_PER_TURN * len(turns)
    context = min(config.context_tokens, learned.context_tokens or config.context_tokens)
    allowance = config.thinking_budget or 0
    if config.thinking_budget is None and learned.thinks:
        # Some servers refuse what might not fit.
        allowance = max(0, min(THINKING_ALLOWANCE, context // 4, context - config.max_tokens - asked))
    most = config.max_tokens + allowance
    if learned.context_tokens is not None:
        most = min(most, max(learned.context_tokens - asked, MIN_MEASURED_TOKENS))
    return most if learned.max_output_tokens is None else min(most, learned.max_output_tokens)


def reduced_limit(complaint: Complaint, sent: int, usual: int) -> int | None:
    """The limit to ask with in place of `sent`, after this refusal; None when a smaller one is no help.

    `usual`: what the model's table has for an answer, without thinking.
    """
    without_thinking = usual if usual < sent else None
    if complaint.of_the_limit:
        most = complaint.most_tokens
        if complaint.kind is ErrorKind.QUOTA and (most is None or most < MIN_OUTPUT_TOKENS):
            return None
        return most if most is not None and most < sent else without_thinking
    if complaint.kind is not ErrorKind.TOO_LONG:
        return None
    if complaint.prompt_tokens is None or complaint.limit_tokens is None:
        return None if complaint.status == 413 else without_thinking  # 413: its bytes are too many
    left = complaint.limit_tokens - complaint.prompt_tokens
    if complaint.counts_both and complaint.prompt_tokens >= sent:
        left += sent  # less by what is too much, to the token
        return left if MIN_OUTPUT_TOKENS <= left < sent else None
    if left < MIN_OUTPUT_TOKENS and without_thinking and complaint.prompt_tokens > sent:
        left += sent  # the server may have counted both
    if left == sent - 1:  # it has only counted as far as it had to: "at least"
        left = without_thinking or sent // 2
    return left if MIN_OUTPUT_TOKENS <= left < sent else None


def limits_from_refusal(complaint: Complaint, asked: int, known: LearnedLimits, instead: int) -> LearnedLimits:
    """What the refusal of a request of `asked` bytes tells of other requests, if a limit of `instead` cures it."""
    # Of a rate others take too, and what can be paid for changes with each answer.
    if complaint.kind is ErrorKind.QUOTA or complaint.status in (413, 429) or complaint.counts_both:
        return LearnedLimits()
    if complaint.of_the_limit:
        return LearnedLimits(max_output_tokens=instead)
    return LearnedLimits(context_tokens=complaint.limit_tokens) | limits_from_usage(
        known, asked, complaint.prompt_tokens
    )


def without_output_tokens(complaint: Complaint, sent: int) -> Complaint:
    """The complaint with the tokens of the prompt alone, where the server has counted the limit with them. A count
    that is less than the limit has none of it. `sent`: that limit, 0 when the server was told none."""
    both = complaint.prompt_tokens
    if not complaint.counts_both or both is None or both < sent:
        return complaint
    return complaint._replace(prompt_tokens=both - sent or None)
